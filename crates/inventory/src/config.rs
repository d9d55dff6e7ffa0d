//! Bounds and patience of the inventory.

use std::time::Duration;

/// Bounds and patience.
#[derive(Clone, Copy, Debug)]
pub struct InventoryConfig {
    /// Whether callers without a credential may read and change the inventory.
    pub open: bool,
    /// The most calls that are carried out in one transaction, at least one.
    pub max_batch: usize,
    /// The most transactions at once, at least one. SQLite has one writer whatever stands here.
    pub writers: usize,
    /// Calls that must wait before another transaction begins beside one that is under way.
    pub batch_beside: usize,
    /// The most calls that wait.
    pub max_waiting: usize,
    /// How long a call may wait for its answer: when the line moves too slowly for that, further calls are refused.
    pub max_wait: Duration,
}

impl Default for InventoryConfig {
    fn default() -> Self {
        Self {
            open: false,
            max_batch: 96,
            writers: 2,
            batch_beside: 16,
            max_waiting: 4_096,
            max_wait: Duration::from_millis(60),
        }
    }
}
