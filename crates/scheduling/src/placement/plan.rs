//! A plan: what to do where, why, and what could not be planned.

use std::sync::Arc;

use primitives::NodeId;

use super::desired::Mode;
use super::drift::Drift;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionKind {
    /// A model is taken from memory.
    Unload,
    /// A model's files are fetched from where models come from.
    Pull,
    /// A model's files are fetched from another node.
    Copy,
    /// A model is brought into memory, to stay.
    Load,
    /// A model's files are deleted.
    Delete,
}

impl ActionKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Unload,
        Self::Pull,
        Self::Copy,
        Self::Load,
        Self::Delete,
    ];

    /// Returns the name used in the database, in JSON and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unload => "unload",
            Self::Pull => "pull",
            Self::Copy => "copy",
            Self::Load => "load",
            Self::Delete => "delete",
        }
    }

    /// Reads the name back.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One thing to do at one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub kind: ActionKind,
    /// The model's key.
    pub key: String,
    /// The name that the node is asked for.
    pub model: Arc<str>,
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub node_name: Arc<str>,
    /// The node that files are copied from.
    pub from: Option<NodeId>,
    /// The context to load with, in tokens; what the node chooses when absent.
    pub context: Option<u32>,
    /// The model whose rule asks for it.
    pub cause: String,
    /// Who carries it out.
    pub mode: Mode,
    /// Why, for people.
    pub why: String,
    /// Bytes of disk or memory that it takes or gives back, where they are known.
    pub bytes: Option<u64>,
    /// What is different afterwards, for people.
    pub effect: String,
}

/// Something that is wanted and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The model's key.
    pub key: String,
    /// What is missing, and why, for people.
    pub reason: String,
}

/// What to do, in the order in which it can be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do.
    pub actions: Vec<Action>,
    /// What could not be planned.
    pub unmet: Vec<Unmet>,
    /// Models with different files under one name, whatever is wanted of them.
    pub drift: Vec<Drift>,
}

impl Plan {
    /// Tells whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}
