//! The one error type of every dialect: what `envelope` turns into bodies and reads from nodes' bodies.

use std::time::Duration;

use primitives::{Classify, ErrorKind};

use crate::operation::Operation;

/// An error that a client reads, before it has the shape of any dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What went wrong; decides the status code and the dialect's error type.
    pub kind: ErrorKind,
    /// The text for the client.
    pub message: String,
    /// A machine-readable code, for dialects that have one, as `model_not_found`.
    pub code: Option<String>,
    /// The request field at fault, for dialects that have a place for it.
    pub param: Option<String>,
    /// How long to wait before another attempt.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// Makes an error with nothing but kind and text.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code: None,
            param: None,
            retry_after: None,
        }
    }

    /// Makes an error about a wrong request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Makes an error about a wrong field of the request.
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(message).with_param(field)
    }

    /// Makes an error about a field that the node which should serve the request cannot honour.
    pub fn unsupported(field: impl Into<String>, why: &str) -> Self {
        let field = field.into();
        Self::new(
            ErrorKind::Unsupported,
            format!("'{field}' is not supported here: {why}"),
        )
        .with_param(field)
    }

    /// Makes an error about a node that answered with something that is not its dialect.
    pub fn upstream(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Upstream, message)
    }

    /// Makes the error for a stream that ended before it was complete.
    pub fn truncated() -> Self {
        Self::upstream("the node ended the response before it was complete; send the request again")
    }

    /// Makes the error for a model that the fleet does not have, in the words of the operation's dialect.
    pub fn model_not_found(operation: Operation, model: &str) -> Self {
        let message = match operation {
            Operation::OllamaEmbeddings => {
                format!("model \"{model}\" not found, try pulling it first")
            }
            Operation::OllamaChat | Operation::OllamaGenerate | Operation::OllamaEmbed => {
                format!("model '{model}' not found")
            }
            Operation::AnthropicMessages => format!("model: {model}"),
            Operation::OpenAiChat
            | Operation::OpenAiCompletions
            | Operation::OpenAiEmbeddings
            | Operation::OpenAiResponses => {
                format!("The model `{model}` does not exist or you do not have access to it.")
            }
        };
        Self::new(ErrorKind::NotFound, message)
            .with_param("model")
            .with_code("model_not_found")
    }

    /// Makes the error for a request that names no model, in the words of the operation's dialect.
    pub fn model_missing(operation: Operation) -> Self {
        match operation {
            Operation::OllamaGenerate | Operation::OllamaEmbed => {
                Self::model_not_found(operation, "")
            }
            Operation::OllamaChat | Operation::OllamaEmbeddings => {
                Self::invalid_field("model", "model is required")
            }
            Operation::AnthropicMessages => Self::invalid_field("model", "model: Field required"),
            Operation::OpenAiChat
            | Operation::OpenAiCompletions
            | Operation::OpenAiEmbeddings
            | Operation::OpenAiResponses => {
                Self::invalid_field("model", "you must provide a model parameter")
            }
        }
    }

    /// Returns the error with this field at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Returns the error with this code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Returns the error with this waiting time.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl Classify for ApiError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }

    fn public_message(&self) -> String {
        self.message.clone()
    }
}
