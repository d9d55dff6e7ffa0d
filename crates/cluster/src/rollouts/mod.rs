//! Staged roll-outs of new versions of models: which share of a name's callers gets the new version, and when that grows or ends.
//!
//! A roll-out is a row. Every process publishes its split with the fleet's snapshot, so that gateways follow it as they follow nodes, and
//! adds what came of its requests to counts that all share. One process of all decides by them ([`scheduling::rollout::decide`]), and
//! writes the row anew; whatever it was about to do when it ended, the next one decides again.
//!
//! It never deletes a model or a request, and a request never waits for it: while the database is away the last split holds.

mod error;
mod keep;
mod look;
mod metrics;
mod operations;
mod record;
mod routes;
mod split;
mod store;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::store::{Db, StoreError};
use arc_swap::ArcSwap;
use identity::Identity;
use primitives::Clock;
use tokio::sync::Notify;

pub use error::RolloutError;
pub use split::{RolloutChoice, RolloutSplit, RolloutVersion};
pub use tally::RolloutAnswer;

use crate::placement::TakeDuty;
use crate::registry::Registry;
use metrics::Figures;
use tally::Tally;

/// How roll-outs are looked after.
#[derive(Clone, Copy, Debug)]
pub struct RolloutsConfig {
    /// The time between two looks: how late another process follows a change at most, and how often is decided. 1 s by default.
    pub interval: Duration,
    /// How long roll-outs are kept that decide nothing any more. 90 days by default.
    pub retention: Duration,
}

impl Default for RolloutsConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            retention: Duration::from_hours(90 * 24),
        }
    }
}

/// What roll-outs work with.
#[derive(Clone)]
pub struct RolloutsDeps {
    /// The fleet.
    pub registry: Registry,
    /// Where roll-outs are kept.
    pub db: Db,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Tells who is an administrator.
    pub identity: Identity,
    /// Says which process decides.
    pub duty: TakeDuty,
}

impl fmt::Debug for RolloutsDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RolloutsDeps").finish_non_exhaustive()
    }
}

/// The names of models that the configuration decides about. They are keys, as [`model_key`](crate::model_key) makes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfiguredNames {
    /// Names whose callers it divides over models.
    pub splits: BTreeSet<String>,
    /// Names that stand for a model, and for which.
    pub aliases: BTreeMap<String, String>,
}

/// Roll-outs, and who sees to them. Clones share everything.
#[derive(Clone)]
pub struct Rollouts {
    inner: Arc<Inner>,
}

struct Inner {
    deps: RolloutsDeps,
    config: RolloutsConfig,
    names: ArcSwap<ConfiguredNames>,
    tally: Tally,
    /// Rings when there may be something to do before the time.
    bell: Notify,
    /// Held from the reading of the rows until they are published: what is published last was read last.
    publishing: tokio::sync::Mutex<()>,
    figures: Figures,
}

impl fmt::Debug for Rollouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollouts")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Rollouts {
    /// Makes it and publishes the splits that hold. Nothing is decided before [`keep`](Self::keep).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(
        deps: RolloutsDeps,
        config: RolloutsConfig,
        names: ConfiguredNames,
    ) -> Result<Self, StoreError> {
        let rollouts = Self {
            inner: Arc::new(Inner {
                deps,
                config,
                names: ArcSwap::from_pointee(names),
                tally: Tally::default(),
                bell: Notify::new(),
                publishing: tokio::sync::Mutex::default(),
                figures: Figures::default(),
            }),
        };
        rollouts.refresh().await?;
        Ok(rollouts)
    }

    /// Tells which names the configuration decides about from now on.
    pub fn configure(&self, names: ConfiguredNames) {
        self.inner.names.store(Arc::new(names));
        self.inner.bell.notify_one();
    }

    fn db(&self) -> &Db {
        &self.inner.deps.db
    }

    fn clock(&self) -> &dyn Clock {
        &*self.inner.deps.clock
    }

    fn registry(&self) -> &Registry {
        &self.inner.deps.registry
    }
}
