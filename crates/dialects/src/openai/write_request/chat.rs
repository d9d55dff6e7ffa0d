//! Bodies of `/v1/chat/completions`.

use bytes::Bytes;
use serde::Serialize;

use super::generation::write_generation;
use super::message::{WireMessage, wire_message};
use super::tools::write_tools;
use crate::canonical::{ChatRequest, Think};
use crate::error::ApiError;
use crate::target::{ServerKind, Target};
use crate::wire::ObjectWriter;

#[derive(Serialize)]
struct TemplateSwitch {
    enable_thinking: bool,
}

/// Writes a body of `/v1/chat/completions`.
pub(crate) fn write_chat(target: Target, chat: &ChatRequest) -> Result<Bytes, ApiError> {
    let server = target.server;
    let mut body = ObjectWriter::with_capacity(1024);
    body.put("model", &chat.model);
    let messages: Vec<WireMessage<'_>> = (0..chat.messages.len())
        .map(|at| wire_message(&chat.messages, at, server))
        .collect::<Result<_, _>>()?;
    body.put("messages", &messages);
    write_tools(&mut body, chat, server)?;
    write_generation(&mut body, chat.source, target, &chat.generation)?;
    if let Some(top) = chat.generation.logprobs {
        body.put("logprobs", &true);
        body.put("top_logprobs", &top);
    }
    write_think(&mut body, server, chat.generation.think.as_ref());
    if chat.continue_last {
        write_continuation(&mut body, server)?;
    }
    Ok(body.finish())
}

fn write_continuation(body: &mut ObjectWriter, server: ServerKind) -> Result<(), ApiError> {
    if !server.continues_answers() {
        return Err(ApiError::unsupported(
            "messages",
            "the node cannot continue an answer that was begun",
        ));
    }
    if matches!(
        server,
        ServerKind::Vllm | ServerKind::SgLang | ServerKind::LlamaServer | ServerKind::Remuda
    ) {
        body.put("continue_final_message", &true);
    }
    // llama-server continues without it, too, but repeats the beginning in its stream.
    if matches!(
        server,
        ServerKind::Vllm | ServerKind::LlamaServer | ServerKind::Remuda
    ) {
        body.put("add_generation_prompt", &false);
    }
    Ok(())
}

/// Writes how the model is to think: by effort where the client named one, else by the switch in chat templates.
fn write_think(body: &mut ObjectWriter, server: ServerKind, think: Option<&Think>) {
    let switchable = matches!(
        server,
        ServerKind::Vllm | ServerKind::SgLang | ServerKind::LlamaServer
    );
    match think {
        None => {}
        Some(Think::Level(level)) => body.put("reasoning_effort", level),
        Some(switch) if switchable => {
            let enable_thinking = *switch == Think::On;
            body.put("chat_template_kwargs", &TemplateSwitch { enable_thinking });
        }
        Some(Think::On) => body.put("reasoning_effort", "medium"),
        Some(Think::Off) => body.put("reasoning_effort", "none"),
    }
}
