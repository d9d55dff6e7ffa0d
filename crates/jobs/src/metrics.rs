//! Metrics of durable work. Labels come from closed sets.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::model::JobState;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) queued: Gauge,
    pub(crate) running: Gauge,
    pub(crate) oldest: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) leases_lost: Counter,
    pub(crate) followers: Gauge,
    ended: Family<StateLabels, Counter>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("remuda_jobs"),
            queued: Gauge::default(),
            running: Gauge::default(),
            oldest: Gauge::default(),
            accepted: Counter::default(),
            refused: Counter::default(),
            leases_lost: Counter::default(),
            followers: Gauge::default(),
            ended: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "queued",
            "Jobs that wait, of all processes; up to 5 s behind",
            metrics.queued.clone(),
        );
        registry.register(
            "running",
            "Jobs that are carried out, by all processes; up to 5 s behind",
            metrics.running.clone(),
        );
        registry.register_with_unit(
            "oldest_queued",
            "How long the oldest job that waits has done so",
            Unit::Seconds,
            metrics.oldest.clone(),
        );
        registry.register("accepted", "Jobs accepted here", metrics.accepted.clone());
        registry.register(
            "refused",
            "Jobs refused here because there were too many",
            metrics.refused.clone(),
        );
        registry.register(
            "leases_lost",
            "Leases that ran out: whoever held them gave no sign of life",
            metrics.leases_lost.clone(),
        );
        registry.register(
            "followers",
            "Clients that follow a job here",
            metrics.followers.clone(),
        );
        registry.register(
            "ended",
            "Jobs that ended here, by how",
            metrics.ended.clone(),
        );
        metrics
    }

    pub(crate) fn ended(&self, state: JobState) {
        let state = state.as_str();
        self.ended.get_or_create(&StateLabels { state }).inc();
    }

    /// Writes them in the text format, with its end mark.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        text::encode(&mut text, &self.registry).ok();
        text
    }
}
