//! Keeps the certificate valid.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::AgentConfig;
use crate::joining::renew;
use crate::membership::Kept;

/// The longest wait before the certificate is looked at again: clocks may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_hours(1);
/// The wait after a try to renew it.
const TRY_AGAIN: Duration = Duration::from_mins(1);

/// Renews the certificate whenever it is in its last third, until `stop` is cancelled. Links that are up go on: the new one counts
/// from the next connection on.
pub(crate) async fn keep_valid(config: Arc<AgentConfig>, kept: Arc<Kept>, stop: CancellationToken) {
    stop.run_until_cancelled(async {
        loop {
            let left = || kept.latest().renew_in(config.clock.now());
            sleep(left().min(LOOK_AGAIN)).await;
            if !left().is_zero() {
                continue;
            }
            match renew(&config, &kept).await {
                Ok(()) => tracing::info!("the certificate was renewed"),
                Err(error) => {
                    tracing::warn!(%error, "the certificate cannot be renewed: trying again in a minute");
                }
            }
            sleep(TRY_AGAIN).await;
        }
    })
    .await;
}
