//! The staged roll-out of a new version of a model: when it goes on, when it waits and when it is taken back.
//!
//! [`decide`] is a function of what was observed and of the time. Whatever it says can be said again: it remembers nothing.

mod decision;
mod first_tokens;
mod interval;
mod stage;

use std::fmt;
use std::time::Duration;

pub use decision::{Fault, Hold, Moment, Next, Verdict, decide};
pub use first_tokens::{FirstTokens, LAST_BIN};
pub use stage::{InvalidStages, MOST_STAGES, Stage, Stages};

/// When a roll-out goes on and when it is taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// How long each stage lasts at least.
    pub hold: Duration,
    /// How many requests of the new version each stage sees at least, of those that count.
    pub min_requests: u64,
    /// The share of requests that may fail, 0 to 1.
    pub max_error_rate: f64,
    /// How many times the old version's median time to the first token the new one's may be; absent: any.
    pub max_slower: Option<f64>,
}

/// What was seen of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Requests that were answered in full.
    pub ok: u64,
    /// Requests that failed, or whose answer broke off. What was the client's fault, or was cancelled by the client, is in neither.
    pub failed: u64,
    /// The times to the first token.
    pub first_tokens: FirstTokens,
}

impl Observed {
    /// Returns how many requests count.
    pub const fn counted(&self) -> u64 {
        self.ok.saturating_add(self.failed)
    }

    /// Returns the share of them that failed, 0 to 1; nothing without requests.
    pub fn error_rate(&self) -> Option<f64> {
        (self.counted() > 0).then(|| self.failed as f64 / self.counted() as f64)
    }

    /// Adds what was seen elsewhere or at another time.
    pub fn add(&mut self, other: &Self) {
        self.ok = self.ok.saturating_add(other.ok);
        self.failed = self.failed.saturating_add(other.failed);
        self.first_tokens.add(&other.first_tokens);
    }
}

/// Writes a share of 0 to 1 as percent.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        if (percent - percent.round()).abs() < 0.05 {
            write!(f, "{percent:.0} %")
        } else {
            write!(f, "{percent:.1} %")
        }
    }
}
