//! Nodes and models as they look on the wire.

use primitives::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::machine_body::{AgentBody, MachineBody};
use crate::machine_load::MachineLoad;
use crate::model::{
    ModelDetails, ModelView, NodeKind, NodeSource, NodeView, Pressure, ServerFlavour,
};

/// A node.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct NodeBody {
    /// The node's id.
    #[schema(example = "0198c0de-0000-7000-8000-000000000001")]
    pub(super) id: String,
    /// Its name.
    #[schema(example = "gpu1")]
    pub(super) name: String,
    /// Which API it speaks; `agent` when it is reached through its agent, and then `server` tells what stands there.
    kind: NodeKind,
    /// Which program answers there.
    server: ServerFlavour,
    /// Where it is; absent for the embedded engine and for nodes that are reached through their agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "http://10.0.0.7:11434")]
    url: Option<String>,
    /// The program's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// One of `new`, `ready`, `busy`, `suspect`, `unhealthy`, `draining`.
    #[schema(example = "ready")]
    state: &'static str,
    /// What a suspect or unhealthy state rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whether it gets nothing new.
    draining: bool,
    /// Who brought it into the fleet. Nodes of the configuration file are changed only there.
    source: NodeSource,
    /// Labels that calls can require.
    tags: Vec<String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// The operator's preference.
    weight: f32,
    /// The operator's ceiling for requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_in_flight: Option<u32>,
    /// Requests it works on at the same time, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<u32>,
    /// How hard pressed it was at the last probe, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pressure: Option<Pressure>,
    /// Requests in flight there right now.
    in_flight: u32,
    /// Whether a credential is stored for it. The credential itself is never shown.
    has_api_key: bool,
    /// How many models it has.
    model_count: usize,
    /// The names of its models in memory.
    loaded_models: Vec<String>,
    /// When it was last heard of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen: Option<Timestamp>,
    /// Why the last probe failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Its agent, where it is reached through one.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentBody>,
    /// How busy its machine was at its agent's last report.
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<MachineLoad>,
}

impl From<&NodeView> for NodeBody {
    fn from(node: &NodeView) -> Self {
        Self {
            id: node.id.to_string(),
            name: node.name.to_string(),
            kind: node.agent.as_ref().map_or(node.kind, |_| NodeKind::Agent),
            server: node.server,
            url: match node.agent {
                Some(_) => None,
                None => node.url.as_ref().map(ToString::to_string),
            },
            version: node.version.as_deref().map(str::to_owned),
            state: node.state.as_str(),
            reason: node.state.reason().map(str::to_owned),
            draining: node.draining,
            source: node.source,
            tags: node.tags.to_vec(),
            region: node.region.as_deref().map(str::to_owned),
            weight: node.weight,
            max_in_flight: node.max_in_flight,
            slots: node.slots,
            pressure: node.pressure,
            in_flight: node.activity.in_flight(),
            has_api_key: node.credential.is_some(),
            model_count: node.models.len(),
            loaded_models: node
                .models
                .iter()
                .filter(|model| model.loaded.is_some())
                .map(|model| model.name.to_string())
                .collect(),
            last_seen: node.last_seen(),
            last_error: node.last_error.as_deref().map(str::to_owned),
            created_at: node.created_at,
            agent: node.agent.as_deref().map(AgentBody::from),
            load: node.machine_load(),
        }
    }
}

/// A node with its models.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct NodeDetailBody {
    #[serde(flatten)]
    node: NodeBody,
    /// Its models, by name.
    models: Vec<NodeModelBody>,
    /// The machine as its agent sees it, while that is linked.
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<MachineBody>,
}

impl From<&NodeView> for NodeDetailBody {
    fn from(node: &NodeView) -> Self {
        let link = node.agent.as_ref().and_then(|agent| agent.link());
        Self {
            machine: link.as_deref().map(MachineBody::from),
            node: node.into(),
            models: node.models.iter().map(NodeModelBody::from).collect(),
        }
    }
}

/// A node as it is after adding or changing it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ChangedNodeBody {
    #[serde(flatten)]
    node: NodeDetailBody,
    /// Why nothing was found at its address yet. It is used as soon as it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

impl ChangedNodeBody {
    pub(super) fn new(node: &NodeView, warning: Option<String>) -> Self {
        Self {
            node: node.into(),
            warning,
        }
    }
}

/// A model at one node.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct NodeModelBody {
    /// The name as the node writes it.
    name: String,
    /// The digest of its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// The size of its files in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    /// Family, size and quantisation.
    details: ModelDetails,
    /// The largest context it can have there, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u32>,
    /// The name of its licence.
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<String>,
    /// What it can do.
    capabilities: Vec<String>,
    /// Whether it is in memory.
    loaded: bool,
    /// The context it is loaded with, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded_context: Option<u32>,
    /// The GPU memory it takes, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    vram_bytes: Option<u64>,
    /// When the node unloads it unless it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl From<&ModelView> for NodeModelBody {
    fn from(model: &ModelView) -> Self {
        Self {
            name: model.name.to_string(),
            digest: model.digest.as_deref().map(str::to_owned),
            size_bytes: model.size_bytes,
            details: model.details.clone(),
            context_length: model.context_length,
            license: model.license.as_deref().map(str::to_owned),
            capabilities: model.capabilities.clone(),
            loaded: model.loaded.is_some(),
            loaded_context: model.loaded.and_then(|loaded| loaded.context),
            vram_bytes: model.loaded.and_then(|loaded| loaded.vram_bytes),
            expires_at: model.loaded.and_then(|loaded| loaded.expires_at),
        }
    }
}
