//! The domain's entrance: what it works with, and what others see of it.

use std::sync::Arc;

use ::store::Db;
use identity::Identity;
use primitives::Clock;
use tokio::sync::Semaphore;
use web::AllowedOrigins;

use crate::config::InventoryConfig;
use crate::group::Line;
use crate::import::together;
use crate::metrics::Metrics;
use crate::numbers::Numbers;
use crate::statistics::Counted;

/// What the domain works with.
pub struct InventoryDeps {
    /// Where widgets are kept.
    pub db: Db,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Who may.
    pub identity: Identity,
    /// Bounds and patience.
    pub config: InventoryConfig,
    /// Whose pages may change what callers without a credential may change.
    pub origins: AllowedOrigins,
}

/// The hardware inventory. Clones share everything.
#[derive(Clone)]
pub struct Inventory {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identity: Identity,
    pub(crate) config: InventoryConfig,
    pub(crate) origins: AllowedOrigins,
    /// A place for each call that imports make at the same time.
    pub(crate) importing: Semaphore,
    pub(crate) line: Line,
    pub(crate) numbers: Numbers,
    pub(crate) counted: Counted,
    pub(crate) metrics: Metrics,
}

impl Inventory {
    /// Makes the domain; [`work`](Self::work) has it carry calls out.
    pub fn new(deps: InventoryDeps) -> Self {
        Self {
            inner: Arc::new(Inner {
                db: deps.db,
                clock: deps.clock,
                identity: deps.identity,
                config: deps.config,
                origins: deps.origins,
                importing: Semaphore::new(together(&deps.config)),
                line: Line::default(),
                numbers: Numbers::default(),
                counted: Counted::default(),
                metrics: Metrics::new(),
            }),
        }
    }

    /// Returns the metrics in the text format, with its end mark.
    pub fn render_metrics(&self) -> String {
        self.inner.metrics.render()
    }
}

impl std::fmt::Debug for Inventory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inventory")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}
