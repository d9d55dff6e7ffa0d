//! Telling other processes that there may be something to claim: a hint, debounced and in no transaction that matters. Without it they
//! look every second.

use std::time::Duration;

use ::store::{StoreError, Wakes};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::surface::Jobs;
use crate::work::patiently;

/// The bell's name.
const BELL: &str = "remuda_jobs";
/// It rings at most so often.
const RING_EVERY: Duration = Duration::from_millis(200);
/// The pause before listening is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

impl Jobs {
    /// Rings for other processes and hears them, until `stop`.
    pub(crate) async fn hear_others(self, stop: CancellationToken) {
        let both = async {
            tokio::join!(self.ring(), self.hear());
        };
        stop.run_until_cancelled(Box::pin(both)).await;
    }

    async fn ring(&self) {
        loop {
            self.inner.wake_others.notified().await;
            if let Err(error) = patiently(self.inner.db.ring(BELL)).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "other processes were not told of jobs: they look every second"
                );
            }
            sleep(RING_EVERY).await;
        }
    }

    async fn hear(&self) {
        loop {
            match patiently(self.inner.db.listen(BELL)).await {
                Ok(Some(bell)) => {
                    if let Err(error) = self.listen(bell).await {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "other processes are not heard for a while"
                        );
                    }
                }
                Ok(None) => return,
                Err(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "other processes cannot be heard"
                ),
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    async fn listen(&self, mut bell: Wakes) -> Result<(), StoreError> {
        loop {
            bell.heard().await?;
            self.inner.due.notify_one();
        }
    }
}
