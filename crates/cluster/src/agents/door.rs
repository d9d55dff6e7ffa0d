//! The listener for agents: TLS, then either a link or somebody who wants to join.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_proto::v1::agent_client::AgentClient;
use agent_proto::v1::joining_server::JoiningServer;
use agent_proto::v1::{HelloRequest, HelloResponse};
use agent_proto::{Channel, LINK, PROTOCOLS, common_protocol, node_of};
use primitives::NodeId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::control_planes::{Told, tell};
use super::joining::JoiningService;
use super::link::AgentLink;
use super::seat::AgentSeat;
use crate::error::NodeError;
use crate::registry::{MAX_NODES, Registry};

/// Connections that have not shown yet what they are, or that join.
const STRANGERS: usize = 64;
/// The longest that a stranger may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest wait for an agent's first word.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// The pause after a connection that could not be accepted, for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Registry {
    /// Lets agents in on `listener` until `stop` is cancelled.
    ///
    /// # Errors
    /// When the authority cannot be read or made, or the listener cannot be used.
    pub async fn serve_agents(
        &self,
        listener: std::net::TcpListener,
        stop: CancellationToken,
    ) -> Result<(), NodeError> {
        let broken = |error: std::io::Error| NodeError::AgentListener(error.to_string());
        listener.set_nonblocking(true).map_err(broken)?;
        let listener = TcpListener::from_std(listener).map_err(broken)?;
        let authority = self.authority().await?;
        let tls = authority.server_config(self.inner.clock.now())?;
        let door = Arc::new(Door {
            registry: self.clone(),
            tls: TlsAcceptor::from(Arc::new(tls)),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
            links: Arc::new(Semaphore::new(MAX_NODES)),
            process: format!("{:032x}", rand::random::<u128>()),
            told: self
                .inner
                .agents_config()
                .url
                .clone()
                .map(|url| self.show_control_plane(url, stop.clone())),
            stop: stop.clone(),
        });
        let tasks = self.inner.tasks.clone();
        self.inner.tasks.spawn(async move {
            let accepting = async {
                loop {
                    // Beyond the bound further ones wait in the system's own queue.
                    let Ok(stranger) = Arc::clone(&door.strangers).acquire_owned().await else {
                        return;
                    };
                    match listener.accept().await {
                        Ok((socket, peer)) => {
                            let door = Arc::clone(&door);
                            tasks.spawn(async move {
                                let stop = door.stop.clone();
                                stop.run_until_cancelled(door.meet(socket, peer, stranger)).await;
                            });
                        }
                        Err(error) => {
                            tracing::warn!(%error, "a connection of an agent could not be accepted");
                            sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            };
            stop.run_until_cancelled(accepting).await;
        });
        Ok(())
    }
}

struct Door {
    registry: Registry,
    tls: TlsAcceptor,
    strangers: Arc<Semaphore>,
    links: Arc<Semaphore>,
    /// What this process is known by to its agents.
    process: String,
    /// Where control planes listen, as far as this one says where it does.
    told: Option<Told>,
    stop: CancellationToken,
}

impl Door {
    async fn meet(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        stranger: tokio::sync::OwnedSemaphorePermit,
    ) {
        drop(socket.set_nodelay(true));
        let stream = match timeout(HELLO_LIMIT, self.tls.accept(socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return tracing::debug!(%peer, %error, "a connection of an agent broke in its handshake");
            }
            Err(_) => return,
        };
        let node = {
            let (_, connection) = stream.get_ref();
            let shown = connection.peer_certificates().unwrap_or_default();
            shown
                .first()
                .and_then(node_of)
                .and_then(|node| node.parse::<NodeId>().ok())
        };
        if stream.get_ref().1.alpn_protocol() != Some(LINK) {
            let service = JoiningServer::new(JoiningService::new(self.registry.clone(), node));
            let served = timeout(PATIENCE, agent_proto::serve(stream, service)).await;
            if let Ok(Err(error)) = served {
                tracing::debug!(%peer, %error, "a connection that joins broke");
            }
            return;
        }
        let (Some(node), Ok(_place)) = (node, Arc::clone(&self.links).try_acquire_owned()) else {
            return tracing::warn!(%peer, "a connection without a node's certificate, or one too many, was closed");
        };
        drop(stranger);
        Box::pin(self.link(node, stream, peer)).await;
    }

    /// Keeps a node's connection until it ends.
    async fn link(&self, node: NodeId, stream: TlsStream<TcpStream>, peer: SocketAddr) {
        let (channel, connection) = match agent_proto::connect(stream).await {
            Ok(connected) => connected,
            Err(error) => return tracing::debug!(%peer, %error, "a link broke at once"),
        };
        let talk = async {
            let Some(seat) = self.seat_of(node).await else {
                let refusal = "this node was removed: delete membership.json in the agent's data directory and join anew";
                drop(self.hello(channel, Some(refusal.to_owned())).await);
                return tracing::warn!(%node, %peer, "an agent of a node that is no more was sent away");
            };
            self.hold(&seat, channel, peer).await;
        };
        tokio::select! {
            () = talk => {}
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(%node, error = agent_proto::deepest(&error), "a link broke");
                }
            }
        }
    }

    async fn hold(&self, seat: &Arc<AgentSeat>, channel: Channel, peer: SocketAddr) {
        let hello = match self.hello(channel.clone(), None).await {
            Ok(hello) => hello,
            // It dialled another address of this process, too.
            Err(status) if status.code() == Code::AlreadyExists => return,
            Err(status) => {
                let reason = agent_proto::deepest(&status);
                return tracing::warn!(%peer, reason, "an agent did not greet");
            }
        };
        let theirs = hello.least_protocol..=hello.most_protocol;
        let Some(protocol) = common_protocol(&PROTOCOLS, &theirs) else {
            let what = if theirs.end() < PROTOCOLS.start() {
                "update the agent"
            } else {
                "update Remuda"
            };
            seat.refuse(&format!(
                "its agent (version {}) speaks protocol {} to {}, this Remuda {} to {}: {what}",
                hello.version.chars().take(40).collect::<String>(),
                theirs.start(),
                theirs.end(),
                PROTOCOLS.start(),
                PROTOCOLS.end()
            ));
            return self.registry.look_again(seat.node());
        };
        let since = self.registry.inner.clock.now();
        let telling = self.told.clone().map(|told| tell(channel.clone(), told));
        let link = Arc::new(AgentLink::new(channel, protocol, hello, peer, since));
        seat.attach(Arc::clone(&link));
        // Whatever ends this, also being dropped with the connection, frees the seat.
        let _detach = Detach {
            registry: &self.registry,
            seat,
            link: &link,
        };
        self.registry.look_again(seat.node());
        let told = || self.registry.look_again(seat.node());
        // What runs goes on over this link; what is new waits for the next one.
        let leaving = || {
            if seat.leave(&link) {
                self.registry.look_again(seat.node());
            }
        };
        tokio::select! {
            ended = link.follow_status(told, leaving) => {
                if let Err(status) = ended {
                    tracing::debug!(%peer, reason = status.message(), "an agent no longer tells its state");
                }
            }
            status = async {
                match telling {
                    Some(telling) => telling.await,
                    None => std::future::pending().await,
                }
            } => {
                tracing::debug!(%peer, reason = status.message(), "an agent does not hear of control planes");
            }
            () = link.ended() => {}
            () = seat.gone.cancelled() => {}
        }
    }

    /// Says who we are and hears who the agent is.
    async fn hello(
        &self,
        channel: Channel,
        refusal: Option<String>,
    ) -> Result<HelloResponse, Status> {
        let request = HelloRequest {
            least_protocol: *PROTOCOLS.start(),
            most_protocol: *PROTOCOLS.end(),
            version: agent_proto::program_version().to_owned(),
            refusal,
            process: Some(self.process.clone()),
        };
        let mut client = AgentClient::new(channel);
        let answer = timeout(HELLO_LIMIT, client.hello(request)).await;
        let silent =
            |_| Status::deadline_exceeded(format!("no word within {} s", HELLO_LIMIT.as_secs()));
        Ok(answer.map_err(silent)??.into_inner())
    }

    /// Finds the seat of a node with an agent; another process may have made the node a moment ago.
    async fn seat_of(&self, node: NodeId) -> Option<Arc<AgentSeat>> {
        if let Some(seat) = self.known(node) {
            return Some(seat);
        }
        if let Err(error) = self.registry.reload().await {
            tracing::warn!(%error, "the nodes cannot be read from the database");
        }
        self.known(node)
    }

    fn known(&self, node: NodeId) -> Option<Arc<AgentSeat>> {
        self.registry.find_agent_node(node)?;
        Some(self.registry.inner.agents.seat(node))
    }
}

struct Detach<'a> {
    registry: &'a Registry,
    seat: &'a Arc<AgentSeat>,
    link: &'a Arc<AgentLink>,
}

impl Drop for Detach<'_> {
    fn drop(&mut self) {
        self.link.end();
        if self.seat.detach(self.link) {
            self.registry.look_again(self.seat.node());
        }
    }
}
