//! What is wanted of models, as it is stored.

use std::time::Duration;

use primitives::{NodeId, Timestamp};
use scheduling::placement::{Desired, Mode};
use serde::{Deserialize, Serialize};

use crate::name::{MAX_BYTES, model_key};

/// The most nodes that can be asked for.
const MOST_NODES: u32 = 5_000;
/// The most labels, and the most pinned nodes.
const MOST_NAMED: usize = 100;
/// The most bytes of a label or region.
const LONGEST_LABEL: usize = 200;
/// The longest retention in days.
const LONGEST_RETENTION: u32 = 3_650;
/// The most GPU memory that can be asked for, in bytes.
const MOST_GPU_BYTES: u64 = 1 << 50;
/// The contexts that can be asked for, in tokens.
const CONTEXTS: std::ops::RangeInclusive<u32> = 256..=10_000_000;

/// What is wanted of a model, beside who sees to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    pub(crate) min_on_disk: u32,
    pub(crate) min_loaded: u32,
    pub(crate) max_loaded: Option<u32>,
    pub(crate) tags: Vec<String>,
    pub(crate) region: Option<String>,
    pub(crate) min_gpu_bytes: Option<u64>,
    pub(crate) pinned: Vec<NodeId>,
    pub(crate) keep_warm: bool,
    pub(crate) retention_days: Option<u32>,
    pub(crate) context: Option<u32>,
}

/// What is wanted of one model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) wanted: Wanted,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// A rule that a policy breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidPolicy {
    #[error(
        "a model's name has 1 to {MAX_BYTES} bytes and no control characters: write it as a node does, as \"llama3.2:3b\""
    )]
    Name,
    #[error("min_on_disk, min_loaded and max_loaded are at most {MOST_NODES}")]
    Nodes,
    #[error("max_loaded is less than min_loaded: make it larger, or leave it out")]
    MostLoaded,
    #[error("at most {MOST_NAMED} tags, of 1 to {LONGEST_LABEL} bytes")]
    Tags,
    #[error("a region has 1 to {LONGEST_LABEL} bytes")]
    Region,
    #[error("min_gpu_memory_bytes is at most {MOST_GPU_BYTES}, a pebibyte")]
    GpuMemory,
    #[error("at most {MOST_NAMED} nodes are pinned, each once")]
    Pinned,
    #[error("retention_days is 1 to {LONGEST_RETENTION}: leave it out to keep every copy")]
    Retention,
    #[error("context is {} to {} tokens", CONTEXTS.start(), CONTEXTS.end())]
    Context,
}

impl Policy {
    /// Checks and makes a policy.
    pub(crate) fn check(
        name: &str,
        mode: Mode,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Self, InvalidPolicy> {
        let label = |text: &String| (1..=LONGEST_LABEL).contains(&text.len());
        let named = !name.trim().is_empty()
            && name.len() <= MAX_BYTES
            && !name.chars().any(char::is_control);
        let counts = [
            wanted.min_on_disk,
            wanted.min_loaded,
            wanted.max_loaded.unwrap_or(0),
        ];
        let mut pinned = wanted.pinned.clone();
        pinned.sort_unstable();
        pinned.dedup();
        let rules = [
            (named, InvalidPolicy::Name),
            (
                counts.iter().all(|count| *count <= MOST_NODES),
                InvalidPolicy::Nodes,
            ),
            (
                wanted
                    .max_loaded
                    .is_none_or(|most| most >= wanted.min_loaded),
                InvalidPolicy::MostLoaded,
            ),
            (
                wanted.tags.len() <= MOST_NAMED && wanted.tags.iter().all(label),
                InvalidPolicy::Tags,
            ),
            (
                wanted.region.as_ref().is_none_or(label),
                InvalidPolicy::Region,
            ),
            (
                wanted
                    .min_gpu_bytes
                    .is_none_or(|bytes| bytes <= MOST_GPU_BYTES),
                InvalidPolicy::GpuMemory,
            ),
            (
                pinned.len() == wanted.pinned.len() && pinned.len() <= MOST_NAMED,
                InvalidPolicy::Pinned,
            ),
            (
                wanted
                    .retention_days
                    .is_none_or(|days| (1..=LONGEST_RETENTION).contains(&days)),
                InvalidPolicy::Retention,
            ),
            (
                wanted
                    .context
                    .is_none_or(|tokens| CONTEXTS.contains(&tokens)),
                InvalidPolicy::Context,
            ),
        ];
        if let Some((_, broken)) = rules.into_iter().find(|(kept, _)| !kept) {
            return Err(broken);
        }
        Ok(Self {
            key: model_key(name).into_owned(),
            name: name.to_owned(),
            mode,
            wanted,
            created_at: now,
            updated_at: now,
        })
    }

    /// Returns it in the planner's words.
    pub(crate) fn desired(&self) -> Desired {
        let wanted = &self.wanted;
        Desired {
            key: self.key.clone(),
            name: self.name.clone(),
            mode: self.mode,
            min_on_disk: wanted.min_on_disk,
            min_loaded: wanted.min_loaded,
            max_loaded: wanted.max_loaded,
            tags: wanted.tags.clone(),
            region: wanted.region.clone(),
            min_gpu_bytes: wanted.min_gpu_bytes,
            pinned: wanted.pinned.clone(),
            keep_warm: wanted.keep_warm,
            retention: wanted
                .retention_days
                .map(|days| Duration::from_hours(24) * days),
            context: wanted.context,
        }
    }
}
