//! Keeps one link to one control plane up: dial, answer, and dial again when it breaks.

use std::sync::Arc;
use std::time::Duration;

use agent_proto::v1::NodeStatus;
use agent_proto::v1::agent_server::AgentServer;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{AgentConfig, ControlPlane};
use crate::copying::Copying;
use crate::error::AgentError;
use crate::membership::Kept;
use crate::service::{FarEnd, Service};
use crate::tunnels::Tunnels;

/// The bound of the first wait before dialling again, doubled with each failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The bound of the longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// For this long after a link was lost the waits stay short: control planes hold requests back for an agent that may return, for 30 s and a
/// little.
const EXPECTED: Duration = Duration::from_secs(45);
/// The bound of these short waits.
const SHORT_WAIT: Duration = Duration::from_secs(2);
/// The longest wait of a link that leads to a process that is linked already.
const LOOK_AGAIN: Duration = Duration::from_mins(10);
/// A link that lasted this long shows that dialling is not in vain.
const LASTED: Duration = Duration::from_secs(10);

/// Which links are up: for the health page, and so that no control plane gets two.
#[derive(Debug, Default)]
pub(crate) struct LinkState {
    links: Mutex<Vec<Greeted>>,
    /// How many links were lost.
    lost: watch::Sender<u64>,
    /// Whether any is up.
    up: watch::Sender<bool>,
}

#[derive(Debug)]
struct Greeted {
    address: ControlPlane,
    process: Option<String>,
    /// Another link leads to the same process.
    second: bool,
}

impl LinkState {
    pub(crate) fn is_up(&self) -> bool {
        self.links.lock().iter().any(|link| !link.second)
    }

    /// Returns where the control planes are that are linked.
    pub(crate) fn control_planes(&self) -> Vec<String> {
        let links = self.links.lock();
        let up = links.iter().filter(|link| !link.second);
        up.map(|link| link.address.to_string()).collect()
    }

    /// Notes that a control plane greets. Returns whether no other link leads to that process.
    pub(crate) fn greeted(&self, address: &ControlPlane, process: Option<String>) -> bool {
        let mut links = self.links.lock();
        links.retain(|link| link.address != *address);
        let same = |link: &Greeted| !link.second && link.process == process;
        let second = process.is_some() && links.iter().any(same);
        links.push(Greeted {
            address: address.clone(),
            process,
            second,
        });
        self.show(&links);
        !second
    }

    fn show(&self, links: &[Greeted]) {
        self.up.send_replace(links.iter().any(|link| !link.second));
    }

    /// Waits until a link is up.
    pub(crate) async fn until_up(&self) {
        // The sender lives as long as `self`.
        drop(self.up.subscribe().wait_for(|up| *up).await);
    }

    /// Waits until links were up for so long without a pause.
    pub(crate) async fn until_lasting(&self, long: Duration) {
        let mut up = self.up.subscribe();
        loop {
            drop(up.wait_for(|up| *up).await);
            if timeout(long, up.wait_for(|up| !*up)).await.is_err() {
                return;
            }
        }
    }

    /// Notes that a link is over.
    fn ended(&self, address: &ControlPlane) -> Over {
        let mut links = self.links.lock();
        let Some(at) = links.iter().position(|link| link.address == *address) else {
            return Over::NeverUp;
        };
        let over = links.remove(at);
        self.show(&links);
        if over.second {
            return Over::Second;
        }
        self.lost.send_modify(|lost| *lost += 1);
        Over::Up
    }
}

/// What a link was that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// The control plane never greeted.
    NeverUp,
    Up,
    /// Another link leads to the same process.
    Second,
}

/// What a link is made of.
pub(crate) struct Link {
    pub(crate) config: Arc<AgentConfig>,
    pub(crate) kept: Arc<Kept>,
    pub(crate) status: watch::Receiver<Arc<NodeStatus>>,
    pub(crate) tunnels: Arc<Tunnels>,
    pub(crate) files: Option<Arc<Copying>>,
    pub(crate) far_end: FarEnd,
}

impl Link {
    /// Keeps the link up until `stop` is cancelled, or it breaks while `unwanted` is.
    pub(crate) async fn keep_up(self, unwanted: CancellationToken, stop: CancellationToken) {
        let FarEnd { address, state, .. } = &self.far_end;
        stop.run_until_cancelled(async {
            let mut failures = 0;
            let mut last_up = None;
            while !unwanted.is_cancelled() {
                let mut lost = state.lost.subscribe();
                let started = self.config.clock.monotonic();
                let ended = Box::pin(self.once()).await;
                let now = self.config.clock.monotonic();
                let over = state.ended(address);
                if over == Over::Second {
                    // The other link does until it, or any, is lost.
                    let needed = timeout(LOOK_AGAIN, lost.changed());
                    unwanted.run_until_cancelled(needed).await;
                }
                if over == Over::Up {
                    last_up = Some(now);
                }
                if now.since(started) >= LASTED {
                    failures = 0;
                }
                let expected = last_up.is_some_and(|up| now.since(up) < EXPECTED);
                let longest = if expected { SHORT_WAIT } else { LONGEST_WAIT };
                let wait = full_jitter(failures, longest, rand::random());
                failures += 1;
                match ended {
                    Ok(()) => tracing::info!(%address, "the link was closed: dialling again"),
                    Err(error) => {
                        tracing::warn!(%error, "no link to the control plane: trying again");
                    }
                }
                unwanted.run_until_cancelled(sleep(wait)).await;
            }
        })
        .await;
    }

    /// Dials and answers until the connection ends.
    async fn once(&self) -> Result<(), AgentError> {
        let address = &self.far_end.address;
        let membership = self.kept.latest();
        let stream = membership.dial(address, &self.config.clock).await?;
        let service = Service::new(
            &self.config,
            self.status.clone(),
            Arc::clone(&self.tunnels),
            self.files.clone(),
            self.far_end.clone(),
        );
        agent_proto::serve(stream, AgentServer::new(service))
            .await
            .map_err(|error| AgentError::Unreachable {
                address: address.to_string(),
                reason: agent_proto::deepest(&error),
            })
    }
}

/// Returns a wait between nothing and a bound that doubles: "full jitter" (Brooker, "Exponential Backoff And Jitter", 2015).
/// `part` is 0 to 1.
fn full_jitter(failures: u32, longest: Duration, part: f64) -> Duration {
    let bound = FIRST_WAIT
        .saturating_mul(1 << failures.min(10))
        .min(longest);
    bound.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_linked_once_by_whatever_address() {
        let state = LinkState::default();
        let at = |host: &str| host.parse::<ControlPlane>().unwrap();
        let process = |name: &str| Some(name.to_owned());
        assert!(state.greeted(&at("a"), process("one")));
        assert!(!state.greeted(&at("b"), process("one")));
        assert!(state.greeted(&at("c"), process("two")));
        // Older ones do not say who they are.
        assert!(state.greeted(&at("d"), None) && state.greeted(&at("e"), None));
        assert_eq!(state.control_planes().len(), 4);
        assert_eq!(state.ended(&at("b")), Over::Second);
        assert_eq!(state.ended(&at("a")), Over::Up);
        assert_eq!(state.ended(&at("a")), Over::NeverUp);
        assert!(state.greeted(&at("b"), process("one")));
    }

    #[test]
    fn waits_grow_to_a_bound_and_spread_over_all_of_it() {
        let wait = |failures, part| full_jitter(failures, LONGEST_WAIT, part);
        assert_eq!(wait(0, 1.0), FIRST_WAIT);
        assert_eq!(wait(3, 1.0), FIRST_WAIT * 8);
        assert_eq!(wait(60, 1.0), LONGEST_WAIT);
        assert_eq!(wait(60, 0.5), LONGEST_WAIT / 2);
        assert_eq!(wait(60, 0.0), Duration::ZERO);
        assert_eq!(full_jitter(60, SHORT_WAIT, 1.0), SHORT_WAIT);
    }
}
