//! All SQL of durable work.
//!
//! Times are the database's where it has a clock that all processes share, so that a process whose own clock is wrong takes no lease away.

/// Everything of a job but what is sealed.
macro_rules! columns {
    () => {
        "id, kind, org_id, owner, caller, client_address, subject, class, state, error, error_kind, request_id, created_at, run_at,
         started_at, ended_at, attempt, most_attempts, chunks"
    };
}

mod batches;
mod contents;
mod ends;
mod files;
mod kinds;
mod leases;
mod lists;
mod work;

use ::store::{Engine, Row, StoreError, Tx, params};
use identity::PriorityClass;
use primitives::{Clock, JobId, OrgId, Timestamp};

use crate::engine::enqueue::{NO_LANE, Priority};
use crate::model::{Job, JobKind, JobState, Owner, caller_text, read_caller};

pub(crate) use batches::{
    AnsweredLine, LineRow, SealedColumn, StoredLine, WaitingLine, answer_lines, begin_batch,
    begin_cancel, begin_finalizing, count_live_batches, delete_ended_batches, delete_lines,
    end_batch, erase_batches, fail_batch, find_batch, insert_batch, insert_lines, line_place,
    lines_after, list_batches, live_batches, put_line, sealed_lines_after, waiting_lines,
    waiting_models,
};
pub(crate) use contents::{
    erase_jobs, jobs_with_contents, pieces_after, put_payload, put_piece, put_result, sealed_after,
};
pub(crate) use ends::{end_work, finish_job, put_back, work_back};
pub(crate) use files::{
    complete_file, count_files, delete_expired_files, delete_file, erase_file, erase_files,
    file_pieces_after, find_file, find_piece, insert_file, insert_piece, list_files,
    put_file_piece,
};
pub(crate) use kinds::{
    add_counts, announce_kind, cancel_work, count_all_running, count_dead, count_queued,
    delete_counts, due_schedules, list_dead, list_kinds, list_schedules, move_schedule, pause_kind,
    put_schedule, replay, sum_counts, take_duty,
};
pub(crate) use leases::{
    Chunk, Ended, Lease, cancel_job, count_live, delete_ended, fail_exhausted, fail_waiting,
    find_waiting, put_chunk, requeue_lapsed, restart_output,
};
pub(crate) use lists::{chunks_after, count_jobs, find_job, list_jobs};
pub(crate) use work::{
    CLAIMED_TOGETHER, Claim, DueLane, WorkRow, claim, count_running, delete_done, due_lanes,
    find_lapsed, find_unique, insert_many, insert_work, lock_kind, note_taken, renew_all,
    taken_since,
};

/// Returns the time by which leases are held.
pub(crate) async fn now(tx: &mut Tx, clock: &dyn Clock) -> Result<Timestamp, StoreError> {
    if tx.engine() == Engine::Sqlite {
        return Ok(clock.now());
    }
    let row = tx
        .fetch_optional(
            "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS at",
            (),
        )
        .await?;
    row.map_or(Ok(clock.now()), |row| row.get("at"))
}

/// Answers of one model are held apart from those of others.
fn lane_of(subject: &str) -> &str {
    if subject.is_empty() { NO_LANE } else { subject }
}

pub(crate) async fn insert_job(
    tx: &mut Tx,
    job: &Job,
    payload_sealed: Vec<u8>,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO jobs (id, kind, org_id, owner, caller, client_address, subject, class, state, payload_sealed, created_at, run_at,
             attempt, most_attempts, chunks, lane, priority)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
        params![
            job.id,
            job.kind.as_str(),
            job.owner.org,
            caller_text(job.owner.who),
            caller_text(job.caller),
            job.client_address.map(|address| address.to_string()),
            &job.subject,
            job.class.as_str(),
            job.state.as_str(),
            payload_sealed,
            job.created_at,
            job.run_at,
            job.attempt,
            job.most_attempts,
            job.chunks,
            lane_of(&job.subject),
            Priority::from(job.class).number()
        ],
    )
    .await?;
    Ok(())
}

/// Deletes an owner's job that has ended. Tells whether there was one.
pub(crate) async fn delete_job(tx: &mut Tx, owner: Owner, id: JobId) -> Result<bool, StoreError> {
    let deleted = tx
        .execute(
            "DELETE FROM jobs WHERE id = $1 AND org_id = $2 AND owner = $3 AND owner <> '' AND ended_at IS NOT NULL",
            params![id, owner.org, caller_text(owner.who)],
        )
        .await?;
    Ok(deleted > 0)
}

/// Reads a name of a closed set.
fn read_name<T>(
    row: &Row,
    column: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, StoreError> {
    let text: String = row.get(column)?;
    read(&text).ok_or_else(|| StoreError::Corrupt {
        column: column.to_owned(),
        reason: "not a name that this version knows".to_owned(),
    })
}

pub(crate) fn read_job(row: &Row) -> Result<Job, StoreError> {
    Ok(Job {
        id: row.get("id")?,
        kind: read_name(row, "kind", JobKind::from_name)?,
        owner: Owner {
            org: row.get::<OrgId>("org_id")?,
            who: read_name(row, "owner", read_caller)?,
        },
        caller: read_name(row, "caller", read_caller)?,
        client_address: row
            .get::<Option<String>>("client_address")?
            .and_then(|address| address.parse().ok()),
        subject: row.get("subject")?,
        class: read_name(row, "class", PriorityClass::from_name)?,
        state: read_name(row, "state", JobState::from_name)?,
        error: row.get("error")?,
        error_kind: row.get("error_kind")?,
        request_id: row.get("request_id")?,
        created_at: row.get("created_at")?,
        run_at: row.get("run_at")?,
        started_at: row.get("started_at")?,
        ended_at: row.get("ended_at")?,
        attempt: row.get("attempt")?,
        most_attempts: row.get("most_attempts")?,
        chunks: row.get("chunks")?,
    })
}
