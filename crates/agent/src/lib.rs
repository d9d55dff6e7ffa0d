//! The agent beside a model server: it reads the machine and carries calls to the server.
//!
//! It dials the control planes of its installation and answers over these connections, so that it works behind NAT. Tunnels lead to the
//! one model server that its own command line names or that runs within it, never to an address that came over the wire.

mod beside;
mod config;
mod error;
mod health;
mod joining;
mod link;
mod links;
mod machine;
mod membership;
mod model_server;
mod renewal;
mod service;
mod status;
mod tls;
mod tunnels;

pub use config::{AgentConfig, ControlPlane, InsideServer};
pub use error::AgentError;
pub use health::HealthPage;
pub use joining::join;
pub use machine::Gpus;
pub use membership::Membership;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::link::LinkState;
use crate::links::Links;
use crate::membership::Kept;
use crate::renewal::keep_valid;
use crate::status::Sampler;
use crate::tunnels::Tunnels;

/// An agent that belongs to a control plane.
pub struct Agent {
    config: Arc<AgentConfig>,
    membership: Membership,
    page: Option<HealthPage>,
}

impl Agent {
    /// Takes the membership that an earlier [`join`] left in the data directory, and the address of the health page.
    ///
    /// # Errors
    /// When this machine has not joined, or the address is taken.
    pub async fn open(config: AgentConfig) -> Result<Self, AgentError> {
        let membership = Membership::load(&config.data_dir)?.ok_or(AgentError::NotJoined)?;
        let page = match config.listen {
            Some(address) => Some(HealthPage::bind(address).await?),
            None => None,
        };
        Ok(Self {
            config: Arc::new(config),
            membership,
            page,
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

    /// Works until `stop` is cancelled: keeps the link up, reads the machine, renews the certificate.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let tunnels = Arc::new(Tunnels::default());
        let (sampler, status) = Sampler::new(&self.config, Arc::clone(&tunnels));
        tasks.spawn(sampler.run(stop.clone()));
        let state = Arc::new(LinkState::default());
        if let Some(page) = self.page {
            tasks.spawn(page.serve(status.clone(), Arc::clone(&state), stop.clone()));
        }
        let kept = Arc::new(Kept::new(self.config.data_dir.clone(), self.membership));
        tasks.spawn(keep_valid(
            Arc::clone(&self.config),
            Arc::clone(&kept),
            stop.clone(),
        ));
        let links = Links {
            config: self.config,
            kept,
            status,
            tunnels,
            state,
            told: Arc::default(),
        };
        tasks.spawn(links.keep_up(stop));
        tasks.close();
        tasks.wait().await;
    }
}
