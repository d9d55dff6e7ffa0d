//! `[coalescing]`: how embedding requests of several clients share calls to a node.

use std::time::Duration;

use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::{ByteSize, Period};

/// How embedding requests share calls.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoalescingSection {
    /// Whether they do; true unless set.
    pub enabled: bool,
    /// How long a request waits for others while a call for the same model and options is under way; 3 ms unless set.
    pub window: Period,
    /// The most inputs of one call; 64 unless set. A request with more is divided over the model's nodes.
    pub max_inputs: usize,
    /// The most bytes of text of one call; 1 MiB unless set. As `max_inputs`.
    pub max_bytes: ByteSize,
}

impl Default for CoalescingSection {
    fn default() -> Self {
        Self {
            enabled: true,
            window: Period(Duration::from_millis(3)),
            max_inputs: 64,
            max_bytes: ByteSize::mebibytes(1),
        }
    }
}

impl CoalescingSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        if self.window.0 > Duration::from_secs(1) {
            return Err(at.bad(["coalescing", "window"], "must be at most 1s"));
        }
        if !(1..=2048).contains(&self.max_inputs) {
            return Err(at.bad(["coalescing", "max_inputs"], "must be 1 to 2048"));
        }
        if !(1..=32 << 20).contains(&self.max_bytes.0) {
            return Err(at.bad(["coalescing", "max_bytes"], "must be 1 byte to 32MiB"));
        }
        Ok(())
    }
}
