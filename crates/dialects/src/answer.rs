//! An answer put together from its events, for dialects (and whole bodies) that want it in one piece.

use primitives::Timestamp;

use crate::canonical::ToolCall;
use crate::error::ApiError;
use crate::event::{Event, FinishReason, TokenLogprob, ToolCallDelta, Usage};
use crate::json::Json;
use crate::vector::Vector;

/// A whole answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) thinking: String,
    pub(crate) calls: Calls,
    pub(crate) logprobs: Vec<TokenLogprob>,
    pub(crate) finish: Option<FinishReason>,
    pub(crate) usage: Usage,
    pub(crate) embeddings: Vec<Vector>,
}

impl Answer {
    /// Puts events together; an error among them is the answer.
    pub(crate) fn collect(events: &[Event]) -> Result<Self, ApiError> {
        let mut answer = Self::default();
        for event in events {
            match event {
                Event::Text(text) => answer.text.push_str(text),
                Event::Thinking(text) => answer.thinking.push_str(text),
                Event::ToolCall(delta) => answer.calls.add(delta),
                Event::Logprobs(tokens) => answer.logprobs.extend_from_slice(tokens),
                Event::Finish(reason) => answer.finish = Some(*reason),
                Event::Usage(usage) => answer.usage = *usage,
                Event::Embeddings(vectors) => answer.embeddings.extend_from_slice(vectors),
                Event::Error(error) => return Err(error.clone()),
            }
        }
        Ok(answer)
    }
}

/// Function calls put together from their pieces.
#[derive(Debug, Default)]
pub(crate) struct Calls(Vec<(u32, ToolCall)>);

impl Calls {
    pub(crate) fn add(&mut self, delta: &ToolCallDelta) {
        let at = if let Some(at) = self.0.iter().position(|(index, _)| *index == delta.index) {
            at
        } else {
            let call = ToolCall {
                id: None,
                name: String::new(),
                arguments: String::new(),
            };
            self.0.push((delta.index, call));
            self.0.len() - 1
        };
        let (_, call) = &mut self.0[at];
        if let Some(id) = &delta.id {
            call.id = Some(id.clone());
        }
        if let Some(name) = &delta.name {
            call.name.push_str(name);
        }
        call.arguments.push_str(&delta.arguments);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ToolCall> {
        self.0.iter().map(|(_, call)| call)
    }

    pub(crate) fn take(&mut self) -> Vec<ToolCall> {
        std::mem::take(&mut self.0)
            .into_iter()
            .map(|(_, call)| call)
            .collect()
    }
}

/// Reads a call's arguments as the one-line object that Ollama and Anthropic want. A call without any has an empty one.
pub(crate) fn argument_object(call: &ToolCall) -> Result<Json, ApiError> {
    let text = if call.arguments.trim().is_empty() {
        "{}"
    } else {
        &call.arguments
    };
    Json::parse_compact(text)
        .filter(Json::is_object)
        .ok_or_else(|| {
            let name = &call.name;
            ApiError::upstream(format!(
                "the model called '{name}' with arguments that are not a JSON object"
            ))
        })
}

/// Makes the id of a call that came without one; the same response and position give the same id.
pub(crate) fn call_id(response_id: &str, position: usize) -> String {
    // FNV-1a: ids need to differ between responses, not to be secret.
    let bytes = response_id.bytes().chain(position.to_le_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("call_{hash:08x}")
}

/// Formats a time as Ollama does: RFC 3339 with nanoseconds.
pub(crate) fn created_at(time: Timestamp) -> String {
    let mut text = time.to_rfc3339();
    if text.ends_with('Z') && text.contains('.') {
        text.truncate(text.len() - 1);
        text.push_str("000Z");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_together_from_interleaved_pieces() {
        let mut calls = Calls::default();
        for (index, name, arguments) in [
            (0, Some("f"), "{\"a\""),
            (1, Some("g"), ""),
            (0, None, ": 1}"),
        ] {
            calls.add(&ToolCallDelta {
                index,
                id: None,
                name: name.map(str::to_owned),
                arguments: arguments.to_owned(),
            });
        }
        let calls = calls.take();
        assert_eq!(argument_object(&calls[0]).unwrap().text(), "{\"a\":1}");
        assert_eq!(argument_object(&calls[1]).unwrap().text(), "{}");
        assert_ne!(call_id("r", 0), call_id("r", 1));
    }

    #[test]
    fn times_have_nine_digits() {
        assert_eq!(
            created_at(Timestamp::from_micros(1_767_323_045_000_006)),
            "2026-01-02T03:04:05.000006000Z"
        );
    }
}
