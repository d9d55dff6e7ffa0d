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
            let what = if older { "this agent" } else { "the control plane" };
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

    async fn tunnel(
        &self,
        request: Request<Streaming<Piece>>,
    ) -> Result<Response<Pieces>, Status> {
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
