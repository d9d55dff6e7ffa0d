//! The SQL of ends, one job at a time: for those that leave something behind.

use ::store::{StoreError, Tx, params};
use primitives::Timestamp;

use super::leases::{Ended, Lease};
use crate::model::JobState;

/// Ends a job. Writes nothing when the run does not hold it any more. What has failed keeps its payload, so that it can be replayed.
pub(crate) async fn end_work(
    tx: &mut Tx,
    lease: &Lease,
    now: Timestamp,
    ended: &Ended,
) -> Result<(), StoreError> {
    let keeps = ended.state == JobState::Failed;
    tx.execute(
        "UPDATE jobs SET state = $3, ended_at = $4, result_sealed = $5, error = $6, error_kind = $7,
             payload_sealed = CASE WHEN $8 THEN payload_sealed ELSE NULL END, lease_until = NULL, leased_by = NULL
         WHERE id = $1 AND leased_by = $2 AND state = 'running'",
        params![
            lease.job,
            lease.run.0.as_str(),
            ended.state.as_str(),
            now,
            ended.result_sealed.clone(),
            ended.error.as_deref(),
            ended.error_kind,
            keeps
        ],
    )
    .await?;
    Ok(())
}

/// Puts a job back, to be tried again at `run_at`, with `attempts` behind it. Writes nothing when the run does not hold it any more.
pub(crate) async fn work_back(
    tx: &mut Tx,
    lease: &Lease,
    run_at: Timestamp,
    attempts: u32,
    why: &Ended,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE jobs SET state = 'queued', run_at = $3, attempt = $4, error = COALESCE($5, error),
             error_kind = COALESCE($6, error_kind), lease_until = NULL, leased_by = NULL
         WHERE id = $1 AND leased_by = $2 AND state = 'running'",
        params![
            lease.job,
            lease.run.0.as_str(),
            run_at,
            attempts,
            why.error.as_deref(),
            why.error_kind
        ],
    )
    .await?;
    Ok(())
}
