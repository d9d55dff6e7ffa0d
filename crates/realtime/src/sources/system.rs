//! The system's figures, while somebody looks at them.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::topic::Topic;

/// Reads the system's figures. Called only while somebody listens.
pub type SystemSampler = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

impl Hub {
    /// Publishes what `sample` reads, every few seconds while somebody listens, until `stop`.
    pub async fn follow_system(self, sample: SystemSampler, stop: CancellationToken) {
        let mut ticks = interval(self.inner.config.metrics_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if self.listeners(Topic::SystemMetrics) > 0 {
                self.publish(Topic::SystemMetrics, &sample());
            }
        }
    }
}
