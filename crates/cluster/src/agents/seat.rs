//! Where each agent's connection is found, and waited for.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use agent_proto::{TunnelStream, node_in};
use parking_lot::Mutex;
use primitives::NodeId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use web::outbound::{Opening, Way, WayStream};

use super::link::AgentLink;

/// How long a call waits for an agent that was there a moment ago: it dials again within half a second unless it is gone.
const BACK_WITHIN: Duration = Duration::from_secs(1);
/// What counts as a moment.
const A_MOMENT: Duration = Duration::from_secs(30);

/// The seats of all nodes with an agent. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct AgentSeats {
    seats: Arc<Mutex<HashMap<NodeId, Arc<AgentSeat>>>>,
    patience: Duration,
}

impl AgentSeats {
    /// Makes seats whose agents are waited for as long as `patience` says when their link is lost.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            ..Self::default()
        }
    }

    /// Returns a node's seat, made if need be.
    pub(crate) fn seat(&self, node: NodeId) -> Arc<AgentSeat> {
        let mut seats = self.seats.lock();
        Arc::clone(
            seats
                .entry(node)
                .or_insert_with(|| Arc::new(AgentSeat::new(node, self.patience))),
        )
    }

    /// Finds a node's seat.
    pub(crate) fn find(&self, node: NodeId) -> Option<Arc<AgentSeat>> {
        self.seats.lock().get(&node).cloned()
    }

    /// Takes a node's seat away and ends its link.
    pub(crate) fn remove(&self, node: NodeId) {
        if let Some(seat) = self.seats.lock().remove(&node) {
            seat.gone.cancel();
        }
    }
}

impl Way for AgentSeats {
    fn open(&self, host: &str) -> Option<Opening> {
        let node: NodeId = node_in(host)?.parse().ok()?;
        let seat = self.find(node);
        Some(Box::pin(async move {
            let seat = seat.ok_or_else(|| io::Error::other("the node is gone"))?;
            let stream = seat.dial().await?;
            Ok(Box::new(stream) as Box<dyn WayStream>)
        }))
    }
}

/// One node's place for its agent's connection.
#[derive(Debug)]
pub struct AgentSeat {
    node: NodeId,
    link: watch::Sender<Option<Arc<AgentLink>>>,
    lost: Mutex<Lost>,
    patience: Duration,
    /// When this process began to expect the agent.
    since: Instant,
    /// Ends with the node.
    pub(super) gone: CancellationToken,
}

/// What is known of an agent that is not there.
#[derive(Debug, Default)]
struct Lost {
    at: Option<Instant>,
    /// Why it was sent away.
    refusal: Option<Arc<str>>,
    /// It said that another version of it would take over.
    leaving: bool,
}

impl AgentSeat {
    fn new(node: NodeId, patience: Duration) -> Self {
        Self {
            node,
            link: watch::Sender::new(None),
            lost: Mutex::default(),
            patience,
            since: Instant::now(),
            gone: CancellationToken::new(),
        }
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// Returns the agent's connection, if there is one.
    pub fn link(&self) -> Option<Arc<AgentLink>> {
        self.link.borrow().clone()
    }

    /// Returns until when requests wait for the agent; `None` while it is linked, and when it was sent away or is gone for too long.
    /// What a process that has just started does not know counts as lost at that moment.
    pub fn awaited_until(&self) -> Option<Instant> {
        if self.link.borrow().is_some() || self.gone.is_cancelled() {
            return None;
        }
        let lost = self.lost.lock();
        let until = lost.at.unwrap_or(self.since) + self.patience;
        (lost.refusal.is_none() && until > Instant::now()).then_some(until)
    }

    /// Waits until the agent is linked.
    pub async fn linked(&self) {
        let mut links = self.link.subscribe();
        // The sender lives as long as `self`.
        drop(links.wait_for(Option::is_some).await);
    }

    /// Says why the node cannot be reached, and what to do; `None` when its agent is linked.
    pub fn problem(&self) -> Option<String> {
        if self.link.borrow().is_some() {
            return None;
        }
        let lost = self.lost.lock();
        Some(match (&lost.refusal, lost.at) {
            (Some(refusal), _) => refusal.to_string(),
            (None, Some(_)) if lost.leaving => {
                "another version of its agent takes over: it dials again in a moment".to_owned()
            }
            (None, Some(_)) => {
                "the link to its agent is lost: the agent dials again by itself; if it does not, look whether `remuda agent` runs there"
                    .to_owned()
            }
            (None, None) => {
                "its agent is not linked to this process: start `remuda agent` there".to_owned()
            }
        })
    }

    /// Connects to the model server beside the agent.
    ///
    /// # Errors
    /// When the agent is not linked, or does not reach its server.
    pub async fn dial(&self) -> io::Result<TunnelStream> {
        let lost_lately = {
            let lost = self.lost.lock();
            lost.at.is_some_and(|at| at.elapsed() < A_MOMENT)
        };
        let patience = if lost_lately {
            BACK_WITHIN
        } else {
            Duration::ZERO
        };
        let deadline = Instant::now() + patience;
        let mut links = self.link.subscribe();
        loop {
            let link = links.borrow_and_update().clone();
            if let Some(link) = link {
                match link.open_tunnel().await {
                    Ok(stream) => return Ok(stream),
                    // The link broke meanwhile: another one may be on its way.
                    Err(_) if link.is_over() => {}
                    Err(status) => return Err(io::Error::other(status.message().to_owned())),
                }
            }
            if !matches!(timeout_at(deadline, links.changed()).await, Ok(Ok(()))) {
                let problem = self
                    .problem()
                    .unwrap_or_else(|| "the link broke".to_owned());
                return Err(io::Error::new(io::ErrorKind::NotConnected, problem));
            }
        }
    }

    /// Puts a connection in the place of the one before, which ends.
    pub(super) fn attach(&self, link: Arc<AgentLink>) {
        *self.lost.lock() = Lost::default();
        tracing::info!(node = %self.node, peer = %link.peer(), version = link.version(), "an agent is linked");
        if let Some(before) = self.link.send_replace(Some(link)) {
            before.end();
        }
    }

    /// Takes a connection away that has ended, unless there is another one by now. Returns whether it was this one.
    pub(super) fn detach(&self, ended: &Arc<AgentLink>) -> bool {
        let taken = self.take_away(ended);
        if taken {
            self.lost.lock().at = Some(Instant::now());
            tracing::warn!(node = %self.node, "the link to an agent is lost");
        }
        taken
    }

    /// Takes a connection away over which nothing new may be opened; what is open goes on. Returns whether it was there.
    pub(super) fn leave(&self, leaving: &Arc<AgentLink>) -> bool {
        let taken = self.take_away(leaving);
        if taken {
            let mut lost = self.lost.lock();
            (lost.at, lost.leaving) = (Some(Instant::now()), true);
            tracing::info!(node = %self.node, "another version of an agent takes over");
        }
        taken
    }

    fn take_away(&self, ended: &Arc<AgentLink>) -> bool {
        self.link.send_if_modified(|link| {
            let same = link.as_ref().is_some_and(|link| Arc::ptr_eq(link, ended));
            if same {
                *link = None;
            }
            same
        })
    }

    /// Tells whether its agent is away because another version takes over.
    pub(crate) fn is_leaving(&self) -> bool {
        self.link.borrow().is_none() && self.lost.lock().leaving
    }

    /// Notes why an agent was sent away.
    pub(super) fn refuse(&self, reason: &str) {
        tracing::warn!(node = %self.node, reason, "an agent was sent away");
        self.lost.lock().refusal = Some(reason.into());
    }
}
