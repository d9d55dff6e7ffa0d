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

mod contents;
mod leases;
mod lists;

use ::store::{Engine, Row, StoreError, Tx, params};
use identity::PriorityClass;
use primitives::{Clock, JobId, OrgId, Timestamp};

use crate::model::{Job, JobKind, JobState, Owner, caller_text, read_caller};

pub(crate) use contents::{
    erase_jobs, jobs_with_contents, pieces_after, put_payload, put_piece, put_result, sealed_after,
};
pub(crate) use leases::{
    Chunk, Ended, Lease, cancel_job, claim_job, count_live, delete_ended, fail_exhausted,
    fail_waiting, find_due, finish_job, live_figures, put_back, put_chunk, renew, requeue_lapsed,
    restart_output,
};
pub(crate) use lists::{chunks_after, count_jobs, find_job, list_jobs};

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

pub(crate) async fn insert_job(
    tx: &mut Tx,
    job: &Job,
    payload_sealed: Vec<u8>,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO jobs (id, kind, org_id, owner, caller, client_address, subject, class, state, payload_sealed, created_at, run_at,
             attempt, most_attempts, chunks)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
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
            job.chunks
        ],
    )
    .await?;
    Ok(())
}

/// Deletes an owner's job that has ended. Tells whether there was one.
pub(crate) async fn delete_job(tx: &mut Tx, owner: Owner, id: JobId) -> Result<bool, StoreError> {
    let deleted = tx
        .execute(
            "DELETE FROM jobs WHERE id = $1 AND org_id = $2 AND owner = $3 AND ended_at IS NOT NULL",
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

fn read_job(row: &Row) -> Result<Job, StoreError> {
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
