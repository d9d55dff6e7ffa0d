//! One connection of one agent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_proto::v1::agent_client::AgentClient;
use agent_proto::v1::{
    CopyProgress, CopyRequest, HelloResponse, NodeFacts, NodeStatus, OfferRequest, OfferResponse,
    ReleasePart, WatchStatusRequest,
};
use agent_proto::{Channel, TunnelStream};
use arc_swap::ArcSwapOption;
use futures_util::Stream;
use primitives::Timestamp;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

/// How long an agent may take to say that another node may fetch a model.
const OFFERING: Duration = Duration::from_secs(10);

/// A connection that agreed on a version of the protocol.
#[derive(Debug)]
pub struct AgentLink {
    channel: Channel,
    protocol: u32,
    version: String,
    facts: NodeFacts,
    peer: SocketAddr,
    since: Timestamp,
    status: ArcSwapOption<NodeStatus>,
    over: CancellationToken,
}

impl AgentLink {
    pub(super) fn new(
        channel: Channel,
        protocol: u32,
        hello: HelloResponse,
        peer: SocketAddr,
        since: Timestamp,
    ) -> Self {
        Self {
            channel,
            protocol,
            version: hello.version.chars().take(80).collect(),
            facts: hello.facts.unwrap_or_default(),
            peer,
            since,
            status: ArcSwapOption::empty(),
            over: CancellationToken::new(),
        }
    }

    /// Returns the version of the protocol that both sides speak.
    pub fn protocol(&self) -> u32 {
        self.protocol
    }

    /// Returns the agent's program version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns what the agent told of its machine.
    pub fn facts(&self) -> &NodeFacts {
        &self.facts
    }

    /// Returns where the connection comes from: the node, or whatever translates its address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Returns when it came.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Returns the latest state that the agent told.
    pub fn status(&self) -> Option<Arc<NodeStatus>> {
        self.status.load_full()
    }

    pub(super) async fn open_tunnel(&self) -> Result<TunnelStream, Status> {
        tokio::select! {
            opened = TunnelStream::open(self.channel.clone()) => opened,
            () = self.over.cancelled() => Err(Status::unavailable("the link broke")),
        }
    }

    /// Has the agent let another node fetch a model's files.
    pub(crate) async fn offer_model(&self, request: OfferRequest) -> Result<OfferResponse, Status> {
        let mut client = AgentClient::new(self.channel.clone());
        let answer = timeout(OFFERING, client.offer_model(request)).await;
        let silent = |_| {
            let seconds = OFFERING.as_secs();
            Status::deadline_exceeded(format!("its agent does not answer within {seconds} s"))
        };
        Ok(answer.map_err(silent)??.into_inner())
    }

    /// Has the agent fetch a model's files from another node, and tell how far it is. Dropping the stream calls it off.
    pub(crate) async fn copy_model(
        &self,
        request: CopyRequest,
    ) -> Result<Streaming<CopyProgress>, Status> {
        let mut client = AgentClient::new(self.channel.clone());
        Ok(client.copy_model(request).await?.into_inner())
    }

    /// Gives the agent another version of its program. Returns when it has all of it, and has found it good.
    pub(crate) async fn install_release(
        &self,
        parts: impl Stream<Item = ReleasePart> + Send + 'static,
    ) -> Result<(), Status> {
        let mut client = AgentClient::new(self.channel.clone());
        tokio::select! {
            taken = client.install_release(parts) => taken.map(drop),
            () = self.over.cancelled() => Err(Status::unavailable("the link broke")),
        }
    }

    /// Tells whether the agent takes nothing new, because another version of it starts in a moment.
    fn is_leaving(&self) -> bool {
        let status = self.status.load();
        let updates = status.as_ref().and_then(|status| status.updates.as_ref());
        updates.is_some_and(|updates| updates.leaving)
    }

    /// Takes over what the agent tells of its state, until the link ends. `told` hears of the first one, and of changes of the server;
    /// `leaving` that the agent takes nothing new any more.
    pub(super) async fn follow_status(
        &self,
        mut told: impl FnMut(),
        leaving: impl Fn(),
    ) -> Result<(), Status> {
        let mut client = AgentClient::new(self.channel.clone());
        let mut states = client
            .watch_status(WatchStatusRequest {})
            .await?
            .into_inner();
        while let Some(status) = states.message().await? {
            let fresh = Arc::new(status);
            let before = self.status.swap(Some(Arc::clone(&fresh)));
            if before.is_none_or(|before| before.server != fresh.server) {
                told();
            }
            if self.is_leaving() {
                leaving();
            }
        }
        Ok(())
    }

    /// Ends the connection.
    pub(super) fn end(&self) {
        self.over.cancel();
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    pub(super) async fn ended(&self) {
        self.over.cancelled().await;
    }
}
