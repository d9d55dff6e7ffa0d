//! `[inventory]`: parts with serial numbers, and how they are joined.

use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::Period;

/// The hardware inventory.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InventorySection {
    /// Whether anybody may read and change it without a key; not unless set.
    pub open: bool,
    /// The most calls that one transaction carries out; 96 unless set.
    pub max_batch: usize,
    /// The most transactions at once on PostgreSQL; 2 unless set. SQLite has one writer.
    pub writers: usize,
    /// The most calls that wait; 4,096 unless set. Beyond it further ones are refused with 503.
    pub max_waiting: usize,
    /// How long a call may wait for its answer; 60 ms unless set. When the line moves too slowly for that, further ones are refused.
    pub max_wait: Period,
}

impl Default for InventorySection {
    fn default() -> Self {
        Self {
            open: false,
            max_batch: 96,
            writers: 2,
            max_waiting: 4_096,
            max_wait: Period(std::time::Duration::from_millis(60)),
        }
    }
}

impl InventorySection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        for (key, count, most) in [
            ("max_batch", self.max_batch, 2_048),
            ("writers", self.writers, 64),
            ("max_waiting", self.max_waiting, 1_000_000),
        ] {
            if !(1..=most).contains(&count) {
                return Err(at.bad(["inventory", key], format!("must be 1 to {most}")));
            }
        }
        if !(1..=60_000).contains(&self.max_wait.0.as_millis()) {
            return Err(at.bad(["inventory", "max_wait"], "must be 1ms to 60s"));
        }
        Ok(())
    }
}
