//! What a plan is made of: nodes with their memory, disks and models, and what is known of the models.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use primitives::{NodeId, Timestamp};

use super::desired::Desired;
use super::fit::{ModelShape, memory_bytes};

/// The fleet at one moment, as plain values.
#[derive(Clone, Debug, Default)]
pub struct FleetView {
    /// The time now.
    pub now: Timestamp,
    /// What is known of a node counts for so long. 30 s by default.
    pub fresh_for: Duration,
    /// A model that was used within this time is not taken from memory.
    pub quiet_for: Duration,
    /// A node that has not answered for so long does not count as one that has files.
    pub absent_for: Duration,
    /// Its nodes, each once.
    pub nodes: Vec<Node>,
    /// What is wanted, each model once.
    pub desired: Vec<Desired>,
    /// What is known of models, by key.
    pub facts: BTreeMap<String, ModelFacts>,
    /// How many nodes beyond the least have a model in memory for the demand, by key.
    pub extra: BTreeMap<String, u32>,
}

/// Whether a node can be given something to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    #[default]
    Usable,
    /// It finishes what it has.
    Draining,
    /// It does not answer.
    Unreachable,
    /// Its server knows no commands about models.
    Fixed,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: Arc<str>,
    /// Its labels.
    pub tags: Vec<String>,
    /// Where it stands.
    pub region: Option<String>,
    /// Whether it can be given something to do.
    pub standing: Standing,
    /// When it last answered; never when absent.
    pub seen_at: Option<Timestamp>,
    /// GPU memory in total, in bytes, where it is known.
    pub gpu_bytes: Option<u64>,
    /// Memory that models can be in, in total, where it is known: of the GPUs, or of the machine where there is none.
    pub memory_bytes: Option<u64>,
    /// What of it is free, where it is known.
    pub memory_free_bytes: Option<u64>,
    /// What of the disk with the models is free, where it is known.
    pub disk_free_bytes: Option<u64>,
    /// Whether it gives files of models to other nodes that do the same, and takes them.
    pub shares_files: bool,
    /// Its models.
    pub copies: Vec<Copy>,
    /// Models that it lately failed to get or load, with the time from which another try may be made.
    pub failing: BTreeMap<String, Timestamp>,
}

/// A model at a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// The model's key.
    pub key: String,
    /// The name as the node writes it.
    pub name: Arc<str>,
    /// The digest of its files, where the node tells.
    pub digest: Option<Arc<str>>,
    /// The size of its files in bytes.
    pub size_bytes: Option<u64>,
    /// When its files were fetched or made.
    pub modified_at: Option<Timestamp>,
    /// How it is in memory; `None` when it is not.
    pub in_memory: Option<InMemory>,
    /// Whether calls run on it.
    pub in_use: bool,
    /// When a call on it last ended, as far as that is remembered.
    pub last_used: Option<Timestamp>,
    /// Whether its files are only on their way.
    pub arriving: bool,
}

/// A model in a node's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InMemory {
    /// What it takes, in bytes, where the node tells.
    pub bytes: Option<u64>,
    /// The context that it is loaded with.
    pub context: Option<u32>,
    /// Whether it stays until it is told to go.
    pub stays: bool,
}

/// What is known of a model, wherever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// The size of its files in bytes.
    pub weights_bytes: Option<u64>,
    /// What its metadata says of its layers.
    pub shape: Option<ModelShape>,
    /// The largest context that it can have.
    pub max_context: Option<u32>,
}

impl InMemory {
    /// Tells whether it has at least the wanted context, as far as the node tells.
    pub(super) fn has_context(&self, wanted: Option<u32>) -> bool {
        match (wanted, self.context) {
            (Some(wanted), Some(has)) => has >= wanted,
            _ => true,
        }
    }
}

impl Node {
    /// Finds its copy of a model.
    pub fn find_copy(&self, key: &str) -> Option<&Copy> {
        self.copies.iter().find(|copy| copy.key == key)
    }

    pub(super) fn copy_mut(&mut self, key: &str) -> Option<&mut Copy> {
        self.copies.iter_mut().find(|copy| copy.key == key)
    }

    /// Tells whether it has all of a model's files.
    pub fn has(&self, key: &str) -> bool {
        self.find_copy(key).is_some_and(|copy| !copy.arriving)
    }

    /// Tells what of its memory is free; `None` when nobody knows.
    pub fn free_bytes(&self) -> Option<u64> {
        self.memory_free_bytes.or_else(|| {
            let held: u64 = self
                .copies
                .iter()
                .filter_map(|copy| copy.in_memory)
                .map(|memory| memory.bytes)
                .sum::<Option<u64>>()?;
            Some(self.memory_bytes?.saturating_sub(held))
        })
    }

    /// Tells whether it is one that a model may be on.
    pub fn suits(&self, desired: &Desired) -> bool {
        desired.pins(self.id)
            || (desired.tags.iter().all(|tag| self.tags.contains(tag))
                && desired
                    .region
                    .as_ref()
                    .is_none_or(|region| self.region.as_ref() == Some(region))
                && desired
                    .min_gpu_bytes
                    .is_none_or(|least| self.gpu_bytes.is_some_and(|bytes| bytes >= least)))
    }
}

impl FleetView {
    /// Finds a node.
    pub fn find_node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id == id)
    }

    /// Tells whether what is known of a node still counts.
    pub fn is_fresh(&self, node: &Node) -> bool {
        node.seen_at
            .is_some_and(|seen| self.now.since(seen) <= self.fresh_for)
    }

    /// Tells whether a node can be given something to do now.
    pub fn is_usable(&self, node: &Node) -> bool {
        node.standing == Standing::Usable && self.is_fresh(node)
    }

    /// Tells whether a node's files count: it can be given something to do, or has been away only for a while.
    pub(super) fn counts_files_of(&self, node: &Node) -> bool {
        match node.standing {
            Standing::Draining | Standing::Fixed => false,
            Standing::Usable | Standing::Unreachable => node
                .seen_at
                .is_some_and(|seen| self.now.since(seen) <= self.absent_for),
        }
    }

    /// Finds what is wanted of a model.
    pub fn find_desired(&self, key: &str) -> Option<&Desired> {
        self.desired.iter().find(|desired| desired.key == key)
    }

    /// Tells how many nodes should have a model in memory.
    pub fn wanted_loaded(&self, desired: &Desired) -> u32 {
        desired.loaded_with(self.extra.get(&desired.key).copied().unwrap_or(0))
    }

    /// Returns the context that a model is loaded with: what is asked for, as far as it can have it.
    pub fn wanted_context(&self, desired: &Desired) -> Option<u32> {
        let most = self
            .facts
            .get(&desired.key)
            .and_then(|facts| facts.max_context);
        let wanted = desired.context?;
        Some(most.map_or(wanted, |most| wanted.min(most)))
    }

    /// Tells whether a node has a model in memory to stay, with at least the wanted context.
    pub(super) fn is_kept(&self, node: &Node, desired: &Desired) -> bool {
        let wanted = self.wanted_context(desired);
        node.find_copy(&desired.key)
            .and_then(|copy| copy.in_memory)
            .is_some_and(|memory| memory.stays && memory.has_context(wanted))
    }

    /// Returns the size of a model's files, from any node that has them.
    pub fn weights_bytes(&self, key: &str) -> Option<u64> {
        let told = self.facts.get(key).and_then(|facts| facts.weights_bytes);
        let seen = || self.copies(key).filter_map(|(_, copy)| copy.size_bytes);
        told.or_else(|| seen().max())
    }

    /// Estimates what a model takes in memory: what it was seen to take at this context, or else from its metadata, corrected by what it
    /// was seen to take at another.
    pub fn needed_bytes(&self, key: &str, context: Option<u32>) -> Option<u64> {
        let facts = self.facts.get(key);
        let most = facts.and_then(|facts| facts.max_context);
        let wanted = context
            .unwrap_or(DEFAULT_CONTEXT)
            .min(most.unwrap_or(u32::MAX));
        let seen: Vec<(u32, u64)> = self
            .copies(key)
            .filter_map(|(_, copy)| {
                let memory = copy.in_memory?;
                Some((memory.context.unwrap_or(DEFAULT_CONTEXT), memory.bytes?))
            })
            .collect();
        let alike = seen.iter().filter(|(context, _)| *context == wanted);
        if let Some(bytes) = alike.map(|(_, bytes)| *bytes).max() {
            return Some(bytes);
        }
        let weights = self.weights_bytes(key)?;
        let shape = facts.and_then(|facts| facts.shape.as_ref());
        let estimate = memory_bytes(weights, shape, wanted);
        let observed = seen.iter().map(|(context, bytes)| {
            *bytes as f64 / memory_bytes(weights, shape, *context).max(1) as f64
        });
        // An observation far off says something else: files that changed, a part that the node does not tell of.
        let factor = observed
            .reduce(f64::max)
            .map_or(1.0, |by| by.clamp(0.5, 2.0));
        Some((estimate as f64 * factor) as u64)
    }

    fn copies(&self, key: &str) -> impl Iterator<Item = (&Node, &Copy)> {
        self.nodes
            .iter()
            .filter_map(move |node| Some((node, node.find_copy(key)?)))
    }
}

/// The context that a model is loaded with where nobody asks for another: Ollama's default.
const DEFAULT_CONTEXT: u32 = 4_096;
