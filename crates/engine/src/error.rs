//! What can go wrong for a caller of the engine.

use primitives::{Classify, ErrorKind};

/// Why the engine could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No served model has this name.
    #[error("the embedded engine has no model named '{0}'")]
    UnknownModel(String),
    /// The prompt does not fit into the context.
    #[error("the prompt has {prompt} tokens but the context holds {context}")]
    ContextOverflow {
        /// Tokens in the prompt.
        prompt: usize,
        /// Tokens that the context holds.
        context: usize,
    },
    /// Every sequence is in use and the waiting queue is full.
    #[error("model '{0}' is busy and its waiting queue is full")]
    Busy(String),
    /// The model cannot do this, or the file holds something that the engine does not know.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The request itself is wrong, for example a chat that the model's template refuses.
    #[error("{0}")]
    Invalid(String),
    /// The computation failed.
    #[error("the embedded engine failed: {0}")]
    Failed(String),
}

impl Classify for EngineError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownModel(_) => ErrorKind::NotFound,
            Self::ContextOverflow { .. } | Self::Invalid(_) => ErrorKind::Invalid,
            Self::Busy(_) => ErrorKind::Unavailable,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Failed(_) => ErrorKind::Bug,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::UnknownModel(name) => {
                format!("model '{name}' not found: add it with --model or the models directory")
            }
            Self::ContextOverflow { prompt, context } => format!(
                "the prompt has {prompt} tokens but the context holds {context}: shorten the prompt or raise num_ctx"
            ),
            Self::Busy(name) => format!("model '{name}' is busy: try again shortly"),
            Self::Failed(_) => {
                "the embedded engine failed to compute an answer: see the server's log".to_owned()
            }
            Self::Unsupported(_) | Self::Invalid(_) => self.to_string(),
        }
    }
}

impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
