//! Writing chunks and whole responses of chat completions, completions and embeddings.
//!
//! Thinking goes out under both names that clients look for, `reasoning` (Ollama, vLLM) and `reasoning_content`
//! (llama-server, `DeepSeek`). The completions route has no place for it.

mod chat;
mod completion;
mod embeddings;
mod logprobs;
#[cfg(test)]
mod tests;

use bytes::BytesMut;
use serde::Serialize;

use crate::encoder::{ResponseMeta, StreamState};
use crate::event::{FinishReason, Usage};
use crate::wire;

pub(crate) use chat::{ChatWriter, write_chat};
pub(crate) use completion::{write_completion, write_completion_end, write_completion_event};
pub(crate) use embeddings::write_embeddings;

const FINGERPRINT: &str = "fp_remuda";

#[derive(Serialize)]
struct Body<'a, C> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [C],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBody>,
}

#[derive(Serialize)]
struct UsageBody {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl UsageBody {
    fn of(usage: &Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.total_tokens(),
            prompt_tokens_details: usage
                .cached_tokens
                .map(|cached_tokens| PromptDetails { cached_tokens }),
            completion_tokens_details: usage
                .reasoning_tokens
                .map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        }
    }
}

const fn finish_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Load | FinishReason::Unload => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

fn write_chunk<C: Serialize>(
    state: &StreamState,
    object: &'static str,
    choices: &[C],
    usage: Option<UsageBody>,
    out: &mut BytesMut,
) {
    let body = Body {
        id: &state.meta.id,
        object,
        created: state.created_secs,
        model: &state.meta.model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage,
    };
    wire::sse(out, &body);
}

fn write_body<C: Serialize>(
    meta: &ResponseMeta,
    object: &'static str,
    choices: &[C],
    usage: &Usage,
    out: &mut BytesMut,
) {
    let body = Body {
        id: &meta.id,
        object,
        created: meta.created.as_secs(),
        model: &meta.model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage: Some(UsageBody::of(usage)),
    };
    wire::json(out, &body);
}
