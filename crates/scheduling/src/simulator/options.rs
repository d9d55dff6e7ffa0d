//! How a trace is replayed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::queue::QueueLimits;
use crate::residency::HoldRule;

/// How a trace is replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How many times as fast as recorded the requests arrive.
    pub rate: f64,
    /// Decides everything that is random.
    pub seed: u64,
    /// Tenants that requests are divided over where the trace names none. Requests of one conversation stay together.
    pub tenants: u32,
    /// The tenant 0 sends this many times as many requests as recorded.
    pub flood: Option<u32>,
    /// What counts as served well.
    pub slo: Slo,
    /// The queue's bounds.
    pub limits: QueueLimits,
    /// How long a node stays with the model it has.
    pub hold: HoldRule,
    /// Blocks of prompts that the router believes each node's cache to hold. Without it the nodes tell.
    pub prefix_blocks: Option<usize>,
}

/// What counts as served well.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// The longest time to the first token.
    pub first_token: Duration,
    /// The longest mean time for each further token.
    pub per_token: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate: 1.0,
            seed: 1,
            tenants: 16,
            flood: None,
            slo: Slo {
                first_token: Duration::from_secs(5),
                per_token: Duration::from_millis(100),
            },
            limits: QueueLimits {
                default: 1_000_000,
                organisation_percent: 100,
                ..QueueLimits::default()
            },
            hold: HoldRule::default(),
            prefix_blocks: None,
        }
    }
}
