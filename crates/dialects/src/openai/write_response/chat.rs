//! Chat completions: the chunks of a stream and whole responses.

use bytes::BytesMut;
use primitives::Timestamp;
use serde::Serialize;

use super::logprobs::{ChatLogprobs, chat_logprobs};
use super::{UsageBody, finish_name, write_body, write_chunk};
use crate::answer::{Answer, call_id};
use crate::encoder::{ResponseMeta, StreamState, whole_finish};
use crate::event::{Event, TokenLogprob, ToolCallDelta};
use crate::wire::SSE_DONE;

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<ChatLogprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallPiece<'a>; 1]>,
}

#[derive(Serialize)]
struct CallPiece<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionPiece<'a>,
}

#[derive(Serialize)]
struct FunctionPiece<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct ChatChoice<'a> {
    index: u32,
    message: ChatMessage<'a>,
    logprobs: Option<ChatLogprobs<'a>>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct ChatMessage<'a> {
    role: &'static str,
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WholeCall<'a>>,
}

#[derive(Serialize)]
struct WholeCall<'a> {
    id: String,
    r#type: &'static str,
    function: FunctionPiece<'a>,
}

const CHAT_CHUNK: &str = "chat.completion.chunk";

/// Writes the chunks of a chat stream: role, content, finish, usage, end mark.
#[derive(Debug, Default)]
pub(crate) struct ChatWriter {
    opened: bool,
    /// Calls whose first piece went out, and so their id.
    calls_begun: Vec<u32>,
}

impl ChatWriter {
    /// Goes on after chunks that another node has sent.
    pub(crate) const fn resume(&mut self) {
        self.opened = true;
    }

    pub(crate) fn event(&mut self, state: &mut StreamState, event: &Event, out: &mut BytesMut) {
        match event {
            Event::Text(text) => {
                let tokens = std::mem::take(&mut state.logprobs);
                let delta = Delta {
                    content: Some(text),
                    ..Delta::default()
                };
                self.delta(state, delta, &tokens, out);
            }
            Event::Thinking(text) => {
                let delta = Delta {
                    reasoning: Some(text),
                    reasoning_content: Some(text),
                    ..Delta::default()
                };
                self.delta(state, delta, &[], out);
            }
            Event::ToolCall(call) => self.call(state, call, out),
            _ => {}
        }
    }

    fn call(&mut self, state: &StreamState, call: &ToolCallDelta, out: &mut BytesMut) {
        let first = !self.calls_begun.contains(&call.index);
        if first {
            self.calls_begun.push(call.index);
        }
        let made_up =
            (first && call.id.is_none()).then(|| call_id(&state.meta.id, call.index as usize));
        let piece = CallPiece {
            index: call.index,
            id: call.id.as_deref().or(made_up.as_deref()),
            r#type: first.then_some("function"),
            function: FunctionPiece {
                name: call.name.as_deref(),
                arguments: &call.arguments,
            },
        };
        let delta = Delta {
            tool_calls: Some([piece]),
            ..Delta::default()
        };
        self.delta(state, delta, &[], out);
    }

    fn open(&mut self, state: &StreamState, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.opened, true) {
            let delta = Delta {
                role: Some("assistant"),
                content: Some(""),
                ..Delta::default()
            };
            write_delta(state, delta, &[], None, out);
        }
    }

    fn delta(
        &mut self,
        state: &StreamState,
        delta: Delta<'_>,
        tokens: &[TokenLogprob],
        out: &mut BytesMut,
    ) {
        self.open(state, out);
        write_delta(state, delta, tokens, None, out);
    }

    pub(crate) fn finish(&mut self, state: &StreamState, now: Timestamp, out: &mut BytesMut) {
        self.open(state, out);
        if !state.finish_sent {
            let reason = finish_name(state.finish_reason());
            write_delta(state, Delta::default(), &state.logprobs, Some(reason), out);
        }
        if state.meta.include_usage && !state.usage_sent {
            let usage = UsageBody::of(&state.final_usage(now));
            write_chunk::<ChunkChoice<'_>>(state, CHAT_CHUNK, &[], Some(usage), out);
        }
        out.extend_from_slice(SSE_DONE);
    }
}

fn write_delta(
    state: &StreamState,
    delta: Delta<'_>,
    tokens: &[TokenLogprob],
    finish_reason: Option<&'static str>,
    out: &mut BytesMut,
) {
    let choice = ChunkChoice {
        index: 0,
        delta,
        logprobs: chat_logprobs(tokens),
        finish_reason,
    };
    write_chunk(state, CHAT_CHUNK, &[choice], None, out);
}

/// Writes a whole chat completion.
pub(crate) fn write_chat(meta: &ResponseMeta, answer: &Answer, out: &mut BytesMut) {
    let calls = answer
        .calls
        .iter()
        .enumerate()
        .map(|(position, call)| WholeCall {
            id: call
                .id
                .clone()
                .unwrap_or_else(|| call_id(&meta.id, position)),
            r#type: "function",
            function: FunctionPiece {
                name: Some(&call.name),
                arguments: &call.arguments,
            },
        });
    let thinking = Some(answer.thinking.as_str()).filter(|thinking| !thinking.is_empty());
    let only_calls = answer.text.is_empty() && !answer.calls.is_empty();
    let choice = ChatChoice {
        index: 0,
        message: ChatMessage {
            role: "assistant",
            content: (!only_calls).then_some(&answer.text),
            reasoning: thinking,
            reasoning_content: thinking,
            tool_calls: calls.collect(),
        },
        logprobs: chat_logprobs(&answer.logprobs),
        finish_reason: finish_name(whole_finish(answer)),
    };
    write_body(meta, "chat.completion", &[choice], &answer.usage, out);
}
