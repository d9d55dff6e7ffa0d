//! The fleet at one moment: immutable, shared, and all that the inference path ever reads of it.

use std::collections::HashMap;
use std::sync::Arc;

use primitives::NodeId;

use crate::model::{ModelView, NodeView};
use crate::name::model_key;
use crate::rollouts::RolloutSplit;

/// Where one model stands: positions within the snapshot that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaRef {
    /// Position in [`FleetSnapshot::nodes`].
    pub node: usize,
    /// Position in that node's models.
    pub model: usize,
}

/// All nodes with their models at one moment.
#[derive(Clone, Debug, Default)]
pub struct FleetSnapshot {
    /// Counts changes: a later snapshot has a higher number.
    pub generation: u64,
    /// The nodes, by name.
    pub nodes: Vec<Arc<NodeView>>,
    /// Every model under its [`model_key`], with the nodes that have it, whatever their state.
    pub by_model: HashMap<String, Vec<ReplicaRef>>,
    /// How the callers of some names are divided by roll-outs.
    pub rollouts: Arc<[RolloutSplit]>,
    by_id: HashMap<NodeId, usize>,
}

impl FleetSnapshot {
    /// Makes the snapshot of these nodes. The first of two nodes with one id counts.
    pub fn new(generation: u64, mut nodes: Vec<Arc<NodeView>>) -> Self {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let mut by_model: HashMap<String, Vec<ReplicaRef>> = HashMap::new();
        let mut by_id = HashMap::with_capacity(nodes.len());
        for (position, node) in nodes.iter().enumerate() {
            by_id.entry(node.id).or_insert(position);
            for (model, view) in node.models.iter().enumerate() {
                let replicas = by_model
                    .entry(model_key(&view.name).into_owned())
                    .or_default();
                let replica = ReplicaRef {
                    node: position,
                    model,
                };
                // A node that lists two spellings of one name has it once.
                if replicas.last().is_none_or(|last| last.node != position) {
                    replicas.push(replica);
                }
            }
        }
        Self {
            generation,
            nodes,
            by_model,
            rollouts: Arc::default(),
            by_id,
        }
    }

    /// Returns the snapshot with the splits of roll-outs.
    #[must_use]
    pub fn with_rollouts(self, rollouts: Arc<[RolloutSplit]>) -> Self {
        Self { rollouts, ..self }
    }

    /// Returns where a model stands, however its name is spelled. Empty when nobody has it.
    pub fn replicas(&self, model: &str) -> &[ReplicaRef] {
        self.by_model
            .get(model_key(model).as_ref())
            .map_or(&[], Vec::as_slice)
    }

    /// Returns the node and model that a replica of this snapshot stands for.
    pub fn resolve(&self, replica: ReplicaRef) -> Option<(&Arc<NodeView>, &ModelView)> {
        let node = self.nodes.get(replica.node)?;
        Some((node, node.models.get(replica.model)?))
    }

    /// Finds a node by its id.
    pub fn find_node(&self, id: NodeId) -> Option<&Arc<NodeView>> {
        self.nodes.get(*self.by_id.get(&id)?)
    }

    /// Finds a node by its name.
    pub fn find_node_named(&self, name: &str) -> Option<&Arc<NodeView>> {
        self.nodes
            .binary_search_by(|node| (*node.name).cmp(name))
            .ok()
            .and_then(|position| self.nodes.get(position))
    }
}
