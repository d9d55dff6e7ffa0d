//! Metrics of durable work. Labels come from closed sets.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::model::JobState;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    kind: &'static str,
    state: &'static str,
}

/// The most kinds that have series of their own: those of this version are far fewer.
const KINDS: usize = 50;

/// Bounds of the times that claims take, in seconds.
const CLAIM_S: [f64; 16] = [
    0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0,
    5.0,
];

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
    work_queued: Family<KindLabels, Gauge>,
    work_running: Family<KindLabels, Gauge>,
    work_oldest: Family<KindLabels, Gauge>,
    work_ended: Family<EndLabels, Counter>,
    claims: Histogram,
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
            work_queued: Family::default(),
            work_running: Family::default(),
            work_oldest: Family::default(),
            work_ended: Family::default(),
            claims: Histogram::new(CLAIM_S),
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
        registry.register(
            "kind_queued",
            "Jobs that wait, by kind, of all processes; up to a minute behind",
            metrics.work_queued.clone(),
        );
        registry.register(
            "kind_running",
            "Jobs that are carried out, by kind, by all processes; up to a minute behind",
            metrics.work_running.clone(),
        );
        registry.register_with_unit(
            "kind_oldest_due",
            "How long the job that has been due for longest has waited, by kind",
            Unit::Seconds,
            metrics.work_oldest.clone(),
        );
        registry.register(
            "kind_ended",
            "Jobs of the program's own kinds that ended here, by how",
            metrics.work_ended.clone(),
        );
        registry.register_with_unit(
            "claim",
            "How long it took to claim jobs that were due",
            Unit::Seconds,
            metrics.claims.clone(),
        );
        metrics
    }

    pub(crate) fn ended(&self, state: JobState) {
        let state = state.as_str();
        self.ended.get_or_create(&StateLabels { state }).inc();
    }

    pub(crate) fn work_ended(&self, kind: &'static str, state: JobState) {
        let state = state.as_str();
        self.work_ended
            .get_or_create(&EndLabels { kind, state })
            .inc();
    }

    pub(crate) fn claim_took(&self, time: Duration) {
        self.claims.observe(time.as_secs_f64());
    }

    /// Renews the figures of kinds; a kind that is not named has nothing.
    pub(crate) fn set_kinds(&self, kinds: &BTreeMap<String, (u64, u64, u64)>) {
        self.work_queued.clear();
        self.work_running.clear();
        self.work_oldest.clear();
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (kind, (queued, running, oldest_s)) in kinds.iter().take(KINDS) {
            let labels = KindLabels { kind: kind.clone() };
            self.work_queued.get_or_create(&labels).set(number(*queued));
            self.work_running
                .get_or_create(&labels)
                .set(number(*running));
            self.work_oldest
                .get_or_create(&labels)
                .set(number(*oldest_s));
        }
    }

    /// Writes them in the text format, with its end mark.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        text::encode(&mut text, &self.registry).ok();
        text
    }
}
