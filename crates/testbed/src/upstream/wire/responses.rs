//! `/v1/responses`: named events with sequence numbers, no `[DONE]`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::ask::Ask;
use super::super::plan::{Finish, Plan};
use super::super::script::ToolCall;
use super::{CREATED, Wire, event};

pub(super) struct ResponsesWire {
    number: u64,
    model: String,
    sequence: u64,
    text: String,
}

impl ResponsesWire {
    pub(super) fn new(ask: &Ask, number: u64) -> Self {
        Self {
            number,
            model: ask.model.clone(),
            sequence: 0,
            text: String::new(),
        }
    }

    fn frame(&mut self, mut value: Value) -> Bytes {
        value["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        event(&value)
    }

    fn item_id(&self) -> String {
        format!("msg_{}", self.number)
    }

    fn response(&self, status: &str, output: &Value) -> Value {
        json!({
            "id": format!("resp_{}", self.number), "object": "response", "created_at": CREATED, "status": status,
            "model": self.model, "output": output, "error": null, "incomplete_details": null,
        })
    }

    fn message(&self, text: &str, status: &str) -> Value {
        let part = json!({"type": "output_text", "text": text, "annotations": []});
        json!({"type": "message", "id": self.item_id(), "status": status, "role": "assistant", "content": [part]})
    }

    fn output(&self, plan: &Plan) -> Value {
        if plan.tool_calls.is_empty() {
            return json!([self.message(&plan.text(), "completed")]);
        }
        plan.tool_calls
            .iter()
            .enumerate()
            .map(|(index, call)| Self::call(index, call))
            .collect()
    }

    fn call(index: usize, call: &ToolCall) -> Value {
        json!({
            "type": "function_call", "id": format!("fc_{index}"), "call_id": format!("call_{index:08}"),
            "name": call.name, "arguments": call.arguments, "status": "completed",
        })
    }

    fn finished(&self, plan: &Plan) -> Value {
        let status = if plan.finish == Finish::Length {
            "incomplete"
        } else {
            "completed"
        };
        let mut response = self.response(status, &self.output(plan));
        if plan.finish == Finish::Length {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        response["usage"] = json!({
            "input_tokens": plan.prompt_tokens, "output_tokens": plan.completion_tokens,
            "total_tokens": plan.prompt_tokens + plan.completion_tokens,
        });
        response
    }
}

impl Wire for ResponsesWire {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn opening(&mut self) -> Vec<Bytes> {
        let response = self.response("in_progress", &json!([]));
        vec![
            self.frame(json!({"type": "response.created", "response": response})),
            self.frame(json!({"type": "response.in_progress", "response": response})),
        ]
    }

    fn thinking(&mut self, piece: &str) -> Bytes {
        self.frame(json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": piece}))
    }

    fn token(&mut self, token: &str) -> Bytes {
        let mut frames = Vec::new();
        if self.text.is_empty() {
            let id = self.item_id();
            let item = json!({"type": "message", "id": id, "status": "in_progress", "role": "assistant", "content": []});
            frames.extend(self.frame(
                json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
            ));
            let part = json!({"type": "output_text", "text": "", "annotations": []});
            let added = json!({
                "type": "response.content_part.added", "item_id": id, "output_index": 0, "content_index": 0, "part": part,
            });
            frames.extend(self.frame(added));
        }
        self.text.push_str(token);
        let id = self.item_id();
        let delta = json!({
            "type": "response.output_text.delta", "item_id": id, "output_index": 0, "content_index": 0, "delta": token,
        });
        frames.extend(self.frame(delta));
        Bytes::from(frames)
    }

    fn tool_calls(&mut self, calls: &[ToolCall]) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            let item = Self::call(index, call);
            let id = format!("fc_{index}");
            for value in [
                json!({"type": "response.output_item.added", "output_index": index, "item": item}),
                json!({
                    "type": "response.function_call_arguments.delta", "item_id": id, "output_index": index,
                    "delta": call.arguments,
                }),
                json!({
                    "type": "response.function_call_arguments.done", "item_id": id, "output_index": index,
                    "arguments": call.arguments,
                }),
                json!({"type": "response.output_item.done", "output_index": index, "item": item}),
            ] {
                frames.push(self.frame(value));
            }
        }
        frames
    }

    fn closing(&mut self, plan: &Plan) -> Vec<Bytes> {
        let mut frames = Vec::new();
        if plan.tool_calls.is_empty() {
            let (id, text) = (self.item_id(), self.text.clone());
            let part = json!({"type": "output_text", "text": text, "annotations": []});
            let item = self.message(&text, "completed");
            for value in [
                json!({
                    "type": "response.output_text.done", "item_id": id, "output_index": 0, "content_index": 0, "text": text,
                }),
                json!({
                    "type": "response.content_part.done", "item_id": id, "output_index": 0, "content_index": 0, "part": part,
                }),
                json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
            ] {
                frames.push(self.frame(value));
            }
        }
        let response = self.finished(plan);
        let kind = if plan.finish == Finish::Length {
            "response.incomplete"
        } else {
            "response.completed"
        };
        frames.push(self.frame(json!({"type": kind, "response": response})));
        frames
    }

    fn error(&mut self, message: &str) -> Bytes {
        let mut response = self.response("failed", &json!([]));
        response["error"] = json!({"code": "server_error", "message": message});
        self.frame(json!({"type": "response.failed", "response": response}))
    }

    fn malformed(&self) -> Bytes {
        Bytes::from_static(b"event: response.output_text.delta\ndata: {\"type\":\"response\n\n")
    }

    fn whole(&self, plan: &Plan) -> Value {
        self.finished(plan)
    }
}
