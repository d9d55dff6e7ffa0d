//! Which model should be on which node: what is wanted, the plan that brings it about, and what is done about the plan.
//!
//! One process of all reconciles: it makes a plan ([`scheduling::placement`]) of the fleet as it is, queues what it may do by itself, and
//! carries out what waits, within limits. Before anything is taken away the node itself is asked, and the rules are applied again to what
//! it says at that moment. Every step is a row before it is done: after a crash whoever has the duty then finds it and does it again,
//! which changes nothing where it was done already.
//!
//! It never touches a model that no policy names, but for taking an idle one from memory where another needs the room.

mod action;
mod copy;
mod error;
mod execute;
mod keep;
mod look;
mod metrics;
mod node_calls;
mod operations;
mod policy;
pub(crate) mod replica_notes;
mod routes;
mod store;
mod uses;
mod window;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::store::{Db, StoreError};
use futures_util::future::BoxFuture;
use identity::Identity;
use parking_lot::Mutex;
use primitives::{Clock, JobId};
use scheduling::placement::DemandRule;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::PlacementError;
pub use window::{Window, WindowError};

use crate::registry::Registry;
use metrics::Figures;
use uses::Uses;

/// Takes or keeps the duty of reconciling, and tells its term; `None` when another process has it.
pub type TakeDuty =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Option<u64>, StoreError>> + Send + Sync>;

/// How placement works.
#[derive(Clone, Debug)]
pub struct PlacementConfig {
    /// The time between two looks at the fleet. 5 s by default.
    pub interval: Duration,
    /// Files that are fetched at once over the whole fleet; one at a time at each node. 2 by default.
    pub max_pulls: usize,
    /// The most bytes a second that one copy between nodes takes; 0, the default: as many as there are.
    pub copy_bytes_per_second: u64,
    /// When files may be fetched and deleted; always when empty.
    pub windows: Vec<Window>,
    /// What is known of a node counts for so long. 40 s by default: three probes and a slow answer.
    pub fresh_for: Duration,
    /// How long a node may be away until its copies are made elsewhere. 15 min by default.
    pub absent_for: Duration,
    /// A model that was used within this time is not taken from memory. 5 min by default.
    pub quiet_for: Duration,
    /// How long actions that have ended are kept. 30 days by default.
    pub retention: Duration,
    /// When demand adds nodes and takes them away.
    pub demand: DemandRule,
}

impl Default for PlacementConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            max_pulls: 2,
            copy_bytes_per_second: 0,
            windows: Vec::new(),
            fresh_for: Duration::from_secs(40),
            absent_for: Duration::from_mins(15),
            quiet_for: Duration::from_mins(5),
            retention: Duration::from_hours(30 * 24),
            demand: DemandRule::default(),
        }
    }
}

/// What placement works with.
#[derive(Clone)]
pub struct PlacementDeps {
    /// The fleet.
    pub registry: Registry,
    /// Where what is wanted is kept.
    pub db: Db,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Tells who is an administrator.
    pub identity: Identity,
    /// Says which process reconciles.
    pub duty: TakeDuty,
}

impl fmt::Debug for PlacementDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlacementDeps").finish_non_exhaustive()
    }
}

/// What is wanted of models, and who sees to it. Clones share everything.
#[derive(Clone)]
pub struct Placement {
    inner: Arc<Inner>,
}

struct Inner {
    deps: PlacementDeps,
    config: PlacementConfig,
    uses: Uses,
    /// Rings when there may be something to do before the time.
    bell: Notify,
    /// What this process carries out.
    running: Mutex<HashMap<JobId, CancellationToken>>,
    state: Mutex<Reconciler>,
    figures: Figures,
    tasks: TaskTracker,
}

/// How the last look at the fleet went.
#[derive(Clone, Debug, Default)]
struct Reconciler {
    /// The term, where this process has the duty.
    term: Option<u64>,
    looked_at: Option<primitives::Timestamp>,
    problem: Option<String>,
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placement")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Placement {
    /// Makes it. Nothing is done before [`keep`](Self::keep).
    pub fn new(deps: PlacementDeps, config: PlacementConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                deps,
                config,
                uses: Uses::default(),
                bell: Notify::new(),
                running: Mutex::default(),
                state: Mutex::default(),
                figures: Figures::default(),
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// Looks at the fleet before the time.
    pub fn poke(&self) {
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
