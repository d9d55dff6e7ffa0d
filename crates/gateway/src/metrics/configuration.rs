//! What is counted of configurations that are read while the program runs.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// Series of readings.
#[derive(Debug, Default)]
pub(crate) struct ConfigurationSeries {
    readings: Family<OutcomeLabels, Counter>,
}

impl ConfigurationSeries {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "configuration_reloads",
            "Readings of the configuration while serving, by outcome (applied, refused)",
            self.readings.clone(),
        );
        for outcome in ["applied", "refused"] {
            drop(self.readings.get_or_create(&OutcomeLabels { outcome }));
        }
    }

    pub(super) fn count(&self, applied: bool) {
        let outcome = if applied { "applied" } else { "refused" };
        self.readings
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }
}
