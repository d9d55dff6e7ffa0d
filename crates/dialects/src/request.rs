//! Decoding any client's request, and encoding it for any node.

use bytes::Bytes;

use crate::canonical::Request;
use crate::error::ApiError;
use crate::operation::Operation;
use crate::target::Target;
use crate::{anthropic, ollama, openai};

/// Decodes and validates a request body. Errors have the texts of the operation's dialect.
///
/// # Errors
/// `Invalid` when the body is not what the dialect says; `NotFound` where the dialect answers so for a missing model;
/// `Unsupported` for what only a server of the same dialect can do (its own request would have passed unread).
pub fn decode_request(operation: Operation, body: &[u8]) -> Result<Request, ApiError> {
    match operation {
        Operation::OllamaChat => ollama::read_chat(body),
        Operation::OllamaGenerate => ollama::read_generate(body),
        Operation::OllamaEmbed | Operation::OllamaEmbeddings => ollama::read_embed(operation, body),
        Operation::OpenAiChat => openai::read_chat(body),
        Operation::OpenAiCompletions => openai::read_completion(body),
        Operation::OpenAiEmbeddings => openai::read_embed(body),
        Operation::OpenAiResponses => openai::responses::read_request(body),
        Operation::AnthropicMessages => anthropic::read_request(body),
    }
}

/// Encodes a request for a node.
///
/// # Errors
/// `Unsupported`, naming the field, when the target cannot express or honour it. Nothing is dropped but what the tables
/// in `hints` and in the module documents of each dialect name.
pub fn encode_request(target: &Target, request: &Request) -> Result<Bytes, ApiError> {
    match (target.operation, request) {
        (Operation::OllamaChat, Request::Chat(chat)) => ollama::write_chat(*target, chat),
        (Operation::OllamaChat, Request::Completion(completion)) => {
            ollama::write_chat(*target, &completion.to_chat()?)
        }
        (Operation::OllamaGenerate, Request::Completion(completion)) => {
            ollama::write_generate(*target, completion)
        }
        (Operation::OllamaEmbed | Operation::OllamaEmbeddings, Request::Embed(embed)) => {
            ollama::write_embed(*target, embed)
        }
        (Operation::OpenAiChat, Request::Chat(chat)) => openai::write_chat_request(*target, chat),
        (Operation::OpenAiChat, Request::Completion(completion)) => {
            openai::write_chat_request(*target, &completion.to_chat()?)
        }
        (Operation::OpenAiCompletions, Request::Completion(completion)) => {
            openai::write_completion_request(*target, completion)
        }
        (Operation::OpenAiEmbeddings, Request::Embed(embed)) => {
            openai::write_embed_request(*target, embed)
        }
        (Operation::AnthropicMessages, Request::Chat(chat)) => anthropic::write_chat(*target, chat),
        (Operation::AnthropicMessages, Request::Completion(completion)) => {
            anthropic::write_chat(*target, &completion.to_chat()?)
        }
        (operation, _) => Err(ApiError::unsupported(
            "model",
            &format!(
                "a request to {} cannot be served by {}",
                request.source().path(),
                operation.path()
            ),
        )),
    }
}
