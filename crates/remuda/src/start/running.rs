//! A started Remuda, and how it stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cluster::Registry;
use gateway::{Gateway, Metrics};
use primitives::Secret;
use realtime::Hub;
use store::Db;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::banner::Found;
use super::data_dir::DataDir;
use super::tasks::{ENDING, Tasks, ended};

/// What the gateway may take beyond the drain to write the last records: it gives up by itself before.
const RECORDS: Duration = Duration::from_secs(20);

/// Everything that runs. Stop it with [`shutdown`](Self::shutdown): merely dropping it cuts what is under way.
pub struct Running {
    /// Where it listens, with the port that was really taken.
    pub addr: SocketAddr,
    /// Where agents dial, if they are expected.
    pub agents_addr: Option<SocketAddr>,
    /// The base URL under which this machine reaches it.
    pub url: String,
    /// The token that makes the first administrator; only at the first start.
    pub setup_token: Option<Secret<String>>,
    /// Whether every call needs a key.
    pub auth_required: bool,
    /// What was found at start.
    pub found: Found,
    pub(super) drain: Duration,
    pub(super) gateway: Arc<Gateway>,
    pub(super) metrics: Arc<Metrics>,
    /// Has the certificate read anew.
    pub(super) certificate_asked: Arc<Notify>,
    pub(super) hub: Hub,
    /// Who carries jobs out, and what ends that.
    pub(super) jobs: (JoinHandle<()>, CancellationToken),
    /// Who applies settings to the gateway, and what ends that.
    pub(super) settings: (JoinHandle<()>, CancellationToken),
    pub(super) registry: Registry,
    pub(super) rollouts: cluster::Rollouts,
    pub(super) tasks: Tasks,
    pub(super) stop: CancellationToken,
    pub(super) db: Db,
    /// Dropped last: another process may have the directory only when nothing writes to it any more.
    pub(super) _data_dir: DataDir,
}

impl Running {
    /// Stops accepting, lets open streams finish for the configured time, writes what is to be written, and ends.
    pub async fn shutdown(self) {
        let limit = self.drain;
        self.shutdown_within(limit, &CancellationToken::new()).await;
    }

    /// As [`shutdown`](Self::shutdown) with a time of the caller's choice for open streams; `hurry` cuts it short.
    /// Request records are written either way. A part that does not end is cut off after [`ENDING`]; the log tells which.
    pub async fn shutdown_within(self, limit: Duration, hurry: &CancellationToken) {
        // First, while the data plane still books what becomes of them.
        let (jobs, working) = self.jobs;
        working.cancel();
        if let Some(Err(error)) = ended("jobs", ENDING, jobs).await {
            tracing::error!(%error, "who carries jobs out ended abnormally");
        }
        let (settings, following) = self.settings;
        following.cancel();
        if let Some(Err(error)) = ended("settings", ENDING, settings).await {
            tracing::error!(%error, "who applies settings ended abnormally");
        }
        // Nobody else has it any more.
        if let Some(gateway) = Arc::into_inner(self.gateway) {
            let both =
                async { tokio::join!(gateway.shutdown(limit, hurry), self.hub.shutdown(limit)) };
            // Its record writer gets a moment of its own, which it bounds itself.
            ended("gateway", limit + RECORDS, both).await;
        }
        self.stop.cancel();
        ended("registry", ENDING, self.registry.stopped()).await;
        self.tasks.ended().await;
        ended("database", ENDING, self.db.close()).await;
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("addr", &self.addr)
            .field("found", &self.found)
            .finish_non_exhaustive()
    }
}
