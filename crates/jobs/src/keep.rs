//! What is done now and then: schedules fire, sums are added up, figures renewed; and by one process for all, old jobs are deleted and
//! those that waited too long have failed.

use std::collections::BTreeMap;
use std::time::Duration;

use ::store::StoreError;
use primitives::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::model::JobKind;
use crate::store;
use crate::surface::Jobs;
use crate::work::{DATABASE_PATIENCE, patiently};

/// How often schedules are looked at.
const FIRE_EVERY: Duration = Duration::from_secs(1);
/// How often the rest is done, in looks at the schedules.
const LOOK_EVERY: u32 = 5;
/// How often is cleaned, in looks at the schedules.
const CLEAN_EVERY: u32 = 60;
/// Counting may take this share of the time, as one part of so many: with a million that wait it is done less often.
const COUNTING: u32 = 100;
/// Jobs that are deleted at once: other writers get their turns in between.
const STEP: u32 = 200;
/// How long sums by the minute are kept.
const SUMS: Duration = Duration::from_hours(48);
/// The duty of cleaning.
const DUTY: &str = "jobs.clean";

impl Jobs {
    /// Keeps the table small and the figures fresh, and fires schedules, until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        let mut ticks = interval(FIRE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0_u32;
        let mut count_at = Instant::now();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.fire().await;
            if round.is_multiple_of(LOOK_EVERY) {
                let outcome = self
                    .look(round.is_multiple_of(CLEAN_EVERY), &mut count_at)
                    .await;
                if let Err(error) = outcome {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "jobs were not looked after"
                    );
                }
            }
            round = (round + 1) % CLEAN_EVERY;
        }
        // What was counted last is not lost with a stop.
        drop(patiently(self.add_up()).await);
    }

    async fn fire(&self) {
        if self.inner.schedules.lock().is_empty() {
            return;
        }
        match timeout(DATABASE_PATIENCE, self.fire_due()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "schedules did not fire"
            ),
            Err(_) => tracing::debug!("schedules did not fire: the database does not answer"),
        }
    }

    async fn look(&self, thorough: bool, count_at: &mut Instant) -> Result<(), StoreError> {
        patiently(self.add_up()).await?;
        let now = Instant::now();
        if now >= *count_at {
            patiently(self.count()).await?;
            *count_at = now + now.elapsed() * COUNTING;
        }
        if patiently(self.take_duty(DUTY)).await?.is_none() {
            return Ok(());
        }
        patiently(self.give_up()).await?;
        if thorough {
            while patiently(self.clean()).await? >= u64::from(STEP) {}
        }
        Ok(())
    }

    /// Renews the figures.
    async fn count(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut tx = inner.db.read().await?;
        let now = store::now(&mut tx, &*inner.clock).await?;
        let queued = store::count_queued(&mut tx).await?;
        let running = store::count_all_running(&mut tx).await?;
        tx.commit().await?;
        let mut kinds: BTreeMap<String, (u64, u64, u64)> = inner
            .kinds
            .lock()
            .keys()
            .map(|kind| ((*kind).to_owned(), (0, 0, 0)))
            .collect();
        for (kind, waits) in queued {
            let figures = kinds.entry(kind).or_default();
            figures.0 = waits.queued;
            let waited = |oldest: Timestamp| now.since(oldest).as_secs();
            figures.2 = waits.oldest.map_or(0, waited);
        }
        for (kind, running) in running {
            kinds.entry(kind).or_default().1 = running;
        }
        let answers =
            JobKind::ALL.map(|kind| kinds.get(kind.as_str()).copied().unwrap_or_default());
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = &inner.metrics;
        metrics
            .queued
            .set(number(answers.iter().map(|one| one.0).sum()));
        metrics
            .running
            .set(number(answers.iter().map(|one| one.1).sum()));
        let oldest = answers.iter().map(|one| one.2).max();
        metrics.oldest.set(number(oldest.unwrap_or(0)));
        metrics.set_kinds(&kinds);
        Ok(())
    }

    /// Fails answers that have waited for too long.
    async fn give_up(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut tx = inner.db.read().await?;
        let now = store::now(&mut tx, &*inner.clock).await?;
        let before = now.before(inner.config.give_up_after);
        let found = store::find_waiting(&mut tx, before).await?;
        tx.commit().await?;
        if !found {
            return Ok(());
        }
        let mut tx = inner.db.write().await?;
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
        store::delete_counts(&mut tx, now.before(SUMS)).await?;
        tx.commit().await?;
        Ok(deleted)
    }
}
