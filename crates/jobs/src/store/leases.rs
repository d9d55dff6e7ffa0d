//! The SQL of what is done with jobs: claimed, held, put back, ended, forgotten. Whoever writes names the run that holds the lease.

use ::store::{Statement, StoreError, Tx, params};
use primitives::{JobId, OrgId, RequestId, Timestamp};

use super::read_job;
use crate::model::{ChunkNumber, Job, JobState, Owner, RunId, caller_text};

/// The lease of a run.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) job: JobId,
    pub(crate) run: RunId,
}

/// A piece of output.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) number: ChunkNumber,
    pub(crate) sealed: Vec<u8>,
}

/// How a job ends, or why it is put back.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) state: JobState,
    pub(crate) result_sealed: Option<Vec<u8>>,
    pub(crate) error: Option<String>,
    pub(crate) error_kind: Option<&'static str>,
}

/// The oldest job that is due takes the next place. Kinds of a later version are left to its processes.
const CLAIM: Statement = Statement::per_engine(
    concat!(
        "UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_until = $2, leased_by = $3,
             started_at = COALESCE(started_at, $1)
         WHERE id = (SELECT id FROM jobs WHERE ended_at IS NULL AND state = 'queued' AND run_at <= $1 AND org_id <> $4
             AND kind IN ('chat', 'generate') ORDER BY run_at, id LIMIT 1)
         RETURNING payload_sealed, ",
        columns!()
    ),
    concat!(
        "UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_until = $2, leased_by = $3,
             started_at = COALESCE(started_at, $1)
         WHERE id = (SELECT id FROM jobs WHERE ended_at IS NULL AND state = 'queued' AND run_at <= $1 AND org_id <> $4
             AND kind IN ('chat', 'generate') ORDER BY run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING payload_sealed, ",
        columns!()
    ),
);

/// Counts the jobs that have not ended: all, and those of an organisation.
pub(crate) async fn count_live(tx: &mut Tx, org: OrgId) -> Result<(u64, u64), StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS all_count, CAST(count(*) FILTER (WHERE org_id = $1) AS BIGINT) AS own_count
             FROM jobs WHERE ended_at IS NULL",
            params![org],
        )
        .await?;
    row.map_or(Ok((0, 0)), |row| {
        Ok((row.get("all_count")?, row.get("own_count")?))
    })
}

/// What waits and runs, and since when the oldest one waits.
pub(crate) async fn live_figures(tx: &mut Tx) -> Result<(u64, u64, Option<Timestamp>), StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) FILTER (WHERE state = 'queued') AS BIGINT) AS queued,
                 CAST(count(*) FILTER (WHERE state = 'running') AS BIGINT) AS running,
                 CAST(min(created_at) FILTER (WHERE state = 'queued') AS BIGINT) AS oldest
             FROM jobs WHERE ended_at IS NULL",
            (),
        )
        .await?;
    row.map_or(Ok((0, 0, None)), |row| {
        Ok((row.get("queued")?, row.get("running")?, row.get("oldest")?))
    })
}

/// Tells whether there is a job to claim or a lease that ran out: cheap, and writes nothing.
pub(crate) async fn find_due(tx: &mut Tx, now: Timestamp) -> Result<bool, StoreError> {
    let queued = tx
        .fetch_optional(
            "SELECT id FROM jobs WHERE ended_at IS NULL AND state = 'queued' AND run_at <= $1 LIMIT 1",
            params![now],
        )
        .await?;
    if queued.is_some() {
        return Ok(true);
    }
    let lapsed = tx
        .fetch_optional(
            "SELECT id FROM jobs WHERE ended_at IS NULL AND state = 'running' AND lease_until < $1 LIMIT 1",
            params![now],
        )
        .await?;
    Ok(lapsed.is_some())
}

/// Takes the oldest job that is due, but none of one organisation, and returns it with its payload.
pub(crate) async fn claim_job(
    tx: &mut Tx,
    run: &RunId,
    now: Timestamp,
    until: Timestamp,
    but_of: Option<OrgId>,
) -> Result<Option<(Job, Option<Vec<u8>>)>, StoreError> {
    let but_of = but_of.map(|org| org.to_string()).unwrap_or_default();
    tx.fetch_optional(CLAIM, params![now, until, run.0.as_str(), but_of])
        .await?
        .map(|row| Ok((read_job(&row)?, row.get("payload_sealed")?)))
        .transpose()
}

/// Makes jobs due again whose lease ran out.
pub(crate) async fn requeue_lapsed(tx: &mut Tx, now: Timestamp) -> Result<Vec<Job>, StoreError> {
    tx.fetch_all(
        concat!(
            "UPDATE jobs SET state = 'queued', run_at = $1, lease_until = NULL, leased_by = NULL
             WHERE ended_at IS NULL AND state = 'running' AND lease_until < $1 AND attempt < most_attempts RETURNING ",
            columns!()
        ),
        params![now],
    )
    .await?
    .iter()
    .map(read_job)
    .collect()
}

/// Fails jobs whose lease ran out in their last attempt.
pub(crate) async fn fail_exhausted(
    tx: &mut Tx,
    now: Timestamp,
    error: &str,
) -> Result<Vec<Job>, StoreError> {
    tx.fetch_all(
        concat!(
            "UPDATE jobs SET state = 'failed', ended_at = $1, error = $2, error_kind = 'unavailable', payload_sealed = NULL,
                 lease_until = NULL, leased_by = NULL
             WHERE ended_at IS NULL AND state = 'running' AND lease_until < $1 AND attempt >= most_attempts RETURNING ",
            columns!()
        ),
        params![now, error],
    )
    .await?
    .iter()
    .map(read_job)
    .collect()
}

/// Fails jobs that wait and were accepted before `before`.
pub(crate) async fn fail_waiting(
    tx: &mut Tx,
    now: Timestamp,
    before: Timestamp,
    error: &str,
) -> Result<Vec<Job>, StoreError> {
    tx.fetch_all(
        concat!(
            "UPDATE jobs SET state = 'failed', ended_at = $1, error = CASE WHEN error IS NULL THEN $3 ELSE $3 || ': ' || error END,
                 error_kind = 'timeout', payload_sealed = NULL
             WHERE id IN (SELECT id FROM jobs WHERE ended_at IS NULL AND state = 'queued' AND created_at < $2 LIMIT 500)
                 AND state = 'queued' RETURNING ",
            columns!()
        ),
        params![now, before, error],
    )
    .await?
    .iter()
    .map(read_job)
    .collect()
}

/// Holds a job for longer. `false`: the run does not hold it any more.
pub(crate) async fn renew(
    tx: &mut Tx,
    lease: &Lease,
    until: Timestamp,
    request: Option<RequestId>,
) -> Result<bool, StoreError> {
    let changed = tx
        .execute(
            "UPDATE jobs SET lease_until = $3, request_id = COALESCE($4, request_id)
             WHERE id = $1 AND leased_by = $2 AND state = 'running'",
            params![lease.job, lease.run.0.as_str(), until, request],
        )
        .await?;
    Ok(changed > 0)
}

/// Adds a piece of output. `false`: the run does not hold the job any more, and nothing was written.
pub(crate) async fn put_chunk(
    tx: &mut Tx,
    lease: &Lease,
    chunk: Chunk,
) -> Result<bool, StoreError> {
    let changed = tx
        .execute(
            "UPDATE jobs SET chunks = $3 WHERE id = $1 AND leased_by = $2 AND state = 'running'",
            params![lease.job, lease.run.0.as_str(), chunk.number],
        )
        .await?;
    if changed == 0 {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO job_chunks (job_id, number, output_sealed) VALUES ($1, $2, $3)",
        params![lease.job, chunk.number, chunk.sealed],
    )
    .await?;
    Ok(true)
}

/// Removes what earlier attempts have put out.
pub(crate) async fn restart_output(tx: &mut Tx, lease: &Lease) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM job_chunks WHERE job_id = $1",
        params![lease.job],
    )
    .await?;
    Ok(())
}

/// Ends a job. `None`: the run does not hold it any more.
pub(crate) async fn finish_job(
    tx: &mut Tx,
    lease: &Lease,
    now: Timestamp,
    ended: &Ended,
    request: Option<RequestId>,
) -> Result<Option<Job>, StoreError> {
    tx.fetch_optional(
        concat!(
            "UPDATE jobs SET state = $3, ended_at = $4, result_sealed = $5, error = $6, error_kind = $7,
                 request_id = COALESCE($8, request_id), payload_sealed = NULL, lease_until = NULL, leased_by = NULL
             WHERE id = $1 AND leased_by = $2 AND state = 'running' RETURNING ",
            columns!()
        ),
        params![
            lease.job,
            lease.run.0.as_str(),
            ended.state.as_str(),
            now,
            ended.result_sealed.clone(),
            ended.error.as_deref(),
            ended.error_kind,
            request
        ],
    )
    .await?
    .as_ref()
    .map(read_job)
    .transpose()
}

/// Puts a job back, to be tried again at `run_at`, with `attempts` behind it. `None`: the run does not hold it any more.
pub(crate) async fn put_back(
    tx: &mut Tx,
    lease: &Lease,
    run_at: Timestamp,
    attempts: u32,
    why: &Ended,
    request: Option<RequestId>,
) -> Result<Option<Job>, StoreError> {
    tx.fetch_optional(
        concat!(
            "UPDATE jobs SET state = 'queued', run_at = $3, attempt = $4, error = COALESCE($5, error),
                 error_kind = COALESCE($6, error_kind), request_id = COALESCE($7, request_id), lease_until = NULL, leased_by = NULL
             WHERE id = $1 AND leased_by = $2 AND state = 'running' RETURNING ",
            columns!()
        ),
        params![
            lease.job,
            lease.run.0.as_str(),
            run_at,
            attempts,
            why.error.as_deref(),
            why.error_kind,
            request
        ],
    )
    .await?
    .as_ref()
    .map(read_job)
    .transpose()
}

/// Calls an owner's job off that has not ended.
pub(crate) async fn cancel_job(
    tx: &mut Tx,
    owner: Owner,
    id: JobId,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    tx.fetch_optional(
        concat!(
            "UPDATE jobs SET state = 'cancelled', ended_at = $4, payload_sealed = NULL, lease_until = NULL, leased_by = NULL
             WHERE id = $1 AND org_id = $2 AND owner = $3 AND ended_at IS NULL RETURNING ",
            columns!()
        ),
        params![id, owner.org, caller_text(owner.who), now],
    )
    .await?
    .as_ref()
    .map(read_job)
    .transpose()
}

/// Deletes some of the jobs that ended before `before`, and of those beyond the newest `kept`; returns how many.
pub(crate) async fn delete_ended(
    tx: &mut Tx,
    before: Timestamp,
    kept: u64,
    most: u32,
) -> Result<u64, StoreError> {
    let old = tx
        .execute(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE ended_at IS NOT NULL AND ended_at < $1 ORDER BY ended_at LIMIT $2)",
            params![before, most],
        )
        .await?;
    let many = tx
        .execute(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT $2 OFFSET $1)",
            params![kept, most],
        )
        .await?;
    Ok(old + many)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_of_each_engine_differs_by_the_lock_alone() {
        let [sqlite, postgres] = [::store::Engine::Sqlite, ::store::Engine::Postgres]
            .map(|engine| CLAIM.text(engine).to_owned());
        assert_eq!(sqlite, postgres.replace(" FOR UPDATE SKIP LOCKED", ""));
    }
}
