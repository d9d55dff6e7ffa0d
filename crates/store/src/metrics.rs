//! Metrics of the database's use: connections, how long one is waited for, how long transactions take and how they end.

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::{StoreError, Tx};

/// What a transaction is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Reading.
    Read,
    /// Writing, reads included.
    Write,
}

impl Kind {
    const fn label(self) -> OfKind {
        let kind = match self {
            Self::Read => "read",
            Self::Write => "write",
        };
        OfKind { kind }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

/// How a transaction ended: `committed`; `undone` (refused, given up or lost: nothing of it is there); `not_begun` (no connection was
/// free in time, or the database did not answer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPool {
    pool: &'static str,
}

/// Connections of one pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolState {
    pub(crate) pool: &'static str,
    pub(crate) open: u32,
    pub(crate) idle: u32,
    pub(crate) most: u32,
}

/// What is counted; the same for all clones of a database.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    begin: Family<OfKind, Histogram, fn() -> Histogram>,
    took: Family<OfKind, Histogram, fn() -> Histogram>,
    ended: Family<Ended, Counter>,
    open: Family<OfPool, Gauge>,
    idle: Family<OfPool, Gauge>,
    most: Family<OfPool, Gauge>,
}

/// From 50 µs to 1.6 s, and beyond.
fn times() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 16))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("remuda_database"),
            begin: Family::new_with_constructor(times),
            took: Family::new_with_constructor(times),
            ended: Family::default(),
            open: Family::default(),
            idle: Family::default(),
            most: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register_with_unit(
            "begin",
            "How long transactions waited for their turn, a connection and their beginning",
            Unit::Seconds,
            metrics.begin.clone(),
        );
        registry.register_with_unit(
            "transaction",
            "How long transactions took from their beginning to their end",
            Unit::Seconds,
            metrics.took.clone(),
        );
        registry.register(
            "transactions",
            "Transactions, by what they were for and how they ended",
            metrics.ended.clone(),
        );
        registry.register(
            "connections_open",
            "Connections that are open",
            metrics.open.clone(),
        );
        registry.register(
            "connections_idle",
            "Open connections that nobody uses",
            metrics.idle.clone(),
        );
        registry.register(
            "connections_most",
            "Connections that may be open at once",
            metrics.most.clone(),
        );
        metrics
    }

    /// Counts the beginning of a transaction that was asked for at `asked`, and has it tell of its end.
    pub(crate) fn begun(
        self: &Arc<Self>,
        kind: Kind,
        asked: Instant,
        tx: Result<Tx, StoreError>,
    ) -> Result<Tx, StoreError> {
        let waited = asked.elapsed().as_secs_f64();
        match tx {
            Ok(tx) => {
                self.begin.get_or_create(&kind.label()).observe(waited);
                Ok(tx.told_of(Timed {
                    metrics: Arc::clone(self),
                    kind,
                    begun: Instant::now(),
                    committed: false,
                }))
            }
            Err(error) => {
                self.count(kind, "not_begun");
                Err(error)
            }
        }
    }

    fn count(&self, kind: Kind, outcome: &'static str) {
        let OfKind { kind } = kind.label();
        self.ended.get_or_create(&Ended { kind, outcome }).inc();
    }

    /// Writes them in the text format, with its end mark.
    pub(crate) fn render(&self, pools: impl IntoIterator<Item = PoolState>) -> String {
        for state in pools {
            let pool = OfPool { pool: state.pool };
            let told = [
                (&self.open, state.open),
                (&self.idle, state.idle),
                (&self.most, state.most),
            ];
            for (gauge, value) in told {
                gauge.get_or_create(&pool).set(i64::from(value));
            }
        }
        let mut text = String::new();
        // Writing into a string does not fail.
        text::encode(&mut text, &self.registry).ok();
        text
    }
}

/// Tells of the end of a transaction when it is dropped.
#[derive(Debug)]
pub(crate) struct Timed {
    metrics: Arc<Metrics>,
    kind: Kind,
    begun: Instant,
    committed: bool,
}

impl Timed {
    pub(crate) const fn committed(&mut self) {
        self.committed = true;
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        let took = self.begun.elapsed().as_secs_f64();
        let times = &self.metrics.took;
        times.get_or_create(&self.kind.label()).observe(took);
        let outcome = if self.committed {
            "committed"
        } else {
            "undone"
        };
        self.metrics.count(self.kind, outcome);
    }
}
