//! What the dialects have in common on the way back: the events of a response, streamed or whole.

use std::time::Duration;

use crate::canonical::ResidencyChange;
use crate::error::ApiError;
use crate::vector::Vector;

/// One thing that a response says. A whole response is the list of its events.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A piece of the answer.
    Text(String),
    /// A piece of the model's thinking.
    Thinking(String),
    /// A piece of a function call.
    ToolCall(ToolCallDelta),
    /// Log probabilities of the tokens of the next [`Event::Text`].
    Logprobs(Vec<TokenLogprob>),
    /// Why the generation ended.
    Finish(FinishReason),
    /// What the call has cost. May come more than once; the last counts.
    Usage(Usage),
    /// One vector per input, in order.
    Embeddings(Vec<Vector>),
    /// Generation failed; nothing follows.
    Error(ApiError),
}

/// A piece of a function call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCallDelta {
    /// Which call of the answer this piece belongs to, from 0.
    pub index: u32,
    /// The call's id, in the first piece.
    pub id: Option<String>,
    /// The function's name, in the first piece.
    pub name: Option<String>,
    /// The next characters of the arguments' JSON text.
    pub arguments: String,
}

/// The log probability of a generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token as text.
    pub token: String,
    /// Its natural log probability.
    pub logprob: f64,
    /// Its bytes, where it is not a character of its own.
    pub bytes: Option<Vec<u8>>,
    /// The likeliest alternatives.
    pub top: Vec<AlternativeLogprob>,
}

/// The log probability of a token that might have been generated.
#[derive(Clone, Debug, PartialEq)]
pub struct AlternativeLogprob {
    /// The token as text.
    pub token: String,
    /// Its natural log probability.
    pub logprob: f64,
    /// Its bytes, where it is not a character of its own.
    pub bytes: Option<Vec<u8>>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model was done, or met a stop text.
    Stop,
    /// The token limit was reached.
    Length,
    /// The model waits for the results of its calls.
    ToolCalls,
    /// A filter cut the answer.
    ContentFilter,
    /// Nothing was generated: the model was loaded.
    Load,
    /// Nothing was generated: the model was unloaded.
    Unload,
}

impl FinishReason {
    /// Names the reason in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Load => "load",
            Self::Unload => "unload",
        }
    }
}

impl From<ResidencyChange> for FinishReason {
    fn from(change: ResidencyChange) -> Self {
        match change {
            ResidencyChange::Load => Self::Load,
            ResidencyChange::Unload => Self::Unload,
        }
    }
}

/// What a call has cost. Durations are the node's own, where it says them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens generated, thinking included.
    pub completion_tokens: u64,
    /// Prompt tokens that the node did not have to compute.
    pub cached_tokens: Option<u64>,
    /// Generated tokens that were thinking.
    pub reasoning_tokens: Option<u64>,
    /// The whole call.
    pub total_duration: Option<Duration>,
    /// Loading the model.
    pub load_duration: Option<Duration>,
    /// Reading the prompt.
    pub prompt_eval_duration: Option<Duration>,
    /// Generating.
    pub eval_duration: Option<Duration>,
}

impl Usage {
    /// Returns prompt and completion tokens together.
    pub const fn total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    /// Returns the usage of an answer whose first `emitted_tokens` came from another node: the node that finished it
    /// counted them as prompt.
    #[must_use]
    pub const fn continued_after(mut self, emitted_tokens: u64) -> Self {
        self.prompt_tokens = self.prompt_tokens.saturating_sub(emitted_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(emitted_tokens);
        // Of what the other node had cached, the answer's beginning is no part of the prompt.
        if let Some(cached) = self.cached_tokens
            && cached > self.prompt_tokens
        {
            self.cached_tokens = Some(self.prompt_tokens);
        }
        self
    }
}
