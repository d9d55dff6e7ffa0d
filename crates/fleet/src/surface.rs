//! The domain's entrance: what it works with, and what it keeps doing.

use std::sync::Arc;
use std::time::Duration;

use ::store::{Db, Durability, StoreError};
use cluster::Registry;
use futures_util::future::BoxFuture;
use identity::Identity;
use primitives::{Clock, MonotonicTime, NodeId};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::history::NodePoint;
use crate::metrics::Metrics;
use crate::sampling::Samples;
use crate::span::Span;
use crate::store;

/// How often nodes are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often requests are rolled up, at most.
const ROLL_UP_EVERY: Duration = LOOK_EVERY;
/// A roll-up is followed by a pause of so many times its own length at least: it takes a hundredth of the time at most.
const PAUSE: u32 = 100;
/// How often what is old goes.
const CARE_EVERY: Duration = Duration::from_mins(10);

/// Tells whether this process does what one does for all.
pub type Duty = Arc<dyn Fn() -> BoxFuture<'static, Result<bool, StoreError>> + Send + Sync>;

/// How long what is kept.
#[derive(Clone, Copy, Debug)]
pub struct FleetConfig {
    /// Points of a minute; at least a day.
    pub minutes: Duration,
    /// Points of an hour, and requests by the hour; at least two days.
    pub hours: Duration,
    /// Points of a day, and requests by the day.
    pub days: Duration,
}

/// What the domain works with.
pub struct FleetDeps {
    /// Where it is kept.
    pub db: Db,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Who may.
    pub identity: Identity,
    /// Whose nodes are looked at.
    pub registry: Registry,
    /// Which process writes.
    pub duty: Duty,
    /// How long what is kept.
    pub config: FleetConfig,
}

/// What the fleet did. Clones share everything.
#[derive(Clone)]
pub struct Fleet {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identity: Identity,
    pub(crate) registry: Registry,
    pub(crate) config: FleetConfig,
    duty: Duty,
    metrics: Metrics,
}

/// What was seen so far, and what is due when.
pub struct Turns {
    samples: Samples,
    roll_up: MonotonicTime,
    care: MonotonicTime,
}

impl Fleet {
    /// Makes the domain. Nothing is written before [`Fleet::keep`].
    pub fn new(deps: FleetDeps) -> Self {
        Self {
            inner: Arc::new(Inner {
                db: deps.db,
                clock: deps.clock,
                identity: deps.identity,
                registry: deps.registry,
                config: deps.config,
                duty: deps.duty,
                metrics: Metrics::new(),
            }),
        }
    }

    /// Returns the domain's metrics in the text format.
    pub fn render_metrics(&self) -> String {
        self.inner.metrics.render()
    }

    /// Looks at nodes and rolls up, until `stop`. Every process looks; the one whose duty it is writes.
    pub async fn keep(self, stop: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turns = self.turns();
        let mut failing = false;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.turn(&mut turns).await {
                Ok(()) => failing = false,
                Err(error) => {
                    self.inner.metrics.failed.inc();
                    if !failing {
                        failing = true;
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "statistics cannot be written: requests are counted later, a minute of the nodes' history is lost"
                        );
                    }
                }
            }
        }
    }

    /// Begins: nothing was seen so far, and everything is due.
    pub fn turns(&self) -> Turns {
        let now = self.inner.clock.monotonic();
        Turns {
            samples: Samples::default(),
            roll_up: now,
            care: now,
        }
    }

    /// Looks at every node once, and writes what is due, if that is this process's duty.
    ///
    /// # Errors
    /// When the database fails. What is due stays due, but for the minute that was to be written.
    pub async fn turn(&self, turns: &mut Turns) -> Result<(), StoreError> {
        let inner = &self.inner;
        let fleet = inner.registry.snapshot();
        let minute = turns.samples.look(&fleet, inner.clock.now());
        let now = inner.clock.monotonic();
        let (roll_up, care) = (turns.roll_up <= now, turns.care <= now);
        if minute.is_empty() && !roll_up && !care || !(inner.duty)().await? {
            return Ok(());
        }
        if !minute.is_empty() {
            self.write_minute(&minute).await?;
        }
        if roll_up {
            self.roll_up_requests().await?;
            let took = inner.clock.monotonic().since(now);
            inner.metrics.rolled_up(took);
            turns.roll_up = now.after(ROLL_UP_EVERY.max(took * PAUSE));
        }
        if care {
            self.care().await?;
            turns.care = now.after(CARE_EVERY);
        }
        Ok(())
    }

    async fn write_minute(&self, minute: &[(NodeId, NodePoint)]) -> Result<(), StoreError> {
        let rows: Vec<_> = minute
            .iter()
            .map(|(node, point)| point.row(*node))
            .collect();
        let mut tx = self.inner.db.write_with(Durability::Relaxed).await?;
        let written = tx.insert_many(&store::HISTORY, &rows).await?;
        tx.commit().await?;
        self.inner.metrics.points.inc_by(written);
        Ok(())
    }

    /// Makes hours of minutes and days of hours, and lets go of what is old.
    async fn care(&self) -> Result<(), StoreError> {
        let config = &self.inner.config;
        let now = self.inner.clock.now();
        let finer = [
            (Span::Minute, Span::Hour, config.minutes),
            (Span::Hour, Span::Day, config.hours),
        ];
        for (from, to, kept) in finer {
            let mut tx = self.inner.db.write_with(Durability::Relaxed).await?;
            let newest = store::newest_point(&mut tx, to).await?;
            let recent = now.before(to.length());
            // From the last one on, which may have been half done, as long as all of its finer points are there.
            let whole = now.before(kept).after(to.length());
            let since = newest.unwrap_or(whole).min(recent).max(whole);
            let until = to.start_of(now).after(to.length());
            store::roll_history(&mut tx, (from, to), (to.start_of(since), until)).await?;
            tx.commit().await?;
        }
        let mut tx = self.inner.db.write_with(Durability::Relaxed).await?;
        let kept = [
            (Span::Minute, config.minutes),
            (Span::Hour, config.hours),
            (Span::Day, config.days),
        ];
        for (span, kept) in kept {
            store::prune_history(&mut tx, span, now.before(kept)).await?;
            store::prune_statistics(&mut tx, span, now.before(kept)).await?;
        }
        tx.commit().await
    }
}
