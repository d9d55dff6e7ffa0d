//! The inference routes that Remuda understands, and what is fixed for each: dialect, path, framing, default for `stream`.

/// A family of wire formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Ollama's own API under `/api`.
    Ollama,
    /// OpenAI's API under `/v1`.
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
}

impl Dialect {
    /// Names the dialect in logs, records and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// Returns the dialect in which a request to `path` expects its errors: known routes by their own dialect, everything
    /// else under `/v1` as OpenAI, the rest as Ollama.
    pub fn of_path(path: &str) -> Self {
        if path.starts_with("/v1/messages") {
            Self::Anthropic
        } else if path == "/v1" || path.starts_with("/v1/") {
            Self::OpenAi
        } else {
            Self::Ollama
        }
    }
}

/// What kind of model work a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// An answer to a conversation.
    Chat,
    /// A continuation of (or an answer to) one prompt.
    Completion,
    /// Vectors for texts.
    Embedding,
}

/// How a streamed response is cut into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// One JSON object a line.
    Ndjson,
    /// Server-sent events, each ended by a blank line.
    Sse,
}

impl Framing {
    /// Returns the content type of a streamed response.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Sse => "text/event-stream",
        }
    }
}

/// An inference route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /api/chat`.
    OllamaChat,
    /// `POST /api/generate`.
    OllamaGenerate,
    /// `POST /api/embed`.
    OllamaEmbed,
    /// `POST /api/embeddings`, deprecated: one text, one vector.
    OllamaEmbeddings,
    /// `POST /v1/chat/completions`.
    OpenAiChat,
    /// `POST /v1/completions`.
    OpenAiCompletions,
    /// `POST /v1/embeddings`.
    OpenAiEmbeddings,
    /// `POST /v1/responses`.
    OpenAiResponses,
    /// `POST /v1/messages`.
    AnthropicMessages,
}

impl Operation {
    /// Every operation, in the order of declaration.
    pub const ALL: [Self; 9] = [
        Self::OllamaChat,
        Self::OllamaGenerate,
        Self::OllamaEmbed,
        Self::OllamaEmbeddings,
        Self::OpenAiChat,
        Self::OpenAiCompletions,
        Self::OpenAiEmbeddings,
        Self::OpenAiResponses,
        Self::AnthropicMessages,
    ];

    /// Returns the dialect to which the route belongs.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::OllamaChat
            | Self::OllamaGenerate
            | Self::OllamaEmbed
            | Self::OllamaEmbeddings => Dialect::Ollama,
            Self::OpenAiChat
            | Self::OpenAiCompletions
            | Self::OpenAiEmbeddings
            | Self::OpenAiResponses => Dialect::OpenAi,
            Self::AnthropicMessages => Dialect::Anthropic,
        }
    }

    /// Returns the path, the same on Remuda and on nodes.
    pub const fn path(self) -> &'static str {
        match self {
            Self::OllamaChat => "/api/chat",
            Self::OllamaGenerate => "/api/generate",
            Self::OllamaEmbed => "/api/embed",
            Self::OllamaEmbeddings => "/api/embeddings",
            Self::OpenAiChat => "/v1/chat/completions",
            Self::OpenAiCompletions => "/v1/completions",
            Self::OpenAiEmbeddings => "/v1/embeddings",
            Self::OpenAiResponses => "/v1/responses",
            Self::AnthropicMessages => "/v1/messages",
        }
    }

    /// Finds the operation with exactly this path.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.path() == path)
    }

    /// Returns the kind of model work.
    pub const fn task(self) -> Task {
        match self {
            Self::OllamaChat
            | Self::OpenAiChat
            | Self::OpenAiResponses
            | Self::AnthropicMessages => Task::Chat,
            Self::OllamaGenerate | Self::OpenAiCompletions => Task::Completion,
            Self::OllamaEmbed | Self::OllamaEmbeddings | Self::OpenAiEmbeddings => Task::Embedding,
        }
    }

    /// Returns how streamed responses are framed.
    pub const fn framing(self) -> Framing {
        match self.dialect() {
            Dialect::Ollama => Framing::Ndjson,
            Dialect::OpenAi | Dialect::Anthropic => Framing::Sse,
        }
    }

    /// Tells whether a request that does not say `stream` gets a stream.
    pub const fn streams_by_default(self) -> bool {
        matches!(self, Self::OllamaChat | Self::OllamaGenerate)
    }

    /// Names the operation in records and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OllamaChat => "ollama_chat",
            Self::OllamaGenerate => "ollama_generate",
            Self::OllamaEmbed => "ollama_embed",
            Self::OllamaEmbeddings => "ollama_embeddings",
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiCompletions => "openai_completions",
            Self::OpenAiEmbeddings => "openai_embeddings",
            Self::OpenAiResponses => "openai_responses",
            Self::AnthropicMessages => "anthropic_messages",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_back_to_their_operation() {
        for operation in Operation::ALL {
            assert_eq!(Operation::from_path(operation.path()), Some(operation));
            assert_eq!(Dialect::of_path(operation.path()), operation.dialect());
        }
        assert_eq!(Operation::from_path("/v1/models"), None);
    }
}
