//! Reads everything about the node again and again.

use std::sync::Arc;
use std::time::Duration;

use agent_proto::v1::{NodeStatus, Updates};
use primitives::Clock;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::beside::Beside;
use crate::config::AgentConfig;
use crate::copying::Copying;
use crate::machine::{GpuSource, Gpus, Machine, MachineReading};
use crate::model_server::{ModelServer, read_server};
use crate::tunnels::Tunnels;

/// The time between two readings: two of them, with the time that reading takes, are not as far apart as heartbeats may be.
pub(crate) const EVERY: Duration = Duration::from_millis(2_400);
/// How long the machine or its GPUs are waited for.
const LIMIT: Duration = Duration::from_secs(2);

/// Reads the node and publishes what it read.
pub(crate) struct Sampler {
    machine: Beside<MachineReading>,
    gpus: Beside<Gpus>,
    server: ModelServer,
    tunnels: Arc<Tunnels>,
    files: Option<Arc<Copying>>,
    updates: Option<watch::Receiver<Updates>>,
    clock: Arc<dyn Clock>,
    publish: watch::Sender<Arc<NodeStatus>>,
}

impl Sampler {
    /// Makes a sampler and the channel that shows its latest reading.
    pub(crate) fn new(
        config: &AgentConfig,
        tunnels: Arc<Tunnels>,
        files: Option<Arc<Copying>>,
    ) -> (Self, watch::Receiver<Arc<NodeStatus>>) {
        let (publish, status) = watch::channel(Arc::default());
        let (mut machine, mut gpus) = (Machine::new(&config.root), GpuSource::new(&config.root));
        let clock = Arc::clone(&config.clock);
        let sampler = Self {
            machine: Beside::start("machine", LIMIT, move || machine.read()),
            gpus: Beside::start("gpus", LIMIT, move || gpus.read(clock.monotonic())),
            server: ModelServer::new(config),
            tunnels,
            files,
            updates: config.updates.as_ref().map(|updates| updates.told()),
            clock: Arc::clone(&config.clock),
            publish,
        };
        (sampler, status)
    }

    /// Reads until `stop` is cancelled.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {
                        let status = self.sample().await;
                        self.publish.send_replace(Arc::new(status));
                    }
                    told = changed(&mut self.updates) => self.publish.send_modify(|status| {
                        Arc::make_mut(status).updates = Some(told);
                    }),
                }
            }
        })
        .await;
    }

    async fn sample(&mut self) -> NodeStatus {
        let (machine, gpus, server) = tokio::join!(
            self.machine.read(),
            self.gpus.read(),
            read_server(&self.server)
        );
        let machine = machine.unwrap_or_else(|error| {
            tracing::warn!(%error, "the machine could not be read");
            MachineReading::default()
        });
        let gpus = gpus.unwrap_or_else(|error| Gpus {
            gpus: Vec::new(),
            problem: Some(format!("the GPU driver: {error}")),
        });
        NodeStatus {
            taken_at: self.clock.now().as_micros(),
            uptime_seconds: machine.uptime_seconds,
            cpu: machine.cpu,
            memory: machine.memory,
            disks: machine.disks,
            networks: machine.networks,
            gpus: gpus.gpus,
            gpu_problem: gpus.problem,
            server: Some(server),
            tunnels: self.tunnels.open(),
            sharing: self.files.as_ref().map(|files| files.sharing().told()),
            updates: self.updates.as_ref().map(|told| told.borrow().clone()),
        }
    }
}

/// Waits until there is something else to tell of updates.
async fn changed(updates: &mut Option<watch::Receiver<Updates>>) -> Updates {
    if let Some(told) = updates
        && told.changed().await.is_ok()
    {
        return told.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// Tells whether two states differ in something that should be known at once.
pub(crate) fn differs(before: &NodeStatus, after: &NodeStatus) -> bool {
    before.server != after.server
        || before.gpu_problem != after.gpu_problem
        || before.gpus.len() != after.gpus.len()
        || before.tunnels != after.tunnels
        || before.updates != after.updates
}
