//! What is counted of models that come into nodes' memory and go, and of calls that give way.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

/// Series of loads and of those who gave way.
#[derive(Debug, Default)]
pub(crate) struct ResidencySeries {
    loads: Family<CauseLabels, Counter>,
    driven_out: Counter,
    preemptions: Counter,
}

impl ResidencySeries {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "model_loads",
            "Loads of models that were begun, by cause (call, ahead)",
            self.loads.clone(),
        );
        registry.register(
            "models_driven_out",
            "Models in use a moment before that left a node's memory when another one was loaded",
            self.driven_out.clone(),
        );
        registry.register(
            "preemptions",
            "Batch calls that gave their place up to a more important one",
            self.preemptions.clone(),
        );
    }

    /// Counts a load: for a `call`, or `ahead` of need.
    pub(crate) fn load(&self, cause: &'static str) {
        self.loads.get_or_create(&CauseLabels { cause }).inc();
    }

    /// Counts models that were driven out.
    pub(crate) fn driven_out(&self, models: u64) {
        self.driven_out.inc_by(models);
    }

    /// Counts a call that gave its place up.
    pub(crate) fn preemption(&self) {
        self.preemptions.inc();
    }
}
