//! The three kinds of requests: a conversation, a prompt, texts to be embedded.

use super::generation::Generation;
use super::message::{Message, Part, Role, Tool, ToolChoice};
use crate::error::ApiError;
use crate::json::{Fields, Json};
use crate::media::image_type;
use crate::operation::Operation;

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

    /// Tells whether Ollama puts the prompt through the chat template, as it does on both its completion routes unless told
    /// not to: text that goes on after such a prompt needs a message of its own.
    pub(crate) const fn is_templated(&self) -> bool {
        !self.raw && self.suffix.is_none()
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
