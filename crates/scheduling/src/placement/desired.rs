//! What is wanted of a model.

use std::time::Duration;

use primitives::NodeId;
use serde::{Deserialize, Serialize};

/// Who carries out what is planned for a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Remuda, by itself.
    Auto,
    /// Remuda, once a person has said so.
    #[default]
    Suggest,
    /// Nobody: nothing is planned.
    Off,
}

impl Mode {
    /// Returns the name used in the database and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Suggest => "suggest",
            Self::Off => "off",
        }
    }

    /// Reads the name back.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Auto, Self::Suggest, Self::Off]
            .into_iter()
            .find(|mode| mode.as_str() == name)
    }
}

/// What is wanted of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The name under which all spellings of it count as one.
    pub key: String,
    /// The name that a node is asked for.
    pub name: String,
    /// Who carries out what is planned.
    pub mode: Mode,
    /// Nodes that have its files, at least.
    pub min_on_disk: u32,
    /// Nodes that have it in memory, at least.
    pub min_loaded: u32,
    /// Nodes that have it in memory at most, by demand; demand adds none when absent.
    pub max_loaded: Option<u32>,
    /// Labels that a node must have, all of them.
    pub tags: Vec<String>,
    /// The region that a node must be in.
    pub region: Option<String>,
    /// The GPU memory that a node must have in total, in bytes.
    pub min_gpu_bytes: Option<u64>,
    /// Nodes that have it whatever else is wanted, and keep it.
    pub pinned: Vec<NodeId>,
    /// Whether it is in memory on its pinned nodes, or on one node where none is pinned, whatever the demand.
    pub keep_warm: bool,
    /// How long a copy beyond what is wanted stays unused until it may go; for good when absent.
    pub retention: Option<Duration>,
    /// The context that it is loaded with, in tokens; what the node chooses when absent.
    pub context: Option<u32>,
}

impl Desired {
    /// Tells how many nodes have it in memory with `extra` of them for the demand.
    pub fn loaded_with(&self, extra: u32) -> u32 {
        let warm = match (self.keep_warm, self.pinned.len()) {
            (false, _) => 0,
            (true, pinned) => u32::try_from(pinned.max(1)).unwrap_or(u32::MAX),
        };
        let least = self.min_loaded.max(warm);
        let most = self.max_loaded.unwrap_or(least).max(least);
        least.saturating_add(extra).min(most)
    }

    /// Tells how many nodes have its files when so many have it in memory.
    pub fn on_disk_with(&self, loaded: u32) -> u32 {
        let pinned = u32::try_from(self.pinned.len()).unwrap_or(u32::MAX);
        self.min_on_disk.max(loaded).max(pinned)
    }

    /// Tells whether a node has it whatever else is wanted.
    pub fn pins(&self, node: NodeId) -> bool {
        self.pinned.contains(&node)
    }
}
