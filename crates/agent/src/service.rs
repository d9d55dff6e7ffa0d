//! What the control plane may ask of an agent.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agent_proto::common_protocol;
use agent_proto::v1::agent_server::Agent;
use agent_proto::v1::{
    CommandProgress, HelloRequest, HelloResponse, ModelCommand, NodeStatus, Piece,
    WatchStatusRequest,
};
use futures_util::stream::{Stream, unfold};
use primitives::{Clock, MonotonicTime};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use crate::config::AgentConfig;
use crate::link::LinkState;
use crate::machine::facts;
use crate::model_server::{ModelServer, run_command};
use crate::status::differs;
use crate::tunnels::{self, Pieces, Tunnels};

/// The longest silence of a status stream.
const HEARTBEAT: Duration = Duration::from_secs(5);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers over one connection.
#[derive(Clone)]
pub(crate) struct Service {
    server: ModelServer,
    protocols: RangeInclusive<u32>,
    clock: Arc<dyn Clock>,
    status: watch::Receiver<Arc<NodeStatus>>,
    tunnels: Arc<Tunnels>,
    state: Arc<LinkState>,
}

impl Service {
    pub(crate) fn new(
        config: &AgentConfig,
        clock: Arc<dyn Clock>,
        status: watch::Receiver<Arc<NodeStatus>>,
        tunnels: Arc<Tunnels>,
        state: Arc<LinkState>,
    ) -> Self {
        Self {
            server: ModelServer::new(&config.server),
            protocols: config.protocols.clone(),
            clock,
            status,
            tunnels,
            state,
        }
    }
}

#[tonic::async_trait]
impl Agent for Service {
    type WatchStatusStream = Answers<NodeStatus>;
    type TunnelStream = Pieces;
    type RunModelCommandStream = Answers<CommandProgress>;

    async fn hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloResponse>, Status> {
        let asked = request.into_inner();
        let theirs = asked.least_protocol..=asked.most_protocol;
        if let Some(refusal) = asked.refusal {
            tracing::error!("the control plane refuses this agent: {refusal}");
        } else if common_protocol(&self.protocols, &theirs).is_some() {
            self.state.set(true);
            tracing::info!(control_plane = asked.version, "linked");
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
            version: env!("CARGO_PKG_VERSION").to_owned(),
            facts: Some(facts()),
        }))
    }

    async fn watch_status(
        &self,
        _: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let mut status = self.status.clone();
        status.mark_changed();
        let telling = Telling {
            status,
            clock: Arc::clone(&self.clock),
            last: None,
        };
        Ok(Response::new(Box::pin(unfold(telling, Telling::next))))
    }

    async fn tunnel(&self, request: Request<Streaming<Piece>>) -> Result<Response<Pieces>, Status> {
        let pieces = tunnels::open(&self.tunnels, &self.server, request.into_inner()).await?;
        Ok(Response::new(pieces))
    }

    async fn run_model_command(
        &self,
        request: Request<ModelCommand>,
    ) -> Result<Response<Self::RunModelCommandStream>, Status> {
        let progress = run_command(&self.server, request.into_inner()).await?;
        Ok(Response::new(progress))
    }
}

/// One stream of states.
struct Telling {
    status: watch::Receiver<Arc<NodeStatus>>,
    clock: Arc<dyn Clock>,
    last: Option<(Arc<NodeStatus>, MonotonicTime)>,
}

impl Telling {
    async fn next(mut self) -> Option<(Result<NodeStatus, Status>, Self)> {
        loop {
            self.status.changed().await.ok()?;
            let fresh = Arc::clone(&self.status.borrow_and_update());
            // Nothing was read yet.
            if fresh.taken_at == 0 {
                continue;
            }
            let now = self.clock.monotonic();
            // A reading before the bound would come too late after it: readings are regular, and this one is as good.
            let due = self.last.as_ref().is_none_or(|(last, at)| {
                differs(last, &fresh) || now.since(*at) + crate::status::EVERY > HEARTBEAT
            });
            if due {
                self.last = Some((Arc::clone(&fresh), now));
                return Some((Ok(NodeStatus::clone(&fresh)), self));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_proto::v1::agent_client::AgentClient;
    use agent_proto::v1::agent_server::AgentServer;
    use agent_proto::v1::model_command::Command;
    use agent_proto::v1::{DeleteModel, PullModel, ShowModel, UnloadModel};
    use agent_proto::{Channel, TunnelStream};
    use primitives::SystemClock;
    use testbed::{Flavour, ScriptedUpstream};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A service beside `server`, asked over a connection without network; the state is `status`.
    async fn linked(server: &str) -> (Channel, watch::Sender<Arc<NodeStatus>>, Arc<Tunnels>) {
        let config = AgentConfig::new("unused".into(), server.parse().unwrap());
        let (publish, status) = watch::channel(Arc::default());
        let tunnels = Arc::new(Tunnels::default());
        let service = Service::new(
            &config,
            Arc::new(SystemClock::new()),
            status,
            Arc::clone(&tunnels),
            Arc::default(),
        );
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        tokio::spawn(agent_proto::serve(theirs, AgentServer::new(service)));
        let (channel, connection) = agent_proto::connect(ours).await.unwrap();
        tokio::spawn(connection);
        (channel, publish, tunnels)
    }

    async fn run(channel: &Channel, command: Command) -> Result<Vec<CommandProgress>, Status> {
        let command = ModelCommand {
            command: Some(command),
        };
        let mut client = AgentClient::new(channel.clone());
        let mut stream = client.run_model_command(command).await?.into_inner();
        let mut told = Vec::new();
        while let Some(progress) = stream.message().await? {
            told.push(progress);
        }
        Ok(told)
    }

    #[tokio::test]
    async fn commands_tell_their_progress_and_what_went_wrong() {
        let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
        let (channel, _publish, _) = linked(&upstream.url()).await;
        let model = |name: &str| name.to_owned();
        let pull = Command::Pull(PullModel {
            model: model("new-model"),
        });
        let told = run(&channel, pull).await.unwrap();
        assert_eq!(told[0].status, "pulling manifest");
        assert!(
            told.iter().any(|line| line.total_bytes.is_some()),
            "{told:?}"
        );
        assert_eq!(told.last().unwrap().status, "success");
        let show = Command::Show(ShowModel {
            model: model("new-model"),
        });
        let told = run(&channel, show).await.unwrap();
        assert!(
            told[0].answer.as_ref().unwrap().contains("model_info"),
            "{told:?}"
        );
        let delete = Command::Delete(DeleteModel {
            model: model("nobody-has-it"),
        });
        let refused = run(&channel, delete).await.unwrap_err();
        assert!(refused.message().contains("not found"), "{refused}");
    }

    #[tokio::test]
    async fn servers_without_commands_and_servers_that_are_gone_say_what_to_do() {
        let upstream = ScriptedUpstream::start(Flavour::Vllm).unwrap();
        let (channel, _publish, _) = linked(&upstream.url()).await;
        let unload = || {
            Command::Unload(UnloadModel {
                model: "m".to_owned(),
            })
        };
        let refused = run(&channel, unload()).await.unwrap_err();
        assert!(refused.message().contains("Ollama"), "{refused}");
        upstream.kill();
        let refused = run(&channel, unload()).await.unwrap_err();
        assert!(refused.message().contains("--model-server"), "{refused}");
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
}
