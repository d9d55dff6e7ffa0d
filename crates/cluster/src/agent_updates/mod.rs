//! Updates of agents: signed releases that are kept here, and staged roll-outs that give them to agents, one first.
//!
//! A release is a program and the text that says what it is, signed by a key that is never here: an agent believes the one key that it was
//! started with, so that whoever has taken a control plane over cannot run anything on the nodes. A roll-out is a row. One process of all
//! looks at it again and again, asks agents to take the version, and waits until they are linked with it and serve; the first one that
//! does not ends the roll-out. An agent that fails goes back to its version by itself.
//!
//! Agents are asked over the links of the process that has the duty: it reaches those that are linked to it.

mod decide;
mod error;
mod give;
mod keep;
mod metrics;
mod operations;
mod record;
mod release;
mod routes;
mod standing;
mod store;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::store::Db;
use identity::Identity;
use parking_lot::Mutex;
use primitives::{Clock, MonotonicTime, NodeId, RolloutId};
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

pub use error::AgentUpdateError;

use crate::placement::TakeDuty;
use crate::registry::Registry;
use metrics::Figures;

/// The most agents that are given a release at a time.
const GIVEN_AT_ONCE: usize = 8;

/// How updates of agents are looked after.
#[derive(Clone, Copy, Debug)]
pub struct AgentUpdatesConfig {
    /// The time between two looks. 1 s by default.
    pub interval: Duration,
    /// How long roll-outs that have ended are kept. 90 days by default.
    pub retention: Duration,
}

impl Default for AgentUpdatesConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            retention: Duration::from_hours(90 * 24),
        }
    }
}

/// What updates of agents work with.
#[derive(Clone)]
pub struct AgentUpdatesDeps {
    /// The fleet.
    pub registry: Registry,
    /// Where releases and roll-outs are kept.
    pub db: Db,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Tells who is an administrator.
    pub identity: Identity,
    /// Says which process asks agents.
    pub duty: TakeDuty,
}

impl fmt::Debug for AgentUpdatesDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentUpdatesDeps").finish_non_exhaustive()
    }
}

/// Releases and roll-outs, and who sees to them. Clones share everything.
#[derive(Clone)]
pub struct AgentUpdates {
    inner: Arc<Inner>,
}

struct Inner {
    deps: AgentUpdatesDeps,
    config: AgentUpdatesConfig,
    /// What this process has seen of agents that were asked, by its own time.
    watched: Mutex<Watched>,
    /// Releases that are being given to agents.
    giving: TaskTracker,
    /// How many agents are given one at a time: each reads from the database as fast as its link takes it.
    turns: Semaphore,
    /// Rings when there may be something to do before the time.
    bell: Notify,
    figures: Figures,
}

/// What was seen of the agents of one roll-out.
#[derive(Debug, Default)]
struct Watched {
    rollout: Option<RolloutId>,
    agents: HashMap<NodeId, WatchedAgent>,
}

#[derive(Clone, Copy, Debug)]
struct WatchedAgent {
    /// Since when it is known that it was asked.
    asked: MonotonicTime,
    /// Since when it is waited for: that it has the release, or was last seen to serve with the version.
    waited: MonotonicTime,
    /// Since when it is linked with the version, and serves.
    settled: Option<MonotonicTime>,
    /// A task gives it the release, or waits after it could not.
    giving: bool,
}

impl fmt::Debug for AgentUpdates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentUpdates")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl AgentUpdates {
    /// Makes it. Nothing is asked of agents before [`keep`](Self::keep).
    pub fn new(deps: AgentUpdatesDeps, config: AgentUpdatesConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                deps,
                config,
                watched: Mutex::default(),
                giving: TaskTracker::new(),
                turns: Semaphore::new(GIVEN_AT_ONCE),
                bell: Notify::new(),
                figures: Figures::default(),
            }),
        }
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
