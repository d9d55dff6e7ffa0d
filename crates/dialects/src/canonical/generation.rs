//! How an answer is generated: sampling, shape, thinking, streaming.

use crate::json::{Fields, Json};

/// What chat and completion requests share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// How tokens are chosen and when generation stops.
    pub sampling: Sampling,
    /// The shape the answer must have.
    pub format: Option<Format>,
    /// Whether and how hard the model thinks first.
    pub think: Option<Think>,
    /// Asks for log probabilities with this many alternatives per token (0: of the chosen token only).
    pub logprobs: Option<u8>,
    /// Whether the response is streamed.
    pub stream: bool,
    /// Whether a stream ends with usage (OpenAI's `stream_options.include_usage`).
    pub include_usage: bool,
    /// Ollama's `keep_alive`, word for word.
    pub keep_alive: Option<Json>,
    /// Ollama's options that are not sampling (`num_ctx`, `num_gpu`, …) and those we don't know.
    pub node_options: Fields,
    /// Fields that only the source operation knows, word for word.
    pub extensions: Fields,
}

/// How tokens are chosen and when generation stops. Absent: the server's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Randomness, from 0.
    pub temperature: Option<f64>,
    /// Nucleus size, 0 to 1.
    pub top_p: Option<f64>,
    /// How many of the likeliest tokens are considered.
    pub top_k: Option<i64>,
    /// The least probability relative to the likeliest token, 0 to 1.
    pub min_p: Option<f64>,
    /// Locally typical sampling, 0 to 1.
    pub typical_p: Option<f64>,
    /// The random seed.
    pub seed: Option<i64>,
    /// Texts that end the generation.
    pub stop: Vec<String>,
    /// The most tokens to generate; negative in Ollama for no limit.
    pub max_tokens: Option<i64>,
    /// Penalty for repeated tokens; 1 is none.
    pub repeat_penalty: Option<f64>,
    /// How many tokens back a repetition counts.
    pub repeat_last_n: Option<i64>,
    /// Penalty for tokens that appeared.
    pub presence_penalty: Option<f64>,
    /// Penalty for tokens by how often they appeared.
    pub frequency_penalty: Option<f64>,
    /// How many answers to make.
    pub n: Option<u32>,
    /// OpenAI's bias by token id, word for word.
    pub logit_bias: Option<Json>,
}

impl Sampling {
    /// Names the settings that are there and do something: neutral values are not among them.
    pub(crate) fn used(&self) -> impl Iterator<Item = &'static str> {
        let differs = |setting: Option<f64>, neutral: f64| {
            setting.is_some_and(|value| (value - neutral).abs() > f64::EPSILON)
        };
        [
            ("temperature", self.temperature.is_some()),
            ("top_p", differs(self.top_p, 1.0)),
            ("top_k", self.top_k.is_some()),
            ("min_p", differs(self.min_p, 0.0)),
            ("typical_p", differs(self.typical_p, 1.0)),
            ("seed", self.seed.is_some()),
            ("stop", !self.stop.is_empty()),
            ("max_tokens", self.max_tokens.is_some()),
            ("repeat_penalty", differs(self.repeat_penalty, 1.0)),
            ("repeat_last_n", self.repeat_last_n.is_some()),
            ("presence_penalty", differs(self.presence_penalty, 0.0)),
            ("frequency_penalty", differs(self.frequency_penalty, 0.0)),
            ("n", self.n.is_some_and(|n| n > 1)),
            ("logit_bias", self.logit_bias.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, used)| used.then_some(name))
    }
}

/// The shape that an answer must have.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Any JSON object.
    Json,
    /// JSON that follows a schema.
    Schema {
        /// The schema, word for word.
        schema: Json,
        /// OpenAI's name for it.
        name: Option<String>,
        /// OpenAI's description of it.
        description: Option<String>,
        /// Whether the schema must be followed exactly.
        strict: Option<bool>,
    },
}

/// Whether and how hard a model thinks before it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Think {
    /// As the model does by default.
    On,
    /// Not at all.
    Off,
    /// With this effort, as `low`, `medium`, `high`.
    Level(String),
}
