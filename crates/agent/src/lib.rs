//! The agent beside a model server: it reads the machine and carries calls to the server.
//!
//! It dials the control planes of its installation and answers over these connections, so that it works behind NAT. Tunnels lead to the
//! one model server that its own command line names or that runs within it, never to an address that came over the wire.

mod announcing;
mod beside;
mod config;
mod copying;
mod error;
mod files;
mod health;
mod joining;
mod link;
mod links;
mod machine;
mod membership;
mod model_server;
mod renewal;
mod service;
mod sharing;
mod status;
mod tls;
mod tunnels;
mod updates;

pub use announcing::{Announcing, until_joined};
pub use config::{AgentConfig, ControlPlane, InsideServer, ShareConfig};
pub use error::AgentError;
pub use files::make_directory;
pub use health::HealthPage;
pub use joining::join;
pub use membership::Membership;
pub use updates::{
    KeyChoice, Start, TRIAL_LIMIT, Taken, TrialOutcome, Updates, arguments_again, try_out,
};

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::copying::Copying;
use crate::link::LinkState;
use crate::links::Links;
use crate::membership::Kept;
use crate::renewal::keep_valid;
use crate::sharing::Sharing;
use crate::status::Sampler;
use crate::tunnels::Tunnels;

/// How long answers under way have to end when another version is to take over. Requests wait for an agent that is away for longer than
/// this and a start (`[agents] patience`).
const RUNNING_DRY: Duration = Duration::from_secs(20);
/// How long links take at most to carry what is said last.
const HEARD: Duration = Duration::from_secs(1);
/// How long the parts of the agent may take to end.
const ENDING: Duration = Duration::from_secs(10);
/// How long a version on trial may take to be linked.
const LINKING: Duration = Duration::from_mins(1);
/// How long it has to stay so.
const LASTING: Duration = Duration::from_secs(5);

/// Why an agent's work ended.
#[derive(Debug)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// This version is to be tried in its place.
    ForTrial(Taken),
    /// This version was on trial, and works.
    TrialPassed,
    /// It does not, for this reason.
    TrialFailed(String),
}

/// An agent that belongs to a control plane.
pub struct Agent {
    config: Arc<AgentConfig>,
    membership: Membership,
    page: Option<HealthPage>,
    share: Option<(Arc<Sharing>, TcpListener)>,
}

impl Agent {
    /// Takes the membership that an earlier [`join`] left in the data directory, and the addresses of the health page and of the files that
    /// are shared.
    ///
    /// # Errors
    /// When this machine has not joined, or an address is taken.
    pub async fn open(config: AgentConfig) -> Result<Self, AgentError> {
        let membership = Membership::load(&config.data_dir)?.ok_or(AgentError::NotJoined)?;
        let page = match config.listen {
            Some(address) => Some(HealthPage::bind(address).await?),
            None => None,
        };
        let share = match &config.share {
            Some(share) => Some(Sharing::open(share, &config.clock).await?),
            None => None,
        };
        Ok(Self {
            config: Arc::new(config),
            membership,
            page,
            share,
        })
    }

    /// Returns the node that this machine is.
    pub fn node_name(&self) -> &str {
        &self.membership.node_name
    }

    /// Returns where the health page is, if there is one.
    pub fn page_address(&self) -> Option<std::net::SocketAddr> {
        self.page.as_ref().map(HealthPage::address)
    }

    /// Returns where files of models are shared, if they are.
    pub fn share_address(&self) -> Option<std::net::SocketAddr> {
        let (_, listener) = self.share.as_ref()?;
        listener.local_addr().ok()
    }

    /// Works until `stop` is cancelled or another version is to be tried: keeps the link up, reads the machine, renews the certificate.
    /// Returns when nothing of it runs any more.
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let (asked, stop) = (stop.clone(), stop.child_token());
        let tasks = TaskTracker::new();
        let tunnels = Arc::new(Tunnels::default());
        let kept = Arc::new(Kept::new(self.config.data_dir.clone(), self.membership));
        let mut files = None;
        if let Some((sharing, listener)) = self.share {
            let copying = Copying::new(&self.config, Arc::clone(&sharing), Arc::clone(&kept));
            files = Some(Arc::new(copying));
            tasks.spawn(sharing.serve(listener, Arc::clone(&kept), stop.clone()));
        }
        let (sampler, status) = Sampler::new(&self.config, Arc::clone(&tunnels), files.clone());
        tasks.spawn(sampler.run(stop.clone()));
        let state = Arc::new(LinkState::default());
        if let Some(page) = self.page {
            tasks.spawn(page.serve(status.clone(), Arc::clone(&state), stop.clone()));
        }
        tasks.spawn(keep_valid(
            Arc::clone(&self.config),
            Arc::clone(&kept),
            stop.clone(),
        ));
        let updates = self.config.updates.clone();
        let links = Links {
            config: self.config,
            kept,
            status,
            tunnels,
            files,
            state: Arc::clone(&state),
            told: Arc::default(),
        };
        let running_dry = Arc::clone(&links.tunnels);
        tasks.spawn(links.keep_up(stop.clone()));
        tasks.close();
        let ended = tokio::select! {
            () = asked.cancelled() => Ended::Stopped,
            ended = until_replaced(updates, &state, &running_dry) => ended,
        };
        stop.cancel();
        if timeout(ENDING, tasks.wait()).await.is_err() {
            tracing::warn!("not all of the agent has ended: it goes on without");
        }
        ended
    }
}

/// Waits until another version is to take over, and has what is under way end first.
async fn until_replaced(
    updates: Option<Arc<Updates>>,
    state: &LinkState,
    tunnels: &Tunnels,
) -> Ended {
    let Some(updates) = updates else {
        return std::future::pending().await;
    };
    let ended = if updates.is_on_trial() {
        if timeout(LINKING, state.until_lasting(LASTING))
            .await
            .is_err()
        {
            return Ended::TrialFailed(format!(
                "it was not linked to a control plane within {} s",
                LINKING.as_secs()
            ));
        }
        Ended::TrialPassed
    } else {
        let note_link = async {
            state.until_up().await;
            updates.linked();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            taken = updates.until_taken() => Ended::ForTrial(taken),
            () = note_link => Ended::Stopped,
        }
    };
    updates.leave();
    // The control planes hear of it, and that the release was taken, before the links end.
    let (dry, ()) = tokio::join!(tunnels.run_dry(RUNNING_DRY), sleep(HEARD));
    if !dry {
        tracing::info!("answers under way are cut: they go on afterwards, or at another node");
    }
    ended
}
