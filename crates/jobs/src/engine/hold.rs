//! Holding: one statement renews the leases of all runs of this process, and tells those that have lost theirs.

use std::collections::HashSet;

use ::store::{Durability, StoreError};
use primitives::JobId;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::model::RunId;
use crate::store;
use crate::surface::Jobs;
use crate::work::patiently;

/// Leases that one statement renews.
const TOGETHER: usize = 1_000;

/// A run of this process.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) run: RunId,
    /// Ends the run.
    pub(crate) cancelled: CancellationToken,
}

impl Jobs {
    /// Renews leases at a third of their length, until `stop`. While the database is away nobody else can take them either.
    pub(crate) async fn hold(self, stop: CancellationToken) {
        let every = self.inner.config.lease / 3;
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = self.renew_all().await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "leases were not renewed"
                );
            }
        }
    }

    async fn renew_all(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let held: Vec<(JobId, RunId)> = {
            let running = inner.running.lock();
            running
                .iter()
                .map(|(id, held)| (*id, held.run.clone()))
                .collect()
        };
        for part in held.chunks(TOGETHER) {
            let kept = patiently(async {
                let mut tx = inner.db.write_with(Durability::Relaxed).await?;
                let until = store::now(&mut tx, &*inner.clock)
                    .await?
                    .after(inner.config.lease);
                let kept = store::renew_all(&mut tx, part, until).await?;
                tx.commit().await?;
                Ok(kept)
            })
            .await?;
            let kept: HashSet<JobId> = kept.into_iter().collect();
            let running = inner.running.lock();
            for (id, run) in part.iter().filter(|(id, _)| !kept.contains(id)) {
                // It may have ended meanwhile, here.
                if let Some(held) = running.get(id).filter(|held| held.run == *run) {
                    tracing::info!(job = %id, "a job was called off or taken over: its run here stops");
                    held.cancelled.cancel();
                }
            }
        }
        Ok(())
    }

    /// Forgets a run that has ended, and no other of the same job.
    pub(crate) fn let_go(&self, id: JobId, run: &RunId) {
        let mut running = self.inner.running.lock();
        if running.get(&id).is_some_and(|held| held.run == *run) {
            running.remove(&id);
        }
    }
}
