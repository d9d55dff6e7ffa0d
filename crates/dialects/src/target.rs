//! What each kind of model server can do, and which of its routes serves a client's operation best.

use crate::canonical::Request;
use crate::operation::{Dialect, Operation};

/// A kind of model server. Two kinds that speak one dialect still differ in what they honour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerKind {
    /// Ollama.
    Ollama,
    /// vLLM.
    Vllm,
    /// llama.cpp's own server.
    LlamaServer,
    /// The server of the Python package llama-cpp-python.
    LlamaCppPython,
    /// `SGLang`.
    SgLang,
    /// LM Studio.
    LmStudio,
    /// Another Remuda.
    Remuda,
    /// Something else that speaks the dialect; only what the dialect's own document promises is used.
    Other,
}

impl ServerKind {
    /// Names the kind in logs and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::LlamaServer => "llama-server",
            Self::LlamaCppPython => "llama-cpp-python",
            Self::SgLang => "sglang",
            Self::LmStudio => "lm-studio",
            Self::Remuda => "remuda",
            Self::Other => "other",
        }
    }

    /// Tells whether the server continues a given beginning of an answer in place.
    pub const fn continues_answers(self) -> bool {
        matches!(
            self,
            Self::Ollama | Self::Vllm | Self::LlamaServer | Self::SgLang | Self::Remuda
        )
    }

    /// Tells whether the server's answers that are not streamed repeat the beginning that was given for them.
    pub const fn repeats_beginnings(self) -> bool {
        matches!(self, Self::LlamaServer)
    }

    /// Names the sampling settings beyond OpenAI's own that the server's OpenAI routes honour.
    pub(crate) const fn extra_sampling(self) -> &'static [&'static str] {
        match self {
            Self::Vllm | Self::SgLang | Self::LlamaCppPython | Self::LmStudio => {
                &["top_k", "min_p", "repeat_penalty"]
            }
            Self::LlamaServer | Self::Remuda => &[
                "top_k",
                "min_p",
                "typical_p",
                "repeat_penalty",
                "repeat_last_n",
            ],
            Self::Ollama | Self::Other => &[],
        }
    }

    /// Returns the server's own name for a sampling setting on its OpenAI routes.
    pub(crate) fn sampling_name(self, name: &'static str) -> &'static str {
        match (self, name) {
            (Self::Vllm | Self::SgLang, "repeat_penalty") => "repetition_penalty",
            _ => name,
        }
    }

    /// Tells whether the server returns vectors in full length whatever it is asked.
    pub(crate) const fn ignores_dimensions(self) -> bool {
        matches!(self, Self::LlamaServer | Self::LlamaCppPython)
    }

    /// Tells whether the server's completions route fills text in before a suffix.
    pub(crate) const fn fills_in(self) -> bool {
        matches!(
            self,
            Self::Ollama | Self::LlamaCppPython | Self::Remuda | Self::Other
        )
    }

    /// Tells whether the server has `/v1/responses` as OpenAI's clients read it: llama-server's events lack the numbers by which they
    /// find their place.
    const fn has_responses(self) -> bool {
        matches!(
            self,
            Self::Ollama | Self::Vllm | Self::SgLang | Self::LmStudio | Self::Remuda
        )
    }

    /// Tells whether the server has `/v1/messages`.
    pub const fn has_messages(self) -> bool {
        matches!(
            self,
            Self::Ollama | Self::Vllm | Self::LlamaServer | Self::LmStudio | Self::Remuda
        )
    }
}

/// Where an encoded request goes: the operation decides the wire format, the server what of it is honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The route on the node.
    pub operation: Operation,
    /// The kind of server behind it.
    pub server: ServerKind,
}

/// Chooses the node's route for a client's operation, before the request is decoded.
///
/// The same operation means that bytes may pass (after [`crate::check_passthrough`]). Any other means: decode the request
/// and ask [`Request::operation_on`], which also knows what the request needs.
pub fn native_operation(client: Operation, server: ServerKind, node: Dialect) -> Operation {
    let ollama_api =
        node == Dialect::Ollama || matches!(server, ServerKind::Ollama | ServerKind::Remuda);
    match client {
        Operation::OllamaChat
        | Operation::OllamaGenerate
        | Operation::OllamaEmbed
        | Operation::OllamaEmbeddings
            if ollama_api =>
        {
            client
        }
        Operation::OpenAiChat | Operation::OpenAiCompletions | Operation::OpenAiEmbeddings
            if node != Dialect::Anthropic =>
        {
            client
        }
        Operation::OpenAiResponses if node != Dialect::Anthropic && server.has_responses() => {
            client
        }
        Operation::AnthropicMessages if node == Dialect::Anthropic || server.has_messages() => {
            client
        }
        _ => translated_operation(client, ollama_api, node),
    }
}

/// Chooses the route for a request that is translated whatever happens.
fn translated_operation(client: Operation, ollama_api: bool, node: Dialect) -> Operation {
    match client {
        Operation::OllamaEmbed | Operation::OllamaEmbeddings | Operation::OpenAiEmbeddings => {
            if ollama_api {
                Operation::OllamaEmbed
            } else {
                Operation::OpenAiEmbeddings
            }
        }
        _ if node == Dialect::Anthropic => Operation::AnthropicMessages,
        _ if ollama_api => Operation::OllamaChat,
        _ => Operation::OpenAiChat,
    }
}

impl Request {
    /// Chooses the node's route for this decoded request.
    ///
    /// Ollama gets all on its own routes. Elsewhere, where the client's own route does not fit, chat goes to the node's chat
    /// route; a raw prompt, one with a suffix, or a continued raw completion goes to its completion route.
    pub fn operation_on(&self, server: ServerKind, node: Dialect) -> Operation {
        if server == ServerKind::Ollama {
            return self.own_operation();
        }
        let ollama_api = node == Dialect::Ollama || server == ServerKind::Remuda;
        let native = native_operation(self.source(), server, node);
        match self {
            Self::Completion(completion) => {
                if completion.continued.is_some() && completion.is_templated() && ollama_api {
                    Operation::OllamaChat
                } else if native == self.source() {
                    native
                } else if completion.is_raw() && node != Dialect::Anthropic {
                    if ollama_api {
                        Operation::OllamaGenerate
                    } else {
                        Operation::OpenAiCompletions
                    }
                } else {
                    native
                }
            }
            Self::Chat(chat)
                if native == Operation::OpenAiResponses
                    || chat.source == Operation::OllamaGenerate =>
            {
                // Responses are passed to nodes or translated, never re-encoded.
                translated_operation(Operation::OpenAiChat, ollama_api, node)
            }
            // No server but Anthropic's own continues an answer on this route.
            Self::Chat(chat)
                if chat.continue_last
                    && native == Operation::AnthropicMessages
                    && node != Dialect::Anthropic =>
            {
                translated_operation(Operation::OpenAiChat, ollama_api, node)
            }
            _ => native,
        }
    }

    /// Chooses among Ollama's own routes, which honour more than its routes of other dialects.
    fn own_operation(&self) -> Operation {
        match self {
            Self::Chat(_) => Operation::OllamaChat,
            Self::Completion(completion)
                if completion.continued.is_some() && completion.is_templated() =>
            {
                Operation::OllamaChat
            }
            Self::Completion(_) => Operation::OllamaGenerate,
            Self::Embed(embed) if embed.source == Operation::OllamaEmbeddings => embed.source,
            Self::Embed(_) => Operation::OllamaEmbed,
        }
    }
}
