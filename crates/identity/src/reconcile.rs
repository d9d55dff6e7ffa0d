//! The safety net: compares the snapshot with the database again and again, for changes of other replicas and failed renewals.

use std::time::Duration;

use ::store::StoreError;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::identity::{Identity, OpenError};
use crate::store;

/// How often the snapshot is compared: a change of another replica is in effect here within twice that.
const PERIOD: Duration = Duration::from_millis(500);
/// How many comparisons pass between two rounds of what is less urgent: last uses and signing keys.
const CHORES_EVERY: u32 = 10;

impl Identity {
    /// Keeps the snapshot true, twice a second until `stop`, and stores last uses every five seconds. While the database is out of
    /// reach the snapshot stays as it is and its age grows.
    pub async fn reconcile(self, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        let mut round = 0_u32;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let outcome = if round == 0 {
                self.reconcile_once().await
            } else {
                self.compare().await
            };
            if outcome.is_err() {
                self.doubt().await;
            }
            // After a failure the chores are due as soon as the database answers again.
            round = match outcome {
                Ok(()) => (round + 1) % CHORES_EVERY,
                Err(_) => 0,
            };
            match outcome {
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

    /// Compares once, stores last uses, and sees to the keys that sign access tokens.
    pub async fn reconcile_once(&self) -> Result<(), StoreError> {
        match self.keep_signing_keys().await {
            Err(OpenError::Store(error)) => return Err(error),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "no new key to sign access tokens with could be made"
            ),
            Ok(()) => {}
        }
        self.compare().await?;
        self.trim_audit().await?;
        self.trim_changes().await?;
        self.store_last_used().await
    }

    /// Forgets which credentials old changes were about.
    async fn trim_changes(&self) -> Result<(), StoreError> {
        let generation = self.snapshot().generation();
        let mut tx = self.inner.db.read().await?;
        let due = store::can_trim_changes(&mut tx, generation).await?;
        tx.commit().await?;
        if due {
            let mut tx = self.inner.db.write().await?;
            store::trim_changes(&mut tx, generation).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Compares the snapshot with the database, and renews it where they differ.
    pub(crate) async fn compare(&self) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        let snapshot = self.snapshot();
        let mut tx = self.inner.db.read().await?;
        let generation = store::load_generation(&mut tx).await?;
        tx.commit().await?;
        if generation == snapshot.generation() {
            snapshot.confirm(now);
            return Ok(());
        }
        self.renew().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_in_effect_everywhere_within_a_second() {
        assert!(2 * PERIOD <= Duration::from_secs(1));
    }
}
