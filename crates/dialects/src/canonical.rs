//! What the dialects have in common: a request that says all that any of them can say.
//!
//! Every decoder makes one of these, every encoder starts from one. What only one dialect knows stays in `extensions`,
//! word for word, so that an encoder can pass it on or refuse it, but never lose it.

use crate::error::ApiError;
use crate::json::{Fields, Json};
use crate::media::image_type;
use crate::operation::{Operation, Task};

/// A decoded request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A conversation to be answered.
    Chat(Box<ChatRequest>),
    /// A prompt to be continued or answered.
    Completion(Box<CompletionRequest>),
    /// Texts to be embedded.
    Embed(Box<EmbedRequest>),
}

impl Request {
    /// Returns the kind of model work.
    pub const fn task(&self) -> Task {
        match self {
            Self::Chat(_) => Task::Chat,
            Self::Completion(_) => Task::Completion,
            Self::Embed(_) => Task::Embedding,
        }
    }

    /// Returns the operation in which the client wrote the request.
    pub const fn source(&self) -> Operation {
        match self {
            Self::Chat(chat) => chat.source,
            Self::Completion(completion) => completion.source,
            Self::Embed(embed) => embed.source,
        }
    }

    /// Returns the model's name, as the client wrote it until [`Request::set_model`] is called.
    pub fn model(&self) -> &str {
        match self {
            Self::Chat(chat) => &chat.model,
            Self::Completion(completion) => &completion.model,
            Self::Embed(embed) => &embed.model,
        }
    }

    /// Puts the name by which the node knows the model.
    pub fn set_model(&mut self, model: &str) {
        let place = match self {
            Self::Chat(chat) => &mut chat.model,
            Self::Completion(completion) => &mut completion.model,
            Self::Embed(embed) => &mut embed.model,
        };
        model.clone_into(place);
    }

    /// Tells whether the response is to be streamed.
    pub const fn stream(&self) -> bool {
        match self {
            Self::Chat(chat) => chat.generation.stream,
            Self::Completion(completion) => completion.generation.stream,
            Self::Embed(_) => false,
        }
    }

    /// Chooses whether the node streams, and asks it for usage at the end of the stream.
    ///
    /// Call this on the request for the node, after the client's wishes were copied into a `ResponseMeta`.
    pub fn set_stream(&mut self, stream: bool) {
        if let Some(generation) = self.generation_mut() {
            generation.stream = stream;
            generation.include_usage = stream;
        }
    }

    /// Returns what chat and completion requests share.
    pub const fn generation(&self) -> Option<&Generation> {
        match self {
            Self::Chat(chat) => Some(&chat.generation),
            Self::Completion(completion) => Some(&completion.generation),
            Self::Embed(_) => None,
        }
    }

    /// Returns what chat and completion requests share.
    pub const fn generation_mut(&mut self) -> Option<&mut Generation> {
        match self {
            Self::Chat(chat) => Some(&mut chat.generation),
            Self::Completion(completion) => Some(&mut completion.generation),
            Self::Embed(_) => None,
        }
    }

    /// Tells what an Ollama request without a prompt asks for: nothing is generated, the model is loaded or unloaded.
    pub fn residency(&self) -> Option<ResidencyChange> {
        let (empty, generation) = match self {
            Self::Chat(chat) => (chat.messages.is_empty(), &chat.generation),
            Self::Completion(completion) => (
                completion.prompt.is_empty()
                    && completion.suffix.is_none()
                    && completion.images.is_empty(),
                &completion.generation,
            ),
            Self::Embed(_) => return None,
        };
        let ollama = matches!(
            self.source(),
            Operation::OllamaChat | Operation::OllamaGenerate
        );
        if !empty || !ollama {
            return None;
        }
        let unload = generation
            .keep_alive
            .as_ref()
            .is_some_and(|keep| matches!(keep.text(), "0" | "\"0\"" | "\"0s\"" | "\"0m\"" | "0.0"));
        Some(if unload {
            ResidencyChange::Unload
        } else {
            ResidencyChange::Load
        })
    }
}

/// What an Ollama request without a prompt asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResidencyChange {
    /// Load the model.
    Load,
    /// Unload it now.
    Unload,
}

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

/// A conversation to be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// The operation in which the client wrote the request.
    pub source: Operation,
    /// The model's name.
    pub model: String,
    /// The conversation so far. Empty only in Ollama requests that load or unload.
    pub messages: Vec<Message>,
    /// Functions that the model may call.
    pub tools: Vec<Tool>,
    /// Which function the model must call.
    pub tool_choice: Option<ToolChoice>,
    /// Whether the model may call several functions at once.
    pub parallel_tool_calls: Option<bool>,
    /// What it shares with completion requests.
    pub generation: Generation,
    /// Whether the last message is the beginning of the answer, to be continued in place.
    pub continue_last: bool,
}

/// A prompt to be continued, or to be answered as a single user message.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionRequest {
    /// The operation in which the client wrote the request.
    pub source: Operation,
    /// The model's name.
    pub model: String,
    /// The text before the completion.
    pub prompt: String,
    /// Text already generated, to be continued after the prompt.
    pub continued: Option<String>,
    /// The text after the completion.
    pub suffix: Option<String>,
    /// Ollama's system message.
    pub system: Option<String>,
    /// Ollama's prompt template.
    pub template: Option<String>,
    /// Whether Ollama is to use no template at all.
    pub raw: bool,
    /// Images for the prompt, base64.
    pub images: Vec<String>,
    /// Ollama's token context of an earlier answer, word for word.
    pub context: Option<Json>,
    /// Whether the prompt is repeated before the completion.
    pub echo: bool,
    /// How many completions the server makes to choose from.
    pub best_of: Option<u32>,
    /// What it shares with chat requests.
    pub generation: Generation,
}

impl CompletionRequest {
    /// Returns the conversation that says the same: for servers whose chat route is the only one with a template.
    ///
    /// # Errors
    /// `Unsupported` for what a conversation cannot say: a template, a suffix, an echo, …
    pub fn to_chat(&self) -> Result<ChatRequest, ApiError> {
        let refused = [
            ("raw", self.raw),
            ("suffix", self.suffix.is_some()),
            ("template", self.template.is_some()),
            ("context", self.context.is_some()),
            ("echo", self.echo),
            ("best_of", self.best_of.is_some_and(|best_of| best_of > 1)),
        ];
        if let Some((name, _)) = refused.iter().find(|(_, used)| *used) {
            return Err(ApiError::unsupported(
                *name,
                "the node serves this model by its chat route only",
            ));
        }
        let mut messages = Vec::new();
        messages.extend(
            self.system
                .as_ref()
                .map(|system| Message::text(Role::System, system)),
        );
        let mut user = Message::text(Role::User, &self.prompt);
        user.parts
            .extend(self.images.iter().map(|data| Part::Image {
                media_type: image_type(data).to_owned(),
                data: data.clone(),
                detail: None,
            }));
        messages.push(user);
        messages.extend(
            self.continued
                .as_ref()
                .map(|text| Message::text(Role::Assistant, text)),
        );
        Ok(ChatRequest {
            source: self.source,
            model: self.model.clone(),
            messages,
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            generation: self.generation.clone(),
            continue_last: self.continued.is_some(),
        })
    }

    /// Tells whether the prompt is text to be continued, rather than a message for the model's chat template.
    pub const fn is_raw(&self) -> bool {
        self.raw || self.suffix.is_some() || matches!(self.source, Operation::OpenAiCompletions)
    }
}

/// Texts to be embedded.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedRequest {
    /// The operation in which the client wrote the request.
    pub source: Operation,
    /// The model's name.
    pub model: String,
    /// What to embed, in order.
    pub inputs: Vec<EmbedInput>,
    /// The wanted length of the vectors.
    pub dimensions: Option<u32>,
    /// Whether inputs beyond the context are cut.
    pub truncate: Option<bool>,
    /// How the client wants vectors written.
    pub encoding: Encoding,
    /// Ollama's `keep_alive`, word for word.
    pub keep_alive: Option<Json>,
    /// Ollama's options, word for word.
    pub node_options: Fields,
    /// Fields that only the source operation knows, word for word.
    pub extensions: Fields,
}

/// One thing to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbedInput {
    /// A text.
    Text(String),
    /// Token ids of the model's own vocabulary.
    Tokens(Vec<u32>),
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As an array of numbers.
    #[default]
    Float,
    /// As base64 of little-endian 32-bit floats.
    Base64,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whoever runs the application.
    System,
    /// The same, in OpenAI's newer word.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A function that answers the model.
    Tool,
}

impl Role {
    /// Returns the role's name in Ollama and OpenAI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// Finds the role by its name, without case. OpenAI's old `function` is not one of them.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::System,
            Self::Developer,
            Self::User,
            Self::Assistant,
            Self::Tool,
        ]
        .into_iter()
        .find(|role| name.eq_ignore_ascii_case(role.as_str()))
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Text and media, in order.
    pub parts: Vec<Part>,
    /// What the model thought before it spoke.
    pub thinking: Option<String>,
    /// Functions the model called.
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool message answers.
    pub tool_call_id: Option<String>,
    /// The function that a tool message answers for.
    pub tool_name: Option<String>,
    /// The speaker's name, among several of one role.
    pub name: Option<String>,
}

impl Message {
    /// Makes an empty message.
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            parts: Vec::new(),
            thinking: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            tool_name: None,
            name: None,
        }
    }

    /// Makes a message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            parts: vec![Part::Text(text.into())],
            ..Self::new(role)
        }
    }

    /// Returns all text of the message, one part a line.
    pub fn joined_text(&self) -> String {
        let texts: Vec<&str> = self
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        texts.join("\n")
    }
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// An image in the request itself.
    Image {
        /// As `image/png`; guessed from the data where the dialect does not say it.
        media_type: String,
        /// Base64, without a `data:` prefix.
        data: String,
        /// OpenAI's resolution hint.
        detail: Option<String>,
    },
    /// An image that the server is to fetch.
    ImageUrl {
        /// Where it lies.
        url: String,
        /// OpenAI's resolution hint.
        detail: Option<String>,
    },
    /// Sound in the request itself.
    Audio {
        /// Base64.
        data: String,
        /// As `wav`.
        format: String,
    },
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// The function's name.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// JSON schema of its arguments, word for word.
    pub parameters: Option<Json>,
    /// Whether arguments must follow the schema exactly.
    pub strict: Option<bool>,
}

/// Which function the model must call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// At least one, whichever.
    Required,
    /// This one.
    Named(String),
}

/// A function call that the model made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id, to which the tool message refers.
    pub id: Option<String>,
    /// The function's name.
    pub name: String,
    /// The arguments as JSON text, normally an object.
    pub arguments: String,
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
