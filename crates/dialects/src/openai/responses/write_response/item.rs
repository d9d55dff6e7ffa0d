//! Output items: a message, a summary of the thinking, a function call.

use serde_json::{Value, json};

use crate::event::Event;

/// One item of the output, while it grows and when it is done.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Message {
        id: String,
        text: String,
    },
    Reasoning {
        id: String,
        text: String,
    },
    Call {
        id: String,
        call_id: String,
        name: String,
        arguments: String,
        index: u32,
    },
}

impl Item {
    pub(super) fn object(&self, status: &'static str) -> Value {
        let done = status == "completed";
        match self {
            Self::Message { id, text } => {
                let content = if done {
                    vec![text_part(text)]
                } else {
                    Vec::new()
                };
                json!({ "id": id, "type": "message", "status": status, "role": "assistant", "content": content })
            }
            Self::Reasoning { id, text } => {
                let summary = if done {
                    vec![summary_part(text)]
                } else {
                    Vec::new()
                };
                json!({ "id": id, "type": "reasoning", "summary": summary })
            }
            Self::Call {
                id,
                call_id,
                name,
                arguments,
                ..
            } => json!({
                "id": id,
                "type": "function_call",
                "status": status,
                "call_id": call_id,
                "name": name,
                "arguments": arguments,
            }),
        }
    }

    pub(super) const fn id(&self) -> &String {
        match self {
            Self::Message { id, .. } | Self::Reasoning { id, .. } | Self::Call { id, .. } => id,
        }
    }

    /// Tells whether a piece of this event belongs to the item.
    pub(super) const fn takes(&self, event: &Event) -> bool {
        match (self, event) {
            (Self::Message { .. }, Event::Text(_))
            | (Self::Reasoning { .. }, Event::Thinking(_)) => true,
            (Self::Call { index, .. }, Event::ToolCall(delta)) => *index == delta.index,
            _ => false,
        }
    }
}

pub(super) fn text_part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

pub(super) fn summary_part(text: &str) -> Value {
    json!({ "type": "summary_text", "text": text })
}
