//! `[probes]`: how often and how long nodes are probed.

use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::Period;

/// How often and how long nodes are probed.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbesSection {
    /// The time between two probes of a node; 10 s unless set.
    pub interval: Period,
    /// The longest wait for one answer of a probe; 5 s unless set.
    pub timeout: Period,
    /// The longest wait for the one-token check of a doubtful node; 60 s unless set, since it may have to load the model.
    pub check_timeout: Period,
}

impl Default for ProbesSection {
    fn default() -> Self {
        Self {
            interval: Period::seconds(10),
            timeout: Period::seconds(5),
            check_timeout: Period::seconds(60),
        }
    }
}

impl ProbesSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        for (key, period) in [
            ("interval", self.interval),
            ("timeout", self.timeout),
            ("check_timeout", self.check_timeout),
        ] {
            if period.0.as_millis() < 10 || period > Period::seconds(3600) {
                return Err(at.bad(["probes", key], "must be 10 ms to 1 h"));
            }
        }
        Ok(())
    }
}
