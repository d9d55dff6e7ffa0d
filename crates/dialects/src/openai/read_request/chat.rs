//! Bodies of `/v1/chat/completions`.

use super::format::response_format;
use super::generation::{Logprobs, read_shared};
use super::message::{WireMessage, message};
use super::tools::{WireTool, tool, tool_choice};
use crate::canonical::{ChatRequest, Generation, Request};
use crate::error::ApiError;
use crate::json::{body_object, field};
use crate::operation::Operation;

/// Reads a body of `/v1/chat/completions`.
pub(crate) fn read_chat(body: &[u8]) -> Result<Request, ApiError> {
    const OPERATION: Operation = Operation::OpenAiChat;
    let mut chat = ChatRequest {
        source: OPERATION,
        model: String::new(),
        messages: Vec::new(),
        tools: Vec::new(),
        tool_choice: None,
        parallel_tool_calls: None,
        generation: Generation::default(),
        continue_last: false,
    };
    let mut logprobs = Logprobs::default();
    let mut opens_answer = None;
    for (name, raw) in body_object(body)?.0 {
        match &*name {
            "model" => chat.model = field("model", raw)?,
            "messages" => {
                let wire: Vec<WireMessage> = field("messages", raw)?;
                chat.messages = wire.into_iter().map(message).collect::<Result<_, _>>()?;
            }
            "tools" => {
                let wire: Vec<WireTool> = field("tools", raw)?;
                chat.tools = wire.into_iter().map(tool).collect::<Result<_, _>>()?;
            }
            "tool_choice" => chat.tool_choice = Some(tool_choice(raw)?),
            "parallel_tool_calls" => {
                chat.parallel_tool_calls = Some(field("parallel_tool_calls", raw)?);
            }
            "response_format" => chat.generation.format = response_format(raw)?,
            "logprobs" => logprobs.wanted = field("logprobs", raw)?,
            "top_logprobs" => logprobs.top = Some(field("top_logprobs", raw)?),
            // vLLM's way to ask for an answer that goes on where the last message ends.
            "continue_final_message" => chat.continue_last = field("continue_final_message", raw)?,
            "add_generation_prompt" => opens_answer = Some(raw),
            name => read_shared(name, raw, &mut chat.generation)?,
        }
    }
    if chat.model.is_empty() {
        return Err(ApiError::model_missing(OPERATION));
    }
    if chat.messages.is_empty() {
        return Err(ApiError::invalid_field(
            "messages",
            "[] is too short - 'messages'",
        ));
    }
    if let Some(raw) = opens_answer.filter(|_| !chat.continue_last) {
        chat.generation
            .extensions
            .push("add_generation_prompt", raw.into());
    }
    chat.generation.logprobs = logprobs.checked()?;
    Ok(Request::Chat(Box::new(chat)))
}
