//! What is done now and then: old jobs are deleted, those that waited too long have failed, and the figures are renewed.

use std::time::Duration;

use ::store::StoreError;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::store;
use crate::surface::Jobs;
use crate::work::patiently;

/// How often the figures are renewed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks between two rounds of deleting.
const CLEAN_EVERY: u32 = 12;
/// Jobs that are deleted at once: other writers get their turns in between.
const STEP: u32 = 200;

impl Jobs {
    /// Keeps the table small and the figures fresh, until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0_u32;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let outcome = self.look(round == 0).await;
            if let Err(error) = outcome {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "jobs were not looked after"
                );
                continue;
            }
            round = (round + 1) % CLEAN_EVERY;
        }
    }

    async fn look(&self, thorough: bool) -> Result<(), StoreError> {
        if patiently(self.count()).await? > self.inner.config.give_up_after {
            patiently(self.give_up()).await?;
        }
        if thorough {
            while patiently(self.clean()).await? >= u64::from(STEP) {}
        }
        Ok(())
    }

    /// Renews the figures, and returns how long the oldest job that waits has done so.
    async fn count(&self) -> Result<Duration, StoreError> {
        let inner = &self.inner;
        let mut tx = inner.db.read().await?;
        let now = store::now(&mut tx, &*inner.clock).await?;
        let (queued, running, oldest) = store::live_figures(&mut tx).await?;
        tx.commit().await?;
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        inner.metrics.queued.set(number(queued));
        inner.metrics.running.set(number(running));
        let waited = oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        inner.metrics.oldest.set(number(waited.as_secs()));
        Ok(waited)
    }

    /// Fails what has waited for too long.
    async fn give_up(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut tx = inner.db.write().await?;
        let now = store::now(&mut tx, &*inner.clock).await?;
        let before = now.before(inner.config.give_up_after);
        let message = "it has waited for too long ([jobs] give_up_after)";
        let failed = store::fail_waiting(&mut tx, now, before, message).await?;
        tx.commit().await?;
        for job in &failed {
            self.tell_state(job);
        }
        Ok(())
    }

    /// Deletes some of what has ended and need not be kept; returns how much.
    async fn clean(&self) -> Result<u64, StoreError> {
        let inner = &self.inner;
        let mut tx = inner.db.write().await?;
        let now = store::now(&mut tx, &*inner.clock).await?;
        let before = now.before(inner.config.retention);
        let deleted = store::delete_ended(&mut tx, before, inner.config.max_kept, STEP).await?;
        tx.commit().await?;
        Ok(deleted)
    }
}
