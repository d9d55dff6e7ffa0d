//! Metrics of the inventory. Labels come from closed sets.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::batch::Outcome;
use crate::model::OperationKind;
use crate::refusal::CallError;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    operation: &'static str,
    outcome: &'static str,
}

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    waiting: Gauge,
    call_time: Histogram,
    answer_delay: Histogram,
    batch_calls: Histogram,
    batch_time: Histogram,
    later: Counter,
    pub(crate) imported: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let times = || {
            Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5,
            ])
        };
        let mut metrics = Self {
            registry: Registry::with_prefix("remuda_inventory"),
            calls: Family::default(),
            waiting: Gauge::default(),
            call_time: times(),
            answer_delay: times(),
            batch_calls: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
            batch_time: times(),
            later: Counter::default(),
            imported: Counter::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "calls",
            "Calls that change the inventory, by operation and what became of them",
            metrics.calls.clone(),
        );
        registry.register(
            "waiting",
            "Calls that wait for a transaction here",
            metrics.waiting.clone(),
        );
        registry.register_with_unit(
            "call",
            "From the arrival of a call that was taken on to its answer",
            Unit::Seconds,
            metrics.call_time.clone(),
        );
        registry.register_with_unit(
            "answer_delay",
            "From the decision about a call until the thread of its connection comes to it",
            Unit::Seconds,
            metrics.answer_delay.clone(),
        );
        registry.register(
            "batch_calls",
            "Calls of a transaction",
            metrics.batch_calls.clone(),
        );
        registry.register_with_unit(
            "batch",
            "Time of a transaction, commit included",
            Unit::Seconds,
            metrics.batch_time.clone(),
        );
        registry.register(
            "calls_left_for_later",
            "Calls that were left to a later transaction because they touch what another call of theirs makes or removes",
            metrics.later.clone(),
        );
        registry.register(
            "imported_widgets",
            "Widgets that imports have made here",
            metrics.imported.clone(),
        );
        metrics
    }

    pub(crate) fn called(&self, kind: OperationKind, outcome: &Outcome, took: Duration) {
        let labels = CallLabels {
            operation: kind.function(),
            outcome: match outcome {
                Ok(()) => "done",
                Err(error) => error.as_str(),
            },
        };
        self.calls.get_or_create(&labels).inc();
        if !matches!(outcome, Err(CallError::Overloaded)) {
            self.call_time.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn answer_was_delayed(&self, delay: Duration) {
        self.answer_delay.observe(delay.as_secs_f64());
    }

    pub(crate) fn waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn batch(&self, calls: usize, took: Duration) {
        self.batch_calls.observe(calls as f64);
        self.batch_time.observe(took.as_secs_f64());
    }

    pub(crate) fn left_for_later(&self, calls: usize) {
        self.later.inc_by(calls as u64);
    }

    /// Writes them in the text format, with its end mark.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        text::encode(&mut text, &self.registry).ok();
        text
    }
}
