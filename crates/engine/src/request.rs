//! What callers ask for: texts to generate and texts to embed.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::EngineError;

/// One text to generate.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    /// The model's name, case-insensitive; `:latest` may be left out.
    pub model: String,
    /// What to continue.
    pub prompt: Prompt,
    /// How to choose tokens and when to stop.
    pub sampling: SamplingParams,
    /// Context in tokens, bounded by the model and by [`crate::EngineConfig::max_context`]. `None` takes that bound.
    pub num_ctx: Option<usize>,
    /// How long the model stays in memory afterwards.
    pub keep_alive: KeepAlive,
}

/// How long a model stays in memory when nobody uses it after a request. The last request decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepAlive {
    /// For [`crate::EngineConfig::idle_unload`].
    #[default]
    AsConfigured,
    /// For this time; zero takes it out as soon as it is idle.
    For(Duration),
    /// As long as the engine runs.
    Forever,
}

/// The text before the answer.
#[derive(Clone, Debug)]
pub enum Prompt {
    /// A conversation, rendered through the model's chat template.
    Chat(ChatPrompt),
    /// Text given to the model as it is; special tokens written in it are recognised.
    Raw(String),
}

/// A conversation and what else its template may show.
#[derive(Clone, Debug, Default)]
pub struct ChatPrompt {
    /// The turns, oldest first.
    pub messages: Vec<ChatTurn>,
    /// Whether the last turn is an assistant's unfinished text that the answer continues in place.
    pub continue_last: bool,
    /// Tool definitions for the template, as JSON in the form that `OpenAI` clients send.
    pub tools: Option<Value>,
    /// The template variable `enable_thinking`; `None` leaves it undefined.
    pub think: Option<bool>,
}

/// One turn of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatTurn {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text.
    pub content: String,
    /// Further fields for the template, such as `tool_calls` or `name`.
    pub extra: Map<String, Value>,
}

impl ChatTurn {
    /// Makes a turn of plain text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            extra: Map::new(),
        }
    }
}

/// How tokens are chosen. [`Default`] holds the values that Ollama's users expect.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// 0 always takes the likeliest token; higher values flatten the distribution.
    pub temperature: f32,
    /// Keeps only this many likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Drops tokens less likely than this share of the likeliest one; 0 drops none.
    pub min_p: f32,
    /// Divides the scores of recent tokens; 1 does nothing.
    pub repeat_penalty: f32,
    /// How many recent tokens the three penalties look at; 0 disables them, -1 means the whole context.
    pub repeat_last_n: i64,
    /// Subtracted once from the score of every recent token.
    pub presence_penalty: f32,
    /// Subtracted from a recent token's score per occurrence.
    pub frequency_penalty: f32,
    /// Makes sampling repeatable. `None` draws a fresh seed.
    pub seed: Option<u64>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// The most tokens to generate; `None` or a negative number means until the context is full.
    pub num_predict: Option<i64>,
    /// Reports the log probability of each token and of this many alternatives.
    pub logprobs: Option<u8>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.0,
            repeat_penalty: 1.1,
            repeat_last_n: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            stop: Vec::new(),
            num_predict: None,
            logprobs: None,
        }
    }
}

impl SamplingParams {
    /// The most stop texts in one request.
    pub const MAX_STOPS: usize = 64;

    /// Refuses values that no token could be chosen with.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let reals = [
            ("temperature", self.temperature),
            ("top_p", self.top_p),
            ("min_p", self.min_p),
            ("repeat_penalty", self.repeat_penalty),
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
        ];
        if let Some((name, value)) = reals.into_iter().find(|(_, value)| !value.is_finite()) {
            return Err(EngineError::Invalid(format!(
                "{name} is {value}, which is not a usable number"
            )));
        }
        if self.stop.len() > Self::MAX_STOPS {
            return Err(EngineError::Invalid(format!(
                "at most {} stop texts are allowed",
                Self::MAX_STOPS
            )));
        }
        Ok(())
    }
}

/// Texts to embed.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    /// The model's name.
    pub model: String,
    /// The texts, at most [`EmbedRequest::MAX_INPUTS`].
    pub inputs: Vec<String>,
    /// Whether a text longer than the context is cut; otherwise it is refused.
    pub truncate: bool,
    /// How long the model stays in memory afterwards.
    pub keep_alive: KeepAlive,
}

impl EmbedRequest {
    /// The most texts in one request.
    pub const MAX_INPUTS: usize = 2048;
}

/// One vector per input text, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// Vectors of length 1 (Euclidean).
    pub vectors: Vec<Vec<f32>>,
    /// Tokens read, over all inputs.
    pub prompt_tokens: u64,
    /// How long loading the model took for this request; zero when it was loaded.
    pub load: Duration,
    /// How long the computation took.
    pub eval: Duration,
}
