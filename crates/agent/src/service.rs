//! What the control plane may ask of an agent.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agent_proto::common_protocol;
use agent_proto::v1::agent_server::Agent;
use agent_proto::v1::{
    ControlPlanes, ControlPlanesHeard, CopyProgress, CopyRequest, HelloRequest, HelloResponse,
    NodeStatus, OfferRequest, OfferResponse, Piece, ReleasePart, ReleaseTaken, WatchStatusRequest,
};
use futures_util::stream::{Stream, poll_fn, unfold};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status, Streaming};

use crate::config::{AgentConfig, ControlPlane};
use crate::copying::Copying;
use crate::link::LinkState;
use crate::machine::facts;
use crate::membership::MOST_CONTROL_PLANES;
use crate::model_server::ModelServer;
use crate::status::differs;
use crate::tunnels::{self, Pieces, Tunnels};
use crate::updates::Updates;

/// The longest silence of a status stream: 5 s, less what the way takes.
const HEARTBEAT: Duration = Duration::from_millis(4_900);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers over one connection.
#[derive(Clone)]
pub(crate) struct Service {
    server: ModelServer,
    protocols: RangeInclusive<u32>,
    status: watch::Receiver<Arc<NodeStatus>>,
    tunnels: Arc<Tunnels>,
    files: Option<Arc<Copying>>,
    updates: Option<Arc<Updates>>,
    far_end: FarEnd,
}

/// Whose connection it is.
#[derive(Clone)]
pub(crate) struct FarEnd {
    pub(crate) address: ControlPlane,
    pub(crate) state: Arc<LinkState>,
    /// Where control planes listen, as told last.
    pub(crate) told: Arc<watch::Sender<Vec<ControlPlane>>>,
}

impl Service {
    pub(crate) fn new(
        config: &AgentConfig,
        status: watch::Receiver<Arc<NodeStatus>>,
        tunnels: Arc<Tunnels>,
        files: Option<Arc<Copying>>,
        far_end: FarEnd,
    ) -> Self {
        Self {
            server: ModelServer::new(config),
            protocols: config.protocols.clone(),
            status,
            tunnels,
            files,
            updates: config.updates.clone(),
            far_end,
        }
    }

    fn files(&self) -> Result<&Arc<Copying>, Status> {
        self.files.as_ref().ok_or_else(|| {
            Status::failed_precondition("this agent shares no files: start it with --share")
        })
    }
}

#[tonic::async_trait]
impl Agent for Service {
    type WatchStatusStream = Answers<NodeStatus>;
    type TunnelStream = Pieces;
    type CopyModelStream = Answers<CopyProgress>;

    async fn hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloResponse>, Status> {
        let asked = request.into_inner();
        let theirs = asked.least_protocol..=asked.most_protocol;
        if let Some(refusal) = asked.refusal {
            tracing::error!("the control plane refuses this agent: {refusal}");
        } else if common_protocol(&self.protocols, &theirs).is_some() {
            let FarEnd { address, state, .. } = &self.far_end;
            if !state.greeted(address, asked.process) {
                return Err(Status::already_exists(
                    "this agent is linked to this control plane by another address already",
                ));
            }
            tracing::info!(%address, version = asked.version, "linked to a control plane");
        } else {
            let older = self.protocols.end() < theirs.start();
            let what = if older {
                "this agent"
            } else {
                "the control plane"
            };
            tracing::error!(
                "the control plane speaks protocol {} to {}, this agent {} to {}: update {what}",
                theirs.start(),
                theirs.end(),
                self.protocols.start(),
                self.protocols.end()
            );
        }
        Ok(Response::new(HelloResponse {
            least_protocol: *self.protocols.start(),
            most_protocol: *self.protocols.end(),
            version: agent_proto::program_version().to_owned(),
            facts: Some(facts()),
        }))
    }

    async fn watch_status(
        &self,
        _: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let mut status = self.status.clone();
        status.mark_changed();
        let telling = Telling { status, last: None };
        Ok(Response::new(Box::pin(unfold(telling, Telling::next))))
    }

    async fn tell_control_planes(
        &self,
        request: Request<ControlPlanes>,
    ) -> Result<Response<ControlPlanesHeard>, Status> {
        let urls = request.into_inner().urls;
        // What cannot be read is of a later version: the others are as good as ever.
        let told = urls.iter().take(MOST_CONTROL_PLANES);
        let told: Vec<ControlPlane> = told.filter_map(|url| url.parse().ok()).collect();
        self.far_end.told.send_if_modified(|present| {
            let differs = *present != told;
            *present = told;
            differs
        });
        Ok(Response::new(ControlPlanesHeard {}))
    }

    async fn offer_model(
        &self,
        request: Request<OfferRequest>,
    ) -> Result<Response<OfferResponse>, Status> {
        let sharing = self.files()?.sharing();
        sharing
            .offer(&request.into_inner())
            .await
            .map(Response::new)
    }

    async fn copy_model(
        &self,
        request: Request<CopyRequest>,
    ) -> Result<Response<Self::CopyModelStream>, Status> {
        let mut told = self.files()?.start(request.into_inner()).await?;
        let told = poll_fn(move |cx| told.poll_recv(cx).map(|told| told.map(Ok)));
        Ok(Response::new(Box::pin(told)))
    }

    async fn install_release(
        &self,
        request: Request<Streaming<ReleasePart>>,
    ) -> Result<Response<ReleaseTaken>, Status> {
        let updates = self
            .updates
            .as_ref()
            .ok_or_else(|| Status::unimplemented("this agent cannot be updated over its link"))?;
        updates.install(request.into_inner()).await?;
        Ok(Response::new(ReleaseTaken {}))
    }

    async fn tunnel(&self, request: Request<Streaming<Piece>>) -> Result<Response<Pieces>, Status> {
        let pieces = tunnels::open(&self.tunnels, &self.server, request.into_inner()).await?;
        Ok(Response::new(pieces))
    }
}

/// One stream of states.
struct Telling {
    status: watch::Receiver<Arc<NodeStatus>>,
    last: Option<(Arc<NodeStatus>, Instant)>,
}

impl Telling {
    async fn next(mut self) -> Option<(Result<NodeStatus, Status>, Self)> {
        loop {
            let is_late = match &self.last {
                None => {
                    self.status.changed().await.ok()?;
                    false
                }
                // A reading that takes too long does not keep the one before from being told again.
                Some((_, at)) => match timeout_at(*at + HEARTBEAT, self.status.changed()).await {
                    Ok(changed) => {
                        changed.ok()?;
                        false
                    }
                    Err(_) => true,
                },
            };
            let fresh = Arc::clone(&self.status.borrow_and_update());
            // Nothing was read yet.
            if fresh.taken_at == 0 {
                continue;
            }
            // A reading before the bound would come too late after it: readings are regular, and this one is as good.
            let due = self.last.as_ref().is_none_or(|(last, at)| {
                is_late || differs(last, &fresh) || at.elapsed() + crate::status::EVERY > HEARTBEAT
            });
            if due {
                self.last = Some((Arc::clone(&fresh), Instant::now()));
                return Some((Ok(NodeStatus::clone(&fresh)), self));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_proto::v1::agent_client::AgentClient;
    use agent_proto::v1::agent_server::AgentServer;
    use agent_proto::{Channel, TunnelStream};
    use testbed::{Flavour, ScriptedUpstream};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A service beside `server`, asked over a connection without network; the state is `status`.
    async fn linked(server: &str) -> (Channel, watch::Sender<Arc<NodeStatus>>, Arc<Tunnels>) {
        let config = AgentConfig::new("unused".into(), server.parse().unwrap());
        let (publish, status) = watch::channel(Arc::default());
        let tunnels = Arc::new(Tunnels::default());
        let far_end = FarEnd {
            address: "h:1".parse().unwrap(),
            state: Arc::default(),
            told: Arc::default(),
        };
        let service = Service::new(&config, status, Arc::clone(&tunnels), None, far_end);
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        tokio::spawn(agent_proto::serve(theirs, AgentServer::new(service)));
        let (channel, connection) = agent_proto::connect(ours).await.unwrap();
        tokio::spawn(connection);
        (channel, publish, tunnels)
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_told_with_what_to_do() {
        let (channel, _publish, _) = linked("http://127.0.0.1:1").await;
        let refused = TunnelStream::open(channel).await.unwrap_err();
        assert!(refused.message().contains("--model-server"), "{refused}");
    }

    #[tokio::test]
    async fn a_tunnel_is_a_connection_and_ends_with_either_side() {
        let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
        let (channel, _publish, tunnels) = linked(&upstream.url()).await;
        let mut tunnel = TunnelStream::open(channel.clone()).await.unwrap();
        assert!(tunnel.is_quiet());
        let request = b"GET /api/version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        tunnel.write_all(request).await.unwrap();
        let mut answer = String::new();
        tunnel.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("version"),
            "{answer}"
        );
        let held = TunnelStream::open(channel).await.unwrap();
        drop((tunnel, held));
        let limit = Duration::from_secs(10);
        testbed::wait_until("no tunnel is left", limit, || tunnels.open() == 0)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn an_agent_that_gives_way_waits_for_answers_and_not_for_connections_between_them() {
        let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
        let (channel, _publish, tunnels) = linked(&upstream.url()).await;
        let mut tunnel = TunnelStream::open(channel.clone()).await.unwrap();
        let request = b"GET /api/version HTTP/1.1\r\nhost: localhost\r\n\r\n";
        // A request that has not come whole is not answered.
        let (most, rest) = request.split_at(20);
        tunnel.write_all(most).await.unwrap();
        let limit = Duration::from_secs(10);
        testbed::wait_until("the request is on its way", limit, || tunnels.is_asked())
            .await
            .unwrap();
        assert!(!tunnels.run_dry(Duration::from_secs(3)).await);
        tunnel.write_all(rest).await.unwrap();
        let mut answer = [0; 15];
        tunnel.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        // The connection stays open, for whatever may come.
        assert!(tunnels.run_dry(Duration::from_mins(1)).await);
        assert_eq!(tunnels.open(), 1);
        let refused = TunnelStream::open(channel).await.unwrap_err();
        assert!(refused.message().contains("another version"), "{refused}");
    }

    #[tokio::test]
    async fn the_state_is_told_at_once_when_the_server_changes() {
        let (channel, publish, _) = linked("http://127.0.0.1:1").await;
        let mut client = AgentClient::new(channel);
        let mut states = client
            .watch_status(WatchStatusRequest {})
            .await
            .unwrap()
            .into_inner();
        let state = |reachable| {
            Arc::new(NodeStatus {
                taken_at: 1,
                server: Some(agent_proto::v1::ModelServer {
                    reachable,
                    ..Default::default()
                }),
                ..NodeStatus::default()
            })
        };
        publish.send_replace(state(false));
        let told = states.message().await.unwrap().unwrap();
        assert_eq!(told.server.map(|server| server.reachable), Some(false));
        publish.send_replace(state(true));
        let told = states.message().await.unwrap().unwrap();
        assert_eq!(told.server.map(|server| server.reachable), Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_state_is_told_every_five_seconds_also_when_nothing_changes_or_a_reading_hangs() {
        let (channel, publish, _) = linked("http://127.0.0.1:1").await;
        let mut client = AgentClient::new(channel);
        let mut states = client
            .watch_status(WatchStatusRequest {})
            .await
            .unwrap()
            .into_inner();
        let reading = |taken_at| {
            Arc::new(NodeStatus {
                taken_at,
                ..NodeStatus::default()
            })
        };
        publish.send_replace(reading(1));
        assert_eq!(states.message().await.unwrap().unwrap().taken_at, 1);
        let mut told_at = Instant::now();
        let readings = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(crate::status::EVERY);
            for number in 2..=9 {
                ticks.tick().await;
                publish.send_replace(reading(number));
            }
            // From here on there is none any more.
            std::future::pending::<()>().await;
        });
        let mut told = Vec::new();
        while told.len() < 6 {
            told.push(states.message().await.unwrap().unwrap().taken_at);
            assert!(told_at.elapsed() <= Duration::from_secs(5), "{told:?}");
            told_at = Instant::now();
        }
        assert!(told[..4].is_sorted_by(|one, other| one < other), "{told:?}");
        assert_eq!(told[4..], [9, 9], "the last one again: {told:?}");
        readings.abort();
    }
}
