//! Keeps the link to the control plane up: dial, answer, and dial again when it breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_proto::v1::NodeStatus;
use agent_proto::v1::agent_server::AgentServer;
use primitives::Clock;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::AgentConfig;
use crate::error::AgentError;
use crate::joining::renew;
use crate::membership::Membership;
use crate::service::Service;
use crate::tls;
use crate::tunnels::Tunnels;

/// The longest wait for a connection with TLS.
const DIAL_LIMIT: Duration = Duration::from_secs(10);
/// The bound of the first wait before dialling again, doubled with each failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The bound of the longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A link that lasted this long shows that dialling is not in vain.
const LASTED: Duration = Duration::from_secs(10);
/// The longest wait for a certificate before it is looked at again, and between two tries to renew it.
const LOOK_AT_CERTIFICATE: Duration = Duration::from_hours(1);

/// Whether the link is up, for the health page.
#[derive(Debug, Default)]
pub(crate) struct LinkState {
    up: AtomicBool,
}

impl LinkState {
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }
}

/// What the link is made of.
pub(crate) struct Link {
    pub(crate) config: Arc<AgentConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) membership: Membership,
    pub(crate) status: watch::Receiver<Arc<NodeStatus>>,
    pub(crate) tunnels: Arc<Tunnels>,
    pub(crate) state: Arc<LinkState>,
}

impl Link {
    /// Keeps the link up until `stop` is cancelled.
    pub(crate) async fn keep_up(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            let mut failures = 0;
            loop {
                let started = self.clock.monotonic();
                let ended = Box::pin(self.once()).await;
                self.state.set(false);
                if self.clock.monotonic().since(started) >= LASTED {
                    failures = 0;
                }
                let wait = full_jitter(failures, rand::random());
                failures += 1;
                match ended {
                    Ok(()) => tracing::info!("the link was closed: dialling again"),
                    Err(error) => {
                        tracing::warn!(%error, "no link to the control plane: trying again");
                    }
                }
                sleep(wait).await;
            }
        })
        .await;
    }

    /// Dials and answers until the connection ends or the certificate is another one.
    async fn once(&mut self) -> Result<(), AgentError> {
        let tls = tls::member(&self.membership, agent_proto::LINK)?;
        let address = self.membership.control_plane.clone();
        let stream = timeout(DIAL_LIMIT, tls::connect(&address, tls))
            .await
            .map_err(|_| AgentError::Unreachable {
                address: address.to_string(),
                reason: format!("no answer within {} s", DIAL_LIMIT.as_secs()),
            })??;
        let service = Service::new(
            &self.config,
            Arc::clone(&self.clock),
            self.status.clone(),
            Arc::clone(&self.tunnels),
            Arc::clone(&self.state),
        );
        let serving = agent_proto::serve(stream, AgentServer::new(service));
        let mut serving = std::pin::pin!(serving);
        loop {
            let wait = self.membership.renew_in(self.clock.now());
            tokio::select! {
                ended = &mut serving => {
                    return ended.map_err(|error| AgentError::Unreachable {
                        address: address.to_string(),
                        reason: agent_proto::deepest(&error),
                    });
                }
                () = sleep(wait.min(LOOK_AT_CERTIFICATE)) => {}
            }
            if !self.membership.renew_in(self.clock.now()).is_zero() {
                continue;
            }
            // What runs over the link goes on: the new certificate counts from the next connection on.
            let renewing = renew(&self.config, &self.membership);
            tokio::select! {
                ended = &mut serving => {
                    return ended.map_err(|error| AgentError::Certificate(error.to_string()));
                }
                renewed = renewing => match renewed {
                    Ok(membership) => {
                        tracing::info!("the certificate was renewed");
                        self.membership = membership;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the certificate cannot be renewed: trying again in an hour");
                    }
                },
            }
            tokio::select! {
                ended = &mut serving => {
                    return ended.map_err(|error| AgentError::Certificate(error.to_string()));
                }
                () = sleep(LOOK_AT_CERTIFICATE.min(Duration::from_mins(1))) => {}
            }
        }
    }
}

/// Returns a wait between nothing and a bound that doubles: "full jitter" (Brooker, "Exponential Backoff And Jitter", 2015).
/// `part` is 0 to 1.
fn full_jitter(failures: u32, part: f64) -> Duration {
    let bound = FIRST_WAIT
        .saturating_mul(1 << failures.min(10))
        .min(LONGEST_WAIT);
    bound.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_spread_over_all_of_it() {
        assert_eq!(full_jitter(0, 1.0), FIRST_WAIT);
        assert_eq!(full_jitter(3, 1.0), FIRST_WAIT * 8);
        assert_eq!(full_jitter(60, 1.0), LONGEST_WAIT);
        assert_eq!(full_jitter(60, 0.5), LONGEST_WAIT / 2);
        assert_eq!(full_jitter(60, 0.0), Duration::ZERO);
    }
}
