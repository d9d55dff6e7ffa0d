//! Many agents in one process, as light as they can be: the real protocol over real links with certificates of their own, and
//! states that are made up.
//!
//! Prints `linked` when a control plane follows the state of each. When its input is closed it prints what was done as JSON, and fails
//! when a link was lost.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use agent::{AgentConfig, ControlPlane, Membership};
use agent_proto::v1::agent_server::{Agent, AgentServer};
use agent_proto::v1::{
    ControlPlanes, ControlPlanesHeard, CopyProgress, CopyRequest, Cpu, Disk, Gpu, HelloRequest,
    HelloResponse, Memory, Model, ModelServer, Network, NodeFacts, NodeStatus, OfferRequest,
    OfferResponse, Piece, ReleasePart, ReleaseTaken, WatchStatusRequest,
};
use agent_proto::{Invitation, PROTOCOLS};
use anyhow::Context as _;
use bytes::BytesMut;
use clap::Parser;
use futures_util::stream::{Stream, StreamExt as _, unfold};
use primitives::{Clock, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tonic::{Request, Response, Status, Streaming};

/// Machines that join at the same time.
const JOINING: usize = 16;
/// The pause before a control plane that shows no interest yet is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What one read asks for.
const READ: usize = 32 << 10;

/// Light agents, one for each invitation.
#[derive(Parser)]
struct Arguments {
    /// Where the control plane listens for agents.
    #[arg(long)]
    door: ControlPlane,
    /// A file with an invitation in each line.
    #[arg(long)]
    tokens: PathBuf,
    /// The model server that all of them stand beside.
    #[arg(long)]
    server: SocketAddr,
    /// Milliseconds between two states of an agent.
    #[arg(long, default_value_t = 5_000)]
    heartbeat_ms: u64,
}

/// What all agents share.
struct Shared {
    server: SocketAddr,
    heartbeat: Duration,
    heartbeats: AtomicU64,
    followed: AtomicUsize,
    tunnels: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let shared = Arc::new(Shared {
        server: arguments.server,
        heartbeat: Duration::from_millis(arguments.heartbeat_ms),
        heartbeats: AtomicU64::new(0),
        followed: AtomicUsize::new(0),
        tunnels: AtomicU64::new(0),
    });
    let directory = tempfile::tempdir()?;
    let tokens = std::fs::read_to_string(&arguments.tokens)?;
    let machines: Vec<(PathBuf, Invitation)> = tokens
        .lines()
        .enumerate()
        .map(|(number, token)| Ok((directory.path().join(number.to_string()), token.parse()?)))
        .collect::<anyhow::Result<_>>()?;
    let count = machines.len();
    let joined: Vec<anyhow::Result<Membership>> = futures_util::stream::iter(machines)
        .map(|(data, invitation)| join(&arguments.door, data, invitation))
        .buffer_unordered(JOINING)
        .collect()
        .await;
    let mut links = JoinSet::new();
    for membership in joined {
        links.spawn(link(
            membership?,
            arguments.door.clone(),
            Arc::clone(&shared),
        ));
    }
    while shared.followed.load(Ordering::Relaxed) < count {
        if let Some(ended) = links.try_join_next() {
            ended??;
        }
        sleep(LOOK_AGAIN).await;
    }
    writeln!(std::io::stdout(), "linked")?;
    let input =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    tokio::select! {
        closed = input => { closed??; }
        Some(ended) = links.join_next() => {
            ended??;
            anyhow::bail!("a link was closed");
        }
    }
    let told = serde_json::json!({
        "heartbeats": shared.heartbeats.load(Ordering::Relaxed),
        "tunnels": shared.tunnels.load(Ordering::Relaxed),
    });
    writeln!(std::io::stdout(), "{told}")?;
    Ok(())
}

async fn join(
    door: &ControlPlane,
    data: PathBuf,
    invitation: Invitation,
) -> anyhow::Result<Membership> {
    let config = AgentConfig::new(data, "http://127.0.0.1:1".parse()?);
    Ok(agent::join(&config, door.clone(), invitation).await?)
}

/// Answers over one link until it ends, which it should not.
async fn link(
    membership: Membership,
    door: ControlPlane,
    shared: Arc<Shared>,
) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let stream = membership.dial(&door, &clock).await?;
    let served = agent_proto::serve(stream, AgentServer::new(Light { shared })).await;
    served.context("a link is lost")
}

#[derive(Clone)]
struct Light {
    shared: Arc<Shared>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for Light {
    type WatchStatusStream = Answers<NodeStatus>;
    type TunnelStream = Answers<Piece>;
    type CopyModelStream = Answers<CopyProgress>;

    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        Ok(Response::new(HelloResponse {
            least_protocol: *PROTOCOLS.start(),
            most_protocol: *PROTOCOLS.end(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            facts: Some(NodeFacts {
                host_name: "light".to_owned(),
                operating_system: "none".to_owned(),
                cpu_cores: 64,
                memory_bytes: 1 << 38,
                ..NodeFacts::default()
            }),
        }))
    }

    async fn offer_model(
        &self,
        _: Request<OfferRequest>,
    ) -> Result<Response<OfferResponse>, Status> {
        Err(Status::unimplemented("no files here"))
    }

    async fn install_release(
        &self,
        _: Request<Streaming<ReleasePart>>,
    ) -> Result<Response<ReleaseTaken>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn copy_model(
        &self,
        _: Request<CopyRequest>,
    ) -> Result<Response<Self::CopyModelStream>, Status> {
        Err(Status::unimplemented("no files here"))
    }

    async fn tell_control_planes(
        &self,
        _: Request<ControlPlanes>,
    ) -> Result<Response<ControlPlanesHeard>, Status> {
        Ok(Response::new(ControlPlanesHeard {}))
    }

    async fn watch_status(
        &self,
        _: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let mut beats = interval(self.shared.heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.shared.followed.fetch_add(1, Ordering::Relaxed);
        let telling = (Arc::clone(&self.shared), beats);
        Ok(Response::new(Box::pin(unfold(telling, tell))))
    }

    async fn tunnel(
        &self,
        request: Request<Streaming<Piece>>,
    ) -> Result<Response<Self::TunnelStream>, Status> {
        let socket = TcpStream::connect(self.shared.server).await?;
        socket.set_nodelay(true)?;
        self.shared.tunnels.fetch_add(1, Ordering::Relaxed);
        let (read, mut write) = socket.into_split();
        let mut incoming = request.into_inner();
        tokio::spawn(async move {
            while let Some(Ok(piece)) = incoming.next().await {
                if write.write_all(&piece.data).await.is_err() {
                    return;
                }
            }
        });
        let back = unfold(
            (read, BytesMut::new()),
            |(mut read, mut buffer)| async move {
                buffer.reserve(READ);
                match read.read_buf(&mut buffer).await {
                    Ok(0) | Err(_) => None,
                    Ok(_) => {
                        let data = buffer.split().freeze();
                        Some((Ok(Piece { data }), (read, buffer)))
                    }
                }
            },
        );
        Ok(Response::new(Box::pin(back)))
    }
}

async fn tell(
    (shared, mut beats): (Arc<Shared>, Interval),
) -> Option<(Result<NodeStatus, Status>, (Arc<Shared>, Interval))> {
    beats.tick().await;
    let beat = shared.heartbeats.fetch_add(1, Ordering::Relaxed);
    Some((Ok(state(beat)), (shared, beats)))
}

/// A state as large as that of a machine with two GPUs and 16 models; `beat` makes it another one each time.
fn state(beat: u64) -> NodeStatus {
    let gpu = |index| Gpu {
        index,
        name: "a GPU that is not there".to_owned(),
        vendor: "nvidia".to_owned(),
        memory_total_bytes: Some(80 << 30),
        memory_used_bytes: Some(beat << 20),
        used_percent: Some((beat % 100) as f32),
        temperature_celsius: Some(50.0),
        power_watts: Some(300.0),
        power_limit_watts: Some(700.0),
        ..Gpu::default()
    };
    let model = |number: u32| Model {
        name: format!("model-{number}:latest"),
        digest: Some(format!("{number:064x}")),
        size_bytes: Some(4 << 30),
        loaded: number == 0,
        vram_bytes: None,
    };
    NodeStatus {
        updates: None,
        taken_at: 1 + beat as i64,
        uptime_seconds: beat,
        cpu: Some(Cpu {
            used_percent: (beat % 100) as f32,
            load: vec![1.0, 1.0, 1.0],
            temperature_celsius: Some(40.0),
        }),
        memory: Some(Memory {
            total_bytes: 1 << 38,
            available_bytes: (1 << 37) + beat,
            ..Memory::default()
        }),
        disks: vec![Disk {
            mount: "/".to_owned(),
            file_system: "ext4".to_owned(),
            total_bytes: 1 << 41,
            available_bytes: (1 << 40) - beat,
        }],
        networks: vec![Network {
            name: "eth0".to_owned(),
            received_bytes: beat * 1_000,
            sent_bytes: beat * 1_000,
        }],
        gpus: vec![gpu(0), gpu(1)],
        gpu_problem: None,
        server: Some(ModelServer {
            reachable: true,
            api: "ollama".to_owned(),
            version: Some("0.12.0".to_owned()),
            models: (0..16).map(model).collect(),
            ..ModelServer::default()
        }),
        tunnels: 1,
        sharing: None,
    }
}
