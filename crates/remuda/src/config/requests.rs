//! `[requests]`: the records that `remuda requests` and `remuda why` read.

use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::Period;

/// Request records.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestsSection {
    /// How long records are kept; 30 days unless set.
    pub retention: Period,
    /// How many records wait in memory while the database is away; 50,000 unless set. Beyond it further ones are dropped and counted.
    pub buffer: usize,
}

impl Default for RequestsSection {
    fn default() -> Self {
        Self {
            retention: Period::days(30),
            buffer: 50_000,
        }
    }
}

impl RequestsSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        if self.retention < Period::seconds(60) {
            return Err(at.bad(["requests", "retention"], "must be at least one minute"));
        }
        if !(100..=10_000_000).contains(&self.buffer) {
            return Err(at.bad(["requests", "buffer"], "must be 100 to 10000000 records"));
        }
        Ok(())
    }
}
