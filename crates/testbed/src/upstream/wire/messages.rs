//! Anthropic's `/v1/messages`: named events, no `[DONE]`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::ask::Ask;
use super::super::plan::{Finish, Plan};
use super::super::script::ToolCall;
use super::{Wire, arguments_value, event};

pub(super) struct MessagesWire {
    id: String,
    model: String,
    prompt_tokens: usize,
    text_open: bool,
}

impl MessagesWire {
    pub(super) fn new(ask: &Ask, number: u64) -> Self {
        let prompt_tokens = super::super::answer::count_tokens(&ask.prompt);
        Self {
            id: format!("msg_{number}"),
            model: ask.model.clone(),
            prompt_tokens,
            text_open: false,
        }
    }

    fn stop_reason(plan: &Plan) -> &'static str {
        match plan.finish {
            Finish::Stop => "end_turn",
            Finish::Length => "max_tokens",
            Finish::ToolCalls => "tool_use",
        }
    }

    fn message(&self, content: &Value, stop_reason: Option<&str>, output_tokens: usize) -> Value {
        let usage = json!({"input_tokens": self.prompt_tokens, "output_tokens": output_tokens});
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stop_reason, "stop_sequence": null, "usage": usage,
        })
    }
}

impl Wire for MessagesWire {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn opening(&mut self) -> Vec<Bytes> {
        vec![event(
            &json!({"type": "message_start", "message": self.message(&json!([]), None, 0)}),
        )]
    }

    fn thinking(&mut self, piece: &str) -> Bytes {
        event(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": piece}}),
        )
    }

    fn token(&mut self, token: &str) -> Bytes {
        let mut frames = Vec::new();
        if !self.text_open {
            self.text_open = true;
            let block = json!({"type": "text", "text": ""});
            frames.extend(event(
                &json!({"type": "content_block_start", "index": 0, "content_block": block}),
            ));
        }
        let delta = json!({"type": "text_delta", "text": token});
        frames.extend(event(
            &json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        ));
        Bytes::from(frames)
    }

    fn tool_calls(&mut self, calls: &[ToolCall]) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            let block = json!({"type": "tool_use", "id": format!("toolu_{index}"), "name": call.name, "input": {}});
            frames.push(event(
                &json!({"type": "content_block_start", "index": index, "content_block": block}),
            ));
            let delta = json!({"type": "input_json_delta", "partial_json": call.arguments});
            frames.push(event(
                &json!({"type": "content_block_delta", "index": index, "delta": delta}),
            ));
            frames.push(event(
                &json!({"type": "content_block_stop", "index": index}),
            ));
        }
        frames
    }

    fn closing(&mut self, plan: &Plan) -> Vec<Bytes> {
        let mut frames = Vec::new();
        if self.text_open {
            frames.push(event(&json!({"type": "content_block_stop", "index": 0})));
        }
        let delta = json!({"stop_reason": Self::stop_reason(plan), "stop_sequence": null});
        let usage = json!({"output_tokens": plan.completion_tokens});
        frames.push(event(
            &json!({"type": "message_delta", "delta": delta, "usage": usage}),
        ));
        frames.push(event(&json!({"type": "message_stop"})));
        frames
    }

    fn error(&mut self, message: &str) -> Bytes {
        event(&json!({"type": "error", "error": {"type": "api_error", "message": message}}))
    }

    fn malformed(&self) -> Bytes {
        Bytes::from_static(b"event: content_block_delta\ndata: {\"type\":\"content\n\n")
    }

    fn whole(&self, plan: &Plan) -> Value {
        let content: Value = if plan.tool_calls.is_empty() {
            json!([{"type": "text", "text": plan.text()}])
        } else {
            plan.tool_calls
                .iter()
                .enumerate()
                .map(|(index, call)| {
                    json!({
                        "type": "tool_use", "id": format!("toolu_{index}"), "name": call.name,
                        "input": arguments_value(call),
                    })
                })
                .collect()
        };
        self.message(
            &content,
            Some(Self::stop_reason(plan)),
            plan.completion_tokens,
        )
    }
}
