//! The listener for agents: taken before anything is written, served once the nodes are known.

use std::net::TcpListener;

use cluster::{AgentsConfig, Registry};
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use super::listener;
use crate::config::AgentsSection;

/// Binds the configured address, if there is one.
pub(super) fn bind(config: &AgentsSection) -> Result<Option<TcpListener>, StartError> {
    config.listen.map(listener::bind).transpose()
}

/// Returns where agents are expected, with the port that was really taken.
pub(super) fn expected(config: &AgentsSection, listener: Option<&TcpListener>) -> AgentsConfig {
    AgentsConfig {
        listen: listener.and_then(|listener| listener.local_addr().ok()),
        url: config
            .url
            .as_ref()
            .map(|url| url.as_str().trim_end_matches('/').to_owned()),
    }
}

/// Lets agents in.
pub(super) async fn serve(
    listener: Option<TcpListener>,
    registry: &Registry,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    let Some(listener) = listener else {
        return Ok(());
    };
    registry
        .serve_agents(listener, stop.clone())
        .await
        .map_err(|error| StartError::broken_part("listener for agents", &error))
}
