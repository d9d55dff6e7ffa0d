//! How much may wait, and what is said to whom it is too much for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::class::Class;

/// The queue's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueLimits {
    /// Calls of the class `system` that may wait.
    pub system: u32,
    /// Calls of the class `interactive` that may wait.
    pub interactive: u32,
    /// Calls of the class `default` that may wait.
    pub default: u32,
    /// Calls of the class `batch` that may wait.
    pub batch: u32,
    /// The share of a class's places that one organisation may fill, percent: whoever floods is refused before others are.
    pub organisation_percent: u32,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            system: 256,
            interactive: 10_000,
            default: 10_000,
            batch: 100_000,
            organisation_percent: 50,
        }
    }
}

impl QueueLimits {
    /// Returns how many calls of `class` may wait.
    pub const fn of(&self, class: Class) -> u32 {
        match class {
            Class::System => self.system,
            Class::Interactive => self.interactive,
            Class::Default => self.default,
            Class::Batch => self.batch,
        }
    }

    /// Returns how many calls of `class` one organisation may have waiting: at least one.
    pub fn per_organisation(&self, class: Class) -> u32 {
        let share = u64::from(self.of(class)) * u64::from(self.organisation_percent.min(100)) / 100;
        (share as u32).max(1)
    }
}

/// Why a call may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Too many calls of its class wait.
    ClassFull,
    /// Too many calls of its organisation wait.
    OrganisationFull,
}

/// The queue's answer to a call that may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} ({waiting} of {limit}): try again in {} s",
    match reason {
        RefusalReason::ClassFull => "too many requests are waiting",
        RefusalReason::OrganisationFull => "too many requests of your organisation are waiting",
    },
    retry_after.as_secs()
)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// How many wait.
    pub waiting: u32,
    /// How many may.
    pub limit: u32,
    /// When a place is likely to be free: 1 second to 1 minute.
    pub retry_after: Duration,
}
