//! The SQL of ends: a job has ended, or is put back to be tried again. Nothing is written when the run does not hold the job any more.
//!
//! Answers return the job as it is then, for those who follow it; work of the program's own is followed by nobody.

use ::store::{Params, StoreError, Tx, params};
use primitives::{RequestId, Timestamp};

use super::leases::{Ended, Lease};
use super::read_job;
use crate::model::{Job, JobState};

macro_rules! end {
    () => {
        "UPDATE jobs SET state = $3, ended_at = $4, result_sealed = $5, error = $6, error_kind = $7,
             request_id = COALESCE($8, request_id), payload_sealed = CASE WHEN $9 THEN payload_sealed ELSE NULL END,
             lease_until = NULL, leased_by = NULL
         WHERE id = $1 AND leased_by = $2 AND state = 'running'"
    };
}

macro_rules! again {
    () => {
        "UPDATE jobs SET state = 'queued', run_at = $3, attempt = $4, error = COALESCE($5, error),
             error_kind = COALESCE($6, error_kind), request_id = COALESCE($7, request_id), lease_until = NULL, leased_by = NULL
         WHERE id = $1 AND leased_by = $2 AND state = 'running'"
    };
}

fn end_params(lease: &Lease, now: Timestamp, ended: &Ended, request: Option<RequestId>) -> Params {
    params![
        lease.job,
        lease.run.0.as_str(),
        ended.state.as_str(),
        now,
        ended.result_sealed.clone(),
        ended.error.as_deref(),
        ended.error_kind,
        request,
        // What has failed can be replayed while it is kept.
        ended.state == JobState::Failed
    ]
}

fn again_params(
    lease: &Lease,
    run_at: Timestamp,
    attempts: u32,
    why: &Ended,
    request: Option<RequestId>,
) -> Params {
    params![
        lease.job,
        lease.run.0.as_str(),
        run_at,
        attempts,
        why.error.as_deref(),
        why.error_kind,
        request
    ]
}

/// Ends a job, and returns it.
pub(crate) async fn finish_job(
    tx: &mut Tx,
    lease: &Lease,
    now: Timestamp,
    ended: &Ended,
    request: Option<RequestId>,
) -> Result<Option<Job>, StoreError> {
    let sql = concat!(end!(), " RETURNING ", columns!());
    let row = tx
        .fetch_optional(sql, end_params(lease, now, ended, request))
        .await?;
    row.as_ref().map(read_job).transpose()
}

/// Puts a job back, to be tried again at `run_at`, with `attempts` behind it, and returns it.
pub(crate) async fn put_back(
    tx: &mut Tx,
    lease: &Lease,
    run_at: Timestamp,
    attempts: u32,
    why: &Ended,
    request: Option<RequestId>,
) -> Result<Option<Job>, StoreError> {
    let sql = concat!(again!(), " RETURNING ", columns!());
    let row = tx
        .fetch_optional(sql, again_params(lease, run_at, attempts, why, request))
        .await?;
    row.as_ref().map(read_job).transpose()
}

/// Ends work of the program's own.
pub(crate) async fn end_work(
    tx: &mut Tx,
    lease: &Lease,
    now: Timestamp,
    ended: &Ended,
) -> Result<(), StoreError> {
    tx.execute(end!(), end_params(lease, now, ended, None))
        .await?;
    Ok(())
}

/// Puts work of the program's own back, to be tried again at `run_at`, with `attempts` behind it.
pub(crate) async fn work_back(
    tx: &mut Tx,
    lease: &Lease,
    run_at: Timestamp,
    attempts: u32,
    why: &Ended,
) -> Result<(), StoreError> {
    tx.execute(again!(), again_params(lease, run_at, attempts, why, None))
        .await?;
    Ok(())
}
