//! The SQL of jobs and leases: pieces of output, calling off, leases that ran out, forgetting. Whoever writes for a run names it.

use ::store::{Row, StoreError, Tx, params};
use primitives::{JobId, OrgId, RequestId, Timestamp};

use super::read_job;
use crate::model::{ChunkNumber, Job, JobKind, JobState, Owner, RunId, caller_text};

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

/// Counts the answers that are promised and have not ended: all, and those of an organisation.
pub(crate) async fn count_live(tx: &mut Tx, org: OrgId) -> Result<(u64, u64), StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS all_count, CAST(count(*) FILTER (WHERE org_id = $1) AS BIGINT) AS own_count
             FROM (SELECT org_id FROM jobs WHERE state = 'queued' AND kind IN ('chat', 'generate')
                 UNION ALL SELECT org_id FROM jobs WHERE state = 'running' AND kind IN ('chat', 'generate')) AS live",
            params![org],
        )
        .await?;
    row.map_or(Ok((0, 0)), |row| {
        Ok((row.get("all_count")?, row.get("own_count")?))
    })
}

/// A job whose lease ran out.
#[derive(Debug)]
pub(crate) struct Lapsed {
    pub(crate) id: JobId,
    pub(crate) kind: String,
    pub(crate) attempt: u32,
    /// The job, where it is an answer that somebody may follow.
    pub(crate) job: Option<Job>,
}

fn read_lapsed(row: &Row) -> Result<Lapsed, StoreError> {
    let kind: String = row.get("kind")?;
    let job = JobKind::from_name(&kind)
        .map(|_| read_job(row))
        .transpose()?;
    Ok(Lapsed {
        id: row.get("id")?,
        kind,
        attempt: row.get("attempt")?,
        job,
    })
}

/// Tells whether an answer waits that was promised before a time.
pub(crate) async fn find_waiting(tx: &mut Tx, before: Timestamp) -> Result<bool, StoreError> {
    let found = tx
        .fetch_optional(
            "SELECT id FROM jobs WHERE state = 'queued' AND kind IN ('chat', 'generate') AND created_at < $1 LIMIT 1",
            params![before],
        )
        .await?;
    Ok(found.is_some())
}

/// Makes jobs due again whose lease ran out.
pub(crate) async fn requeue_lapsed(
    tx: &mut Tx,
    kind: &str,
    now: Timestamp,
) -> Result<Vec<Lapsed>, StoreError> {
    tx.fetch_all(
        concat!(
            "UPDATE jobs SET state = 'queued', run_at = $1, lease_until = NULL, leased_by = NULL
             WHERE state = 'running' AND kind = $2 AND lease_until < $1 AND attempt < most_attempts RETURNING ",
            columns!()
        ),
        params![now, kind],
    )
    .await?
    .iter()
    .map(read_lapsed)
    .collect()
}

/// Fails jobs whose lease ran out in their last attempt.
pub(crate) async fn fail_exhausted(
    tx: &mut Tx,
    kind: &str,
    now: Timestamp,
    error: &str,
) -> Result<Vec<Lapsed>, StoreError> {
    tx.fetch_all(
        concat!(
            "UPDATE jobs SET state = 'failed', ended_at = $1, error = $2, error_kind = 'unavailable',
                 lease_until = NULL, leased_by = NULL
             WHERE state = 'running' AND kind = $3 AND lease_until < $1 AND attempt >= most_attempts RETURNING ",
            columns!()
        ),
        params![now, error, kind],
    )
    .await?
    .iter()
    .map(read_lapsed)
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
                 error_kind = 'timeout'
             WHERE id IN (SELECT id FROM jobs WHERE state = 'queued' AND kind IN ('chat', 'generate') AND created_at < $2 LIMIT 500)
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

/// Adds a piece of output. `false`: the run does not hold the job any more, and nothing was written.
pub(crate) async fn put_chunk(
    tx: &mut Tx,
    lease: &Lease,
    chunk: Chunk,
    request: Option<RequestId>,
) -> Result<bool, StoreError> {
    let changed = tx
        .execute(
            "UPDATE jobs SET chunks = $3, request_id = COALESCE($4, request_id)
             WHERE id = $1 AND leased_by = $2 AND state = 'running'",
            params![lease.job, lease.run.0.as_str(), chunk.number, request],
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
             WHERE id = $1 AND org_id = $2 AND owner = $3 AND owner <> '' AND ended_at IS NULL RETURNING ",
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
