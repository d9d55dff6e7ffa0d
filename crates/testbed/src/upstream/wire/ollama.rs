//! `/api/chat` and `/api/generate`: one JSON object a line.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::ask::{Ask, Route};
use super::super::plan::{Finish, Plan};
use super::super::script::ToolCall;
use super::{Wire, arguments_value, line, logprob};

pub(super) struct OllamaWire {
    model: String,
    chat: bool,
    logprobs: Option<usize>,
    frame: u64,
}

impl OllamaWire {
    pub(super) fn new(ask: &Ask) -> Self {
        Self {
            model: ask.model.clone(),
            chat: ask.route == Route::OllamaChat,
            logprobs: ask.logprobs,
            frame: 0,
        }
    }

    /// Makes one object with `text` in the place that the route has for it.
    fn object(&self, text: &str, done: bool) -> Value {
        let created_at = format!("2026-01-01T00:00:00.{:09}Z", self.frame + 1);
        if self.chat {
            let message = json!({"role": "assistant", "content": text});
            json!({"model": self.model, "created_at": created_at, "message": message, "done": done})
        } else {
            json!({"model": self.model, "created_at": created_at, "response": text, "done": done})
        }
    }

    fn next(&mut self, text: &str) -> Value {
        self.frame += 1;
        self.object(text, false)
    }

    fn put(&self, object: &mut Value, key: &str, value: Value) {
        if self.chat {
            object["message"][key] = value;
        } else {
            object[key] = value;
        }
    }

    fn finished(&self, text: &str, plan: &Plan) -> Value {
        let mut object = self.object(text, true);
        object["done_reason"] = json!(if plan.finish == Finish::Length {
            "length"
        } else {
            "stop"
        });
        let (prompt, answer) = (plan.prompt_tokens as u64, plan.completion_tokens as u64);
        object["total_duration"] = json!(1_000_000 * (prompt + answer) + 2_000_000);
        object["load_duration"] = json!(1_000_000);
        // Ollama leaves zero values out.
        for (key, value) in [
            ("prompt_eval_count", prompt),
            ("prompt_eval_duration", prompt * 1_000_000),
            ("eval_count", answer),
            ("eval_duration", answer * 1_000_000),
        ] {
            if value > 0 {
                object[key] = json!(value);
            }
        }
        object
    }

    fn calls(calls: &[ToolCall]) -> Value {
        calls
            .iter()
            .enumerate()
            .map(|(at, call)| {
                let function =
                    json!({"index": at, "name": call.name, "arguments": arguments_value(call)});
                json!({"id": format!("call_{at:08}"), "function": function})
            })
            .collect()
    }
}

/// Returns the answer to a request without a prompt, which only loads or unloads.
pub(in super::super) fn loaded(ask: &Ask) -> Value {
    let mut object = OllamaWire::new(ask).object("", true);
    object["done_reason"] = json!(if ask.keep_alive_zero {
        "unload"
    } else {
        "load"
    });
    object
}

impl Wire for OllamaWire {
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn opening(&mut self) -> Vec<Bytes> {
        Vec::new()
    }

    fn thinking(&mut self, piece: &str) -> Bytes {
        let mut object = self.next("");
        self.put(&mut object, "thinking", json!(piece));
        line(&object)
    }

    fn token(&mut self, token: &str) -> Bytes {
        let mut object = self.next(token);
        if let Some(top) = self.logprobs {
            object["logprobs"] = json!([logprob(token, top)]);
        }
        line(&object)
    }

    fn tool_calls(&mut self, calls: &[ToolCall]) -> Vec<Bytes> {
        let mut object = self.next("");
        self.put(&mut object, "tool_calls", Self::calls(calls));
        vec![line(&object)]
    }

    fn closing(&mut self, plan: &Plan) -> Vec<Bytes> {
        self.frame += 1;
        vec![line(&self.finished("", plan))]
    }

    fn error(&mut self, message: &str) -> Bytes {
        line(&json!({"error": message}))
    }

    fn malformed(&self) -> Bytes {
        Bytes::from_static(b"{\"model\":\"broken\",\"message\":{\"role\":\n")
    }

    fn whole(&self, plan: &Plan) -> Value {
        let mut object = self.finished(&plan.text(), plan);
        if !plan.thinking.is_empty() {
            self.put(&mut object, "thinking", json!(plan.thinking.concat()));
        }
        if !plan.tool_calls.is_empty() {
            self.put(&mut object, "tool_calls", Self::calls(&plan.tool_calls));
        }
        if let Some(top) = self.logprobs {
            object["logprobs"] = plan
                .tokens
                .iter()
                .map(|token| logprob(token, top))
                .collect();
        }
        object
    }
}
