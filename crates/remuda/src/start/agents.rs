//! The listener for agents: taken before anything is written, served once the nodes are known.

use std::net::{SocketAddr, TcpListener};

use cluster::{AgentsConfig, Registry};
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use super::listener;
use crate::config::AgentsSection;

/// Where agents are expected, if anywhere.
pub(super) struct AgentDoor {
    listener: Option<TcpListener>,
    config: AgentsConfig,
}

impl AgentDoor {
    /// Binds the configured address, if there is one.
    pub(super) fn bind(section: &AgentsSection) -> Result<Self, StartError> {
        let listener = section.listen.map(listener::bind).transpose()?;
        let listen = listener
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());
        let url = section
            .url
            .as_ref()
            .map(|url| url.as_str().trim_end_matches('/').to_owned());
        Ok(Self {
            listener,
            config: AgentsConfig {
                listen,
                url,
                patience: section.patience.0,
                discovery: section
                    .discovery
                    .then(|| section.discovery_interfaces.clone()),
            },
        })
    }

    /// Returns what the registry has to know, with the port that was really taken.
    pub(super) fn config(&self) -> AgentsConfig {
        self.config.clone()
    }

    /// Lets agents in. Returns where.
    pub(super) async fn open(
        self,
        registry: &Registry,
        stop: &CancellationToken,
    ) -> Result<Option<SocketAddr>, StartError> {
        registry.discover_agents(stop.clone());
        if let Some(listener) = self.listener {
            registry
                .serve_agents(listener, stop.clone())
                .await
                .map_err(|error| StartError::broken_part("listener for agents", &error))?;
        }
        Ok(self.config.listen)
    }
}
