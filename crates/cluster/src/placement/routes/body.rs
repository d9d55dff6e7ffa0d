//! Placement as it looks on the wire.

use primitives::{NodeId, Timestamp};
use scheduling::placement::Mode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::action::{Origin, Status, Stored};
use super::super::error::PlacementError;
use super::super::policy::{Policy, Wanted};
use crate::registry::Registry;

/// Who carries out what is planned for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModeBody {
    /// Remuda, by itself.
    Auto,
    /// Remuda, once somebody has applied the plan.
    Suggest,
    /// Nobody: nothing is planned.
    Off,
}

impl From<Mode> for ModeBody {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Auto => Self::Auto,
            Mode::Suggest => Self::Suggest,
            Mode::Off => Self::Off,
        }
    }
}

impl From<ModeBody> for Mode {
    fn from(mode: ModeBody) -> Self {
        match mode {
            ModeBody::Auto => Self::Auto,
            ModeBody::Suggest => Self::Suggest,
            ModeBody::Off => Self::Off,
        }
    }
}

/// What is wanted of a model.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyRequest {
    /// Who carries out what is planned.
    pub(super) mode: ModeBody,
    /// Nodes that have its files, at least.
    #[serde(default)]
    #[schema(maximum = 5000)]
    min_on_disk: u32,
    /// Nodes that have it in memory, at least.
    #[serde(default)]
    #[schema(maximum = 5000)]
    min_loaded: u32,
    /// Nodes that have it in memory at most, by demand. Absent: demand adds none.
    #[schema(maximum = 5000)]
    max_loaded: Option<u32>,
    /// Labels that a node must have, all of them.
    #[serde(default)]
    tags: Vec<String>,
    /// The region that a node must be in.
    region: Option<String>,
    /// The GPU memory that a node must have in total, in bytes.
    #[schema(maximum = 1_125_899_906_842_624_u64)]
    min_gpu_memory_bytes: Option<u64>,
    /// Names or ids of nodes that have it whatever else is wanted, and keep it.
    #[serde(default)]
    pinned: Vec<String>,
    /// Whether it is in memory on its pinned nodes, or on one node where none is pinned, whatever the demand.
    #[serde(default)]
    keep_warm: bool,
    /// Days for which a copy beyond those wanted stays unused until it may be deleted. Absent: every copy stays.
    #[schema(minimum = 1, maximum = 3650)]
    retention_days: Option<u32>,
    /// The context that it is loaded with, in tokens. Absent: what the node chooses.
    #[schema(minimum = 256, maximum = 10_000_000)]
    context: Option<u32>,
}

impl PolicyRequest {
    /// Looks the pinned nodes up.
    pub(super) fn wanted(self, registry: &Registry) -> Result<Wanted, PlacementError> {
        let pinned: Result<Vec<NodeId>, PlacementError> = self
            .pinned
            .iter()
            .map(|node| Ok(registry.load_node(node)?.id))
            .collect();
        Ok(Wanted {
            min_on_disk: self.min_on_disk,
            min_loaded: self.min_loaded,
            max_loaded: self.max_loaded,
            tags: self.tags,
            region: self.region,
            min_gpu_bytes: self.min_gpu_memory_bytes,
            pinned: pinned?,
            keep_warm: self.keep_warm,
            retention_days: self.retention_days,
            context: self.context,
        })
    }
}

/// What is wanted of a model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PolicyBody {
    /// The name that nodes are asked for.
    #[schema(example = "llama3.2:3b")]
    model: String,
    /// The name under which all spellings of it count as one.
    key: String,
    /// Who carries out what is planned.
    mode: ModeBody,
    /// Nodes that have its files, at least.
    min_on_disk: u32,
    /// Nodes that have it in memory, at least.
    min_loaded: u32,
    /// Nodes that have it in memory at most, by demand.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_loaded: Option<u32>,
    /// Labels that a node must have.
    tags: Vec<String>,
    /// The region that a node must be in.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// The GPU memory that a node must have in total, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    min_gpu_memory_bytes: Option<u64>,
    /// Names of nodes that keep it; ids of those that are gone.
    pinned: Vec<String>,
    /// Whether it is kept in memory whatever the demand.
    keep_warm: bool,
    /// Days until an unused copy beyond those wanted may be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_days: Option<u32>,
    /// The context that it is loaded with, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<u32>,
    /// When something was first wanted of it.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When that last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl PolicyBody {
    pub(super) fn new(policy: Policy, registry: &Registry) -> Self {
        let snapshot = registry.snapshot();
        let named = |id: &NodeId| {
            let node = snapshot.find_node(*id);
            node.map_or_else(|| id.to_string(), |node| node.name.to_string())
        };
        let wanted = policy.wanted;
        Self {
            model: policy.name,
            key: policy.key,
            mode: policy.mode.into(),
            min_on_disk: wanted.min_on_disk,
            min_loaded: wanted.min_loaded,
            max_loaded: wanted.max_loaded,
            tags: wanted.tags,
            region: wanted.region,
            min_gpu_memory_bytes: wanted.min_gpu_bytes,
            pinned: wanted.pinned.iter().map(named).collect(),
            keep_warm: wanted.keep_warm,
            retention_days: wanted.retention_days,
            context: wanted.context,
            created_at: policy.created_at,
            updated_at: policy.updated_at,
        }
    }
}

/// Something that is done, or was, about the plan.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PlacementActionBody {
    /// Its id.
    id: String,
    /// One of `unload`, `pull`, `copy`, `load`, `delete`.
    kind: &'static str,
    /// The model.
    model: String,
    /// The node's name.
    node: String,
    /// The node's id.
    node_id: String,
    /// The id of the node that a copy comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_node_id: Option<String>,
    /// How far it has come.
    status: Status,
    /// Who had it carried out.
    origin: Origin,
    /// Why, in words.
    why: String,
    /// What is different afterwards, in words.
    effect: String,
    /// Bytes of disk or memory that it takes or gives back, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Bytes that are fetched.
    done_bytes: u64,
    /// Bytes to fetch, as far as the node has told.
    total_bytes: u64,
    /// Which attempt it is since the last one that went well, from 1.
    attempt: u32,
    /// Why it failed or was called off.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// When it was queued.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

impl From<Stored> for PlacementActionBody {
    fn from(stored: Stored) -> Self {
        let action = stored.action;
        Self {
            id: stored.id.to_string(),
            kind: action.kind.as_str(),
            model: action.model.to_string(),
            node: action.node_name.to_string(),
            node_id: action.node.to_string(),
            from_node_id: action.from.map(|id| id.to_string()),
            status: stored.status,
            origin: stored.origin,
            why: action.why,
            effect: action.effect,
            bytes: action.bytes,
            done_bytes: stored.done_bytes,
            total_bytes: stored.total_bytes,
            attempt: stored.attempt,
            error: stored.error,
            created_at: stored.created_at,
            started_at: stored.started_at,
            ended_at: stored.ended_at,
        }
    }
}
