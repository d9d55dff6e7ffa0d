//! The safety net: compares the snapshot with the database again and again, for changes of other replicas and failed renewals.

use std::time::Duration;

use ::store::StoreError;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::identity::Identity;
use crate::store;

/// How often the snapshot is compared.
const PERIOD: Duration = Duration::from_secs(5);

impl Identity {
    /// Keeps the snapshot true and stores last uses, every five seconds until `stop`. While the database is out of reach the
    /// snapshot stays as it is and its age grows.
    pub async fn reconcile(self, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.reconcile_once().await {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("keys and sessions are compared with the database again");
                }
                // Said once: the loop would repeat it every few seconds.
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "keys and sessions cannot be compared with the database: the known ones go on working"
                    );
                }
                Ok(()) | Err(_) => {}
            }
        }
        if let Err(error) = self.store_last_used().await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the last uses of keys were not stored"
            );
        }
    }

    /// Compares once, and stores last uses.
    pub async fn reconcile_once(&self) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        let snapshot = self.snapshot();
        let mut tx = self.inner.db.read().await?;
        let generation = store::load_generation(&mut tx).await?;
        tx.commit().await?;
        if generation == snapshot.generation() {
            snapshot.confirm(now);
        } else {
            self.renew().await?;
        }
        self.store_last_used().await
    }
}
