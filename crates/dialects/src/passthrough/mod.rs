//! Guards bytes that pass: some servers silently ignore fields that change the answer.
//!
//! Ollama's OpenAI and Anthropic routes read a part of the dialect and skip the rest without a word ([`ollama`] knows which);
//! llama-cpp-python skips the encoding of embeddings. The other servers honour what they know and refuse what they do not.

mod content;
mod ollama;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;

use crate::error::ApiError;
use crate::operation::Operation;
use crate::target::{ServerKind, Target};

/// What must happen to a request body before it goes to a node that speaks the client's dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing.
    Unchanged,
    /// This body goes instead.
    Body(Bytes),
    /// The node honours the request only on another route: decode, and encode for this target.
    Translate(Target),
}

static BASE64: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"base64\""));

/// Checks a request that passes to a node as it is.
///
/// # Errors
/// `Unsupported`, naming the field, for what the node would silently ignore on every route it has. `Invalid` for a body that is
/// not a JSON object.
pub fn check_passthrough(target: &Target, body: &[u8]) -> Result<Rewrite, ApiError> {
    match (target.server, target.operation) {
        (
            ServerKind::Ollama,
            Operation::OpenAiChat
            | Operation::OpenAiCompletions
            | Operation::OpenAiEmbeddings
            | Operation::OpenAiResponses
            | Operation::AnthropicMessages,
        ) => ollama::check(*target, body),
        (ServerKind::LlamaCppPython, Operation::OpenAiEmbeddings)
            if BASE64.find(body).is_some() =>
        {
            Ok(Rewrite::Translate(*target))
        }
        _ => Ok(Rewrite::Unchanged),
    }
}
