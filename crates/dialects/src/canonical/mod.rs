//! What the dialects have in common: a request that says all that any of them can say.
//!
//! Every decoder makes one of these, every encoder starts from one. What only one dialect knows stays in `extensions`,
//! word for word, so that an encoder can pass it on or refuse it, but never lose it.

mod generation;
mod keep_alive;
mod kinds;
mod message;

use crate::json::Json;
use crate::operation::{Operation, Task};

pub use generation::{Format, Generation, Sampling, Think};
pub use keep_alive::KeepAlive;
pub use kinds::{ChatRequest, CompletionRequest, EmbedInput, EmbedRequest, Encoding};
pub use message::{Message, Part, Role, Tool, ToolCall, ToolChoice};

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

    /// Returns Ollama's `keep_alive`, word for word: see [`KeepAlive::read`].
    pub const fn keep_alive(&self) -> Option<&Json> {
        match self {
            Self::Chat(chat) => chat.generation.keep_alive.as_ref(),
            Self::Completion(completion) => completion.generation.keep_alive.as_ref(),
            Self::Embed(embed) => embed.keep_alive.as_ref(),
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
        let empty = match self {
            Self::Chat(chat) => chat.messages.is_empty(),
            Self::Completion(completion) => {
                completion.prompt.is_empty()
                    && completion.suffix.is_none()
                    && completion.images.is_empty()
            }
            Self::Embed(_) => return None,
        };
        let ollama = matches!(
            self.source(),
            Operation::OllamaChat | Operation::OllamaGenerate
        );
        if !empty || !ollama {
            return None;
        }
        let unload = self
            .keep_alive()
            .and_then(|keep_alive| KeepAlive::read(keep_alive).ok())
            .is_some_and(KeepAlive::is_over);
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
