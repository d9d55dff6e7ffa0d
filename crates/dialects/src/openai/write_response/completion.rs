//! Completions of raw prompts: the chunks of a stream and whole responses.

use bytes::BytesMut;
use primitives::Timestamp;
use serde::Serialize;

use super::logprobs::{CompletionLogprobs, completion_logprobs};
use super::{UsageBody, finish_name, write_body, write_chunk};
use crate::answer::Answer;
use crate::encoder::{ResponseMeta, StreamState};
use crate::event::{Event, FinishReason};
use crate::wire::SSE_DONE;

#[derive(Serialize)]
struct CompletionChoice<'a> {
    text: &'a str,
    index: u32,
    logprobs: Option<CompletionLogprobs<'a>>,
    finish_reason: Option<&'static str>,
}

const COMPLETION: &str = "text_completion";

/// Writes what an event adds to a stream of completions.
pub(crate) fn write_completion_event(state: &mut StreamState, event: &Event, out: &mut BytesMut) {
    let Event::Text(text) = event else { return };
    let tokens = std::mem::take(&mut state.logprobs);
    let choice = CompletionChoice {
        text,
        index: 0,
        logprobs: completion_logprobs(&tokens),
        finish_reason: None,
    };
    write_chunk(state, COMPLETION, &[choice], None, out);
}

/// Writes the end of a stream of completions.
pub(crate) fn write_completion_end(state: &StreamState, now: Timestamp, out: &mut BytesMut) {
    if !state.finish_sent {
        let choice = CompletionChoice {
            text: "",
            index: 0,
            logprobs: completion_logprobs(&state.logprobs),
            finish_reason: Some(finish_name(state.finish.unwrap_or(FinishReason::Stop))),
        };
        write_chunk(state, COMPLETION, &[choice], None, out);
    }
    if state.meta.include_usage && !state.usage_sent {
        let usage = UsageBody::of(&state.final_usage(now));
        write_chunk::<CompletionChoice<'_>>(state, COMPLETION, &[], Some(usage), out);
    }
    out.extend_from_slice(SSE_DONE);
}

/// Writes a whole completion.
pub(crate) fn write_completion(meta: &ResponseMeta, answer: &Answer, out: &mut BytesMut) {
    let choice = CompletionChoice {
        text: &answer.text,
        index: 0,
        logprobs: completion_logprobs(&answer.logprobs),
        finish_reason: Some(finish_name(answer.finish.unwrap_or(FinishReason::Stop))),
    };
    write_body(meta, COMPLETION, &[choice], &answer.usage, out);
}
