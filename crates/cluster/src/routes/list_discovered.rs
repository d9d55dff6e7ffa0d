//! `GET /api/v1/agents/discovered`.

use std::net::IpAddr;

use axum::extract::State;
use identity::Admin;
use primitives::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use web::{JsonBody, Problem};

use crate::agents::DiscoveredAgent;
use crate::registry::Registry;

/// Agents on the local network that belong nowhere.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct DiscoveredAgentsBody {
    /// Whether they are listened for (`[agents] discovery`).
    listening: bool,
    /// What was heard, 100 at most, by host.
    items: Vec<DiscoveredAgentBody>,
}

/// An agent that says on the local network that it belongs nowhere. Nothing of it is proven.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct DiscoveredAgentBody {
    /// What the agent shows at its own machine, too.
    #[schema(example = "K7F2QX")]
    code: String,
    /// The machine's name.
    #[schema(example = "gpu2")]
    host: String,
    /// The agent's version.
    #[schema(example = "0.1.0")]
    version: String,
    /// What it was made for.
    #[schema(example = "linux-x86_64")]
    target: String,
    /// Where it says that it is, 8 at most.
    #[schema(value_type = Vec<String>)]
    addresses: Vec<IpAddr>,
    /// When it was heard first.
    #[schema(value_type = String, format = DateTime)]
    first_heard: Timestamp,
    /// When it was heard last; each is once in two minutes.
    #[schema(value_type = String, format = DateTime)]
    last_heard: Timestamp,
}

impl From<DiscoveredAgent> for DiscoveredAgentBody {
    fn from(agent: DiscoveredAgent) -> Self {
        Self {
            code: agent.said.code,
            host: agent.said.host,
            version: agent.said.version,
            target: agent.said.target,
            addresses: agent.addresses,
            first_heard: agent.first_heard,
            last_heard: agent.last_heard,
        }
    }
}

/// Lists agents that say on the local network of this process (multicast DNS) that they belong nowhere: `remuda agent --announce`. Anybody
/// there can say so, and nobody is let in by it: invite a machine (`POST /api/v1/nodes/invite`), and start it with the token.
#[utoipa::path(get, path = "/api/v1/agents/discovered", operation_id = "list_discovered_agents", tag = "nodes", security(("bearer" = [])),
    responses(
        (status = 200, description = "What was heard.", body = DiscoveredAgentsBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn list_discovered(
    _: Admin,
    State(registry): State<Registry>,
) -> JsonBody<DiscoveredAgentsBody> {
    let heard = registry.discovered_agents();
    JsonBody(DiscoveredAgentsBody {
        listening: heard.is_some(),
        items: heard
            .unwrap_or_default()
            .into_iter()
            .map(DiscoveredAgentBody::from)
            .collect(),
    })
}
