//! Metrics of the roll-ups.

use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) rolled: Counter,
    pub(crate) failed: Counter,
    pub(crate) points: Counter,
    took: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("remuda_statistics"),
            rolled: Counter::default(),
            failed: Counter::default(),
            points: Counter::default(),
            took: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "roll_ups",
            "Times that statistics of requests were rolled up here",
            metrics.rolled.clone(),
        );
        registry.register(
            "roll_ups_failed",
            "Times that the database failed at it",
            metrics.failed.clone(),
        );
        registry.register(
            "node_points",
            "Points of the history of nodes that were written here",
            metrics.points.clone(),
        );
        registry.register_with_unit(
            "roll_up",
            "How long the last roll-up took",
            Unit::Seconds,
            metrics.took.clone(),
        );
        metrics
    }

    pub(crate) fn rolled_up(&self, time: Duration) {
        self.rolled.inc();
        self.took.set(time.as_secs_f64());
    }

    /// Writes them in the text format, with its end mark.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        text::encode(&mut text, &self.registry).ok();
        text
    }
}
