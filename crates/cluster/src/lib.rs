//! The fleet: which nodes there are, whether they are alive and which models they have.
//!
//! Nodes are rows of the database; probes learn what stands behind them; both become an immutable [`FleetSnapshot`] that the
//! gateway reads without waiting. This crate never decides where a call goes and never carries one; for nodes that dial us it
//! keeps the connection that others carry calls through.
//!
//! The invariant: whatever the inference path needs of a node is in the snapshot. With the database stopped, snapshots keep
//! being made from what is in memory.

mod activity;
mod agent_updates;
mod agents;
mod embedded;
mod error;
mod machine_load;
mod model;
mod name;
mod node_url;
mod placement;
mod probe;
mod record;
mod registry;
mod rollouts;
mod routes;
mod snapshot;
mod spec;
mod store;

pub use activity::{InFlight, NodeActivity};
pub use agent_proto::TunnelStream;
pub use agent_updates::{AgentUpdateError, AgentUpdates, AgentUpdatesConfig, AgentUpdatesDeps};
pub use agents::{AgentLink, AgentSeat, AgentSeats, AgentsConfig, DiscoveredAgent, Invited};
pub use embedded::EmbeddedNode;
pub use error::NodeError;
pub use machine_load::MachineLoad;
pub use model::{
    Loaded, ModelDetails, ModelView, NodeKind, NodeSource, NodeState, NodeView, Pressure,
    ServerFlavour, UnknownNodeKind, parameter_size,
};
pub use name::model_key;
pub use node_url::{NodeUrl, NodeUrlError};
pub use placement::{
    Placement, PlacementConfig, PlacementDeps, PlacementError, TakeDuty, Window, WindowError,
};
pub use registry::{
    AddedNode, CallFailure, CheckedNode, ClusterConfig, ClusterDeps, ConfigSync, EditedNode,
    Registry,
};
pub use rollouts::{
    ConfiguredNames, RolloutAnswer, RolloutChoice, RolloutError, RolloutSplit, RolloutVersion,
    Rollouts, RolloutsConfig, RolloutsDeps,
};
pub use snapshot::{FleetSnapshot, ReplicaRef};
pub use spec::{EMBEDDED_NAME, InvalidNode, NodeAddress, NodeEdit, NodeSpec};
