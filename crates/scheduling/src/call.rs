//! What a policy decides over: one call, and the candidates that have its model.

use primitives::{MonotonicTime, NodeId};
use serde::Serialize;

use crate::breaker::BreakerVerdict;
use crate::eligibility::Exclusion;
use crate::liveness::Health;
use crate::residency::RunVerdict;

/// The call to be placed, as far as placing it needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The model's name as the fleet knows it.
    pub model: &'a str,
    /// The prompt's size in tokens. An estimate: it is never trusted to the last quarter.
    pub prompt_tokens: u32,
    /// The most tokens the client wants back, when it said so.
    pub max_tokens: Option<u32>,
    /// The context size the client asks to be loaded, when it said so.
    pub num_ctx: Option<u32>,
    /// Chained hashes of the prompt's successive blocks, from [`block_hashes`](crate::block_hashes).
    pub prefix: &'a [u64],
    /// Tags that a node must all have.
    pub tags: &'a [String],
    /// The moment of the decision.
    pub now: MonotonicTime,
    /// Fresh random bits: break ties and decide when to explore.
    pub random: u64,
}

/// What is known about a model's presence on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Residency {
    /// In memory, ready to generate.
    Loaded {
        /// The context size it was loaded with, in tokens.
        context: Option<u32>,
    },
    /// Stored at the node: the first call pays for loading it.
    OnDisk,
    /// The node does not tell.
    #[default]
    Unknown,
}

/// One node that has the call's model, as it stands at the moment of the decision.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The node.
    pub node: NodeId,
    /// The node's name, for people.
    pub name: &'a str,
    /// Whether the model is in the node's memory.
    pub residency: Residency,
    /// Requests sent to the node that have not ended, over all models.
    pub in_flight: u32,
    /// Tokens that those requests are still expected to cost.
    pub queued_tokens: u64,
    /// The part of them that are prompts not read yet (sent, but no first token came). `None` when nobody counts them.
    pub pending_prompt_tokens: Option<u64>,
    /// Calls that wait in the gateway's queue for this node. Not part of `in_flight`; their tokens are in the two counts above.
    pub waiting: u32,
    /// Whether the node has no room now: a call chosen for it waits in the queue.
    pub full: bool,
    /// What the node's memory says to the call; a verdict without room makes the candidate full.
    pub memory: RunVerdict,
    /// Requests that the node works on at the same time, when known.
    pub slots: Option<u32>,
    /// The operator's ceiling for requests in flight at this node.
    pub max_in_flight: Option<u32>,
    /// Learned generation speed of one stream, tokens per second.
    pub decode_tokens_per_s: Option<f32>,
    /// Learned speed of reading prompts, tokens per second.
    pub prefill_tokens_per_s: Option<f32>,
    /// Learned time to the first token, milliseconds.
    pub ttft_ewma_ms: Option<f32>,
    /// Milliseconds without a sign of the node's work, when calls have waited for one much longer than expected
    /// ([`Silence::late_ms`](crate::Silence::late_ms)); otherwise 0.
    pub late_ms: f32,
    /// How many leading blocks of the call's prompt the node probably still has in its cache.
    pub prefix_blocks: u32,
    /// The largest context the model can have on this node, in tokens.
    pub context_max: Option<u32>,
    /// The model's size in bytes, when known: decides how long loading it takes.
    pub model_bytes: Option<u64>,
    /// Memory that the node has free for one more model, in bytes, when it tells.
    pub memory_free_bytes: Option<u64>,
    /// The operator's preference: 2.0 attracts about twice the work of 1.0. Taken within 0.01 to 100.
    pub weight: f32,
    /// What liveness says.
    pub health: Health,
    /// What the breaker of this (node, model) says.
    pub breaker: BreakerVerdict,
    /// Whether the node takes no new work.
    pub draining: bool,
    /// The node's tags.
    pub tags: &'a [String],
    /// Why the caller rules this candidate out, if it does.
    pub excluded: Option<Exclusion>,
}

impl<'a> Candidate<'a> {
    /// Makes an idle, healthy candidate about which nothing else is known.
    pub const fn new(node: NodeId, name: &'a str) -> Self {
        Self {
            node,
            name,
            residency: Residency::Unknown,
            in_flight: 0,
            queued_tokens: 0,
            pending_prompt_tokens: None,
            waiting: 0,
            full: false,
            memory: RunVerdict::Ready,
            slots: None,
            max_in_flight: None,
            decode_tokens_per_s: None,
            prefill_tokens_per_s: None,
            ttft_ewma_ms: None,
            late_ms: 0.0,
            prefix_blocks: 0,
            context_max: None,
            model_bytes: None,
            memory_free_bytes: None,
            weight: 1.0,
            health: Health::Alive,
            breaker: BreakerVerdict::Allow,
            draining: false,
            tags: &[],
            excluded: None,
        }
    }

    /// Returns the weight within its allowed range, so that no policy has to fear zero or NaN.
    pub(crate) fn effective_weight(&self) -> f32 {
        if self.weight.is_finite() {
            self.weight.clamp(0.01, 100.0)
        } else {
            1.0
        }
    }
}
