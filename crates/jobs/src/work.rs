//! The loop of a process that carries jobs out: as many at once as it has places, the oldest first, no organisation more than half.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::store::{Durability, StoreError};
use primitives::OrgId;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::executor::Executor;
use crate::model::RunId;
use crate::run::{Run, Stops};
use crate::store::{self, Lease};
use crate::surface::Jobs;

/// How often it is looked whether something is due that nobody here has told of.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one call of the database may take.
pub(crate) const DATABASE_PATIENCE: Duration = Duration::from_secs(5);
/// How long runs may take to give their jobs back when the program ends.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// Bounds a call of the database, so that a silent one holds nothing up.
pub(crate) async fn patiently<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(DATABASE_PATIENCE, call).await {
        Ok(outcome) => outcome,
        Err(late) => Err(StoreError::Unavailable(Box::new(late))),
    }
}

impl Jobs {
    /// Has jobs accepted, and carries out those that are due, until `stop`; then gives back those that are not done, attempt included.
    pub async fn work(self, executor: Arc<dyn Executor>, stop: CancellationToken) {
        // Once only: a second caller would carry out jobs by another's rules.
        if self.inner.executor.set(Arc::clone(&executor)).is_err() {
            tracing::error!("jobs are carried out already");
            return;
        }
        let mut runs: JoinSet<OrgId> = JoinSet::new();
        let mut held: HashMap<OrgId, usize> = HashMap::new();
        let mut failing = false;
        while !stop.is_cancelled() {
            let outcome = self.fill(&executor, &mut runs, &mut held, &stop).await;
            match outcome {
                Ok(()) => failing = false,
                // Said once: the loop would repeat it every second.
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "jobs cannot be claimed now: it is tried again every second"
                    );
                }
                Err(_) => {}
            }
            tokio::select! {
                Some(ended) = runs.join_next() => release(&mut held, ended),
                () = self.inner.due.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
        self.inner.closing.cancel();
        let given_back = async { while runs.join_next().await.is_some() {} };
        if timeout(LAST_MOMENTS, given_back).await.is_err() {
            tracing::warn!("some jobs could not be given back: they are due when their leases end");
        }
    }

    /// Claims jobs while there are places and jobs that are due.
    async fn fill(
        &self,
        executor: &Arc<dyn Executor>,
        runs: &mut JoinSet<OrgId>,
        held: &mut HashMap<OrgId, usize>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let config = &self.inner.config;
        while let Some(ended) = runs.try_join_next() {
            release(held, ended);
        }
        if runs.len() >= config.concurrency || !patiently(self.is_due()).await? {
            return Ok(());
        }
        patiently(self.take_lapsed()).await?;
        while runs.len() < config.concurrency && !stop.is_cancelled() {
            let most = config.most_of_one();
            let full = held.iter().find(|(_, count)| **count >= most);
            let but_of = full.map(|(org, _)| *org);
            let Some(run) = patiently(self.claim(but_of, stop)).await? else {
                return Ok(());
            };
            let org = run.org();
            *held.entry(org).or_default() += 1;
            let executor = Arc::clone(executor);
            runs.spawn(async move {
                run.carry_out(executor).await;
                org
            });
        }
        Ok(())
    }

    async fn is_due(&self) -> Result<bool, StoreError> {
        let mut tx = self.inner.db.read().await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        let due = store::find_due(&mut tx, now).await?;
        tx.commit().await?;
        Ok(due)
    }

    /// Makes those due again whose holder gave no sign of life, and fails those that were so in their last attempt.
    async fn take_lapsed(&self) -> Result<(), StoreError> {
        let mut tx = self.inner.db.write().await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        let lapsed = store::requeue_lapsed(&mut tx, now).await?;
        let message = "the server that carried it out was lost each time";
        let failed = store::fail_exhausted(&mut tx, now, message).await?;
        tx.commit().await?;
        for job in lapsed.iter().chain(&failed) {
            self.inner.metrics.leases_lost.inc();
            tracing::warn!(job = %job.id, attempt = job.attempt, state = job.state.as_str(), "the lease of a job ran out");
            self.tell_state(job);
        }
        Ok(())
    }

    async fn claim(
        &self,
        but_of: Option<OrgId>,
        stop: &CancellationToken,
    ) -> Result<Option<Run>, StoreError> {
        let token = Uuid::new_v4();
        let run = RunId(token.to_string());
        // A claim that a loss of power undoes leaves the job where it was.
        let mut tx = self.inner.db.write_with(Durability::Relaxed).await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        let until = now.after(self.inner.config.lease);
        let claimed = store::claim_job(&mut tx, &run, now, until, but_of).await?;
        tx.commit().await?;
        let Some((job, payload_sealed)) = claimed else {
            return Ok(None);
        };
        let cancelled = CancellationToken::new();
        self.inner.running.lock().insert(job.id, cancelled.clone());
        self.tell_state(&job);
        let lease = Lease { job: job.id, run };
        let stops = Stops {
            cancelled,
            drained: stop.clone(),
        };
        let jitter = token.as_bytes()[0];
        Ok(Some(Run::new(
            self.clone(),
            job,
            payload_sealed,
            lease,
            stops,
            jitter,
        )))
    }
}

/// Frees the place of a run. One that panicked frees none of its organisation's count by itself: all are counted anew.
fn release(held: &mut HashMap<OrgId, usize>, ended: Result<OrgId, tokio::task::JoinError>) {
    match ended {
        Ok(org) => {
            if let Some(count) = held.get_mut(&org) {
                *count -= 1;
                if *count == 0 {
                    held.remove(&org);
                }
            }
        }
        Err(error) => {
            tracing::error!(%error, "a job's run ended abnormally: it is due again when its lease ends");
            held.clear();
        }
    }
}
