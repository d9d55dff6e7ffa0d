//! Guards bytes that pass: some servers silently ignore fields that change the answer.
//!
//! Ollama's OpenAI and Anthropic routes read a part of the dialect and skip the rest without a word ([`ollama`] knows which);
//! llama-cpp-python skips or refuses what is newer than its own version of the dialect, llama-server the length of vectors, and no
//! `/v1/messages` but Anthropic's goes on with an answer that the client has begun. Otherwise servers honour what they know and refuse
//! what they do not.

mod content;
mod ollama;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use memchr::memmem;

use crate::error::ApiError;
use crate::operation::Operation;
use crate::scan::{Scanner, string};
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

/// What llama-cpp-python's chat knows by another name, or not at all.
const NEWER_CHAT: [&str; 4] = [
    "\"max_completion_tokens\"",
    "\"json_schema\"",
    "\"developer\"",
    "\"tool_calls\"",
];
/// What its embeddings skip.
const NEWER_EMBEDDINGS: [&str; 2] = ["\"base64\"", DIMENSIONS];
/// What llama-server's embeddings skip, too.
const DIMENSIONS: &str = "\"dimensions\"";

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
        (ServerKind::LlamaCppPython, Operation::OpenAiChat) if mentions(body, &NEWER_CHAT) => {
            Ok(Rewrite::Translate(*target))
        }
        (ServerKind::LlamaCppPython, Operation::OpenAiEmbeddings)
            if mentions(body, &NEWER_EMBEDDINGS) =>
        {
            Ok(Rewrite::Translate(*target))
        }
        (ServerKind::LlamaServer, Operation::OpenAiEmbeddings) if mentions(body, &[DIMENSIONS]) => {
            Ok(Rewrite::Translate(*target))
        }
        (ServerKind::Vllm | ServerKind::LlamaServer, Operation::AnthropicMessages)
            if begins_the_answer(body) =>
        {
            Ok(Rewrite::Translate(Target {
                operation: Operation::OpenAiChat,
                ..*target
            }))
        }
        _ => Ok(Rewrite::Unchanged),
    }
}

fn mentions(body: &[u8], words: &[&str]) -> bool {
    let mut words = words.iter();
    words.any(|word| memmem::find(body, word.as_bytes()).is_some())
}

/// Tells whether the last message of a conversation is the assistant's: its answer goes on from there.
fn begins_the_answer(body: &[u8]) -> bool {
    let mut last_is_answer = false;
    let walked = Scanner::new(body).and_then(|mut scanner| {
        scanner.object(|name, scanner| {
            if name != "messages" {
                return scanner.skip();
            }
            scanner.array(|scanner| {
                scanner.object(|name, scanner| {
                    if name != "role" {
                        return scanner.skip();
                    }
                    let role = string(scanner.present()?)?;
                    last_is_answer = role.as_deref() == Some("assistant");
                    Some(())
                })
            })
        })
    });
    walked.is_some() && last_is_answer
}
