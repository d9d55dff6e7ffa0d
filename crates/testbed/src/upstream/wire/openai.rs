//! `/v1/chat/completions`, `/v1/completions` and `/v1/embeddings` in the variants of the flavours.

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Value, json};

use super::super::ask::Ask;
use super::super::flavour::Flavour;
use super::super::plan::{Finish, Plan};
use super::super::script::ToolCall;
use super::{CREATED, Wire, data, logprob};

const DONE: &[u8] = b"data: [DONE]\n\n";
const BROKEN: &[u8] = b"data: {\"id\":\"broken\",\"choices\":[{\"delta\":\n\n";

fn usage(plan: &Plan) -> Value {
    json!({
        "prompt_tokens": plan.prompt_tokens,
        "completion_tokens": plan.completion_tokens,
        "total_tokens": plan.prompt_tokens + plan.completion_tokens,
    })
}

fn timings(plan: &Plan) -> Value {
    json!({
        "prompt_n": plan.prompt_tokens, "prompt_ms": plan.prompt_tokens as f64, "prompt_per_second": 1000.0,
        "predicted_n": plan.completion_tokens, "predicted_ms": plan.completion_tokens as f64, "predicted_per_second": 1000.0,
    })
}

fn finish(plan: &Plan) -> &'static str {
    match plan.finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

pub(super) struct ChatWire {
    id: String,
    model: String,
    flavour: Flavour,
    include_usage: bool,
    logprobs: Option<usize>,
}

impl ChatWire {
    pub(super) fn new(ask: &Ask, number: u64) -> Self {
        Self {
            id: format!("chatcmpl-{number}"),
            model: ask.model.clone(),
            flavour: ask.flavour,
            include_usage: ask.include_usage,
            logprobs: ask.logprobs,
        }
    }

    fn envelope(&self, object: &str, choices: &Value) -> Value {
        let mut value = json!({"id": self.id, "object": object, "created": CREATED, "model": self.model, "choices": choices});
        match self.flavour {
            Flavour::Ollama => value["system_fingerprint"] = json!("fp_ollama"),
            Flavour::LlamaServer => value["system_fingerprint"] = json!(self.flavour.version()),
            Flavour::Vllm | Flavour::Other => {}
        }
        value
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
        self.envelope("chat.completion.chunk", &json!([choice]))
    }

    /// The field that carries thinking.
    fn thinking_field(&self) -> &'static str {
        match self.flavour {
            Flavour::Ollama | Flavour::Vllm => "reasoning",
            Flavour::LlamaServer | Flavour::Other => "reasoning_content",
        }
    }
}

impl Wire for ChatWire {
    fn content_type(&self) -> &'static str {
        match self.flavour {
            Flavour::Vllm => "text/event-stream; charset=utf-8",
            _ => "text/event-stream",
        }
    }

    fn opening(&mut self) -> Vec<Bytes> {
        match self.flavour {
            Flavour::Ollama => Vec::new(),
            Flavour::LlamaServer => vec![data(
                &self.chunk(&json!({"role": "assistant", "content": null}), None),
            )],
            Flavour::Vllm | Flavour::Other => {
                vec![data(
                    &self.chunk(&json!({"role": "assistant", "content": ""}), None),
                )]
            }
        }
    }

    fn thinking(&mut self, piece: &str) -> Bytes {
        let mut delta = json!({});
        delta[self.thinking_field()] = json!(piece);
        data(&self.chunk(&delta, None))
    }

    fn token(&mut self, token: &str) -> Bytes {
        let delta = match self.flavour {
            Flavour::Ollama => json!({"role": "assistant", "content": token}),
            _ => json!({"content": token}),
        };
        let mut chunk = self.chunk(&delta, None);
        if let Some(top) = self.logprobs {
            chunk["choices"][0]["logprobs"] = json!({"content": [logprob(token, top)]});
        }
        data(&chunk)
    }

    fn tool_calls(&mut self, calls: &[ToolCall]) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            let whole = self.flavour == Flavour::Ollama;
            let arguments = if whole { call.arguments.as_str() } else { "" };
            let function = json!({"name": call.name, "arguments": arguments});
            let first = json!({"index": index, "id": format!("call_{index:08}"), "type": "function", "function": function});
            let mut delta = json!({"tool_calls": [first]});
            if whole {
                delta["role"] = json!("assistant");
                delta["content"] = json!("");
            }
            frames.push(data(&self.chunk(&delta, None)));
            if whole {
                continue;
            }
            let characters: Vec<char> = call.arguments.chars().collect();
            for piece in characters.chunks(7) {
                let piece: String = piece.iter().collect();
                let delta =
                    json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]});
                frames.push(data(&self.chunk(&delta, None)));
            }
        }
        frames
    }

    fn closing(&mut self, plan: &Plan) -> Vec<Bytes> {
        let mut last = self.chunk(&json!({}), Some(finish(plan)));
        if self.flavour == Flavour::LlamaServer {
            last["timings"] = timings(plan);
        }
        let mut frames = vec![data(&last)];
        if self.include_usage {
            let mut chunk = self.envelope("chat.completion.chunk", &json!([]));
            chunk["usage"] = usage(plan);
            frames.push(data(&chunk));
        }
        frames.push(Bytes::from_static(DONE));
        frames
    }

    fn error(&mut self, message: &str) -> Bytes {
        data(
            &self
                .flavour
                .error_body("/v1/chat/completions", 500, message),
        )
    }

    fn malformed(&self) -> Bytes {
        Bytes::from_static(BROKEN)
    }

    fn whole(&self, plan: &Plan) -> Value {
        let mut message = json!({"role": "assistant", "content": plan.text()});
        if !plan.thinking.is_empty() {
            message[self.thinking_field()] = json!(plan.thinking.concat());
        }
        if !plan.tool_calls.is_empty() {
            message["tool_calls"] = plan
                .tool_calls
                .iter()
                .enumerate()
                .map(|(index, call)| {
                    let function = json!({"name": call.name, "arguments": call.arguments});
                    json!({"index": index, "id": format!("call_{index:08}"), "type": "function", "function": function})
                })
                .collect();
        }
        let mut choice = json!({"index": 0, "message": message, "finish_reason": finish(plan)});
        if let Some(top) = self.logprobs {
            let content: Vec<Value> = plan
                .tokens
                .iter()
                .map(|token| logprob(token, top))
                .collect();
            choice["logprobs"] = json!({"content": content});
        }
        let mut value = self.envelope("chat.completion", &json!([choice]));
        value["usage"] = usage(plan);
        if self.flavour == Flavour::LlamaServer {
            value["timings"] = timings(plan);
        }
        value
    }
}

pub(super) struct CompletionsWire {
    id: String,
    model: String,
    flavour: Flavour,
    include_usage: bool,
    logprobs: Option<usize>,
    echo: Option<String>,
    offset: usize,
}

impl CompletionsWire {
    pub(super) fn new(ask: &Ask, number: u64) -> Self {
        Self {
            id: format!("cmpl-{number}"),
            model: ask.model.clone(),
            flavour: ask.flavour,
            include_usage: ask.include_usage,
            logprobs: ask.logprobs,
            echo: ask.echo.then(|| format!("{}{}", ask.prompt, ask.prefill)),
            offset: 0,
        }
    }

    fn envelope(&self, choices: &Value) -> Value {
        json!({"id": self.id, "object": "text_completion", "created": CREATED, "model": self.model, "choices": choices})
    }

    fn chunk(&self, text: &str, finish_reason: Option<&str>) -> Value {
        let choice =
            json!({"text": text, "index": 0, "logprobs": null, "finish_reason": finish_reason});
        let mut value = self.envelope(&json!([choice]));
        if self.include_usage && self.flavour == Flavour::Ollama {
            value["usage"] = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
        }
        value
    }

    fn logprobs(tokens: &[String], top: usize, mut offset: usize) -> Value {
        let mut offsets = Vec::new();
        for token in tokens {
            offsets.push(offset);
            offset += token.chars().count();
        }
        let tops: Vec<Value> = tokens
            .iter()
            .map(|token| {
                let mut alternatives = json!({});
                for rank in 0..top {
                    let name = if rank == 0 {
                        token.clone()
                    } else {
                        format!("{token}~{rank}")
                    };
                    alternatives[name] = json!(-0.125 * (rank + 1) as f64);
                }
                alternatives
            })
            .collect();
        let chosen = vec![-0.125; tokens.len()];
        json!({"tokens": tokens, "token_logprobs": chosen, "top_logprobs": tops, "text_offset": offsets})
    }
}

impl Wire for CompletionsWire {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn opening(&mut self) -> Vec<Bytes> {
        self.echo
            .as_deref()
            .map(|echo| data(&self.chunk(echo, None)))
            .into_iter()
            .collect()
    }

    fn thinking(&mut self, piece: &str) -> Bytes {
        self.token(piece)
    }

    fn token(&mut self, token: &str) -> Bytes {
        let mut chunk = self.chunk(token, None);
        if let Some(top) = self.logprobs {
            chunk["choices"][0]["logprobs"] = Self::logprobs(&[token.to_owned()], top, self.offset);
        }
        self.offset += token.chars().count();
        data(&chunk)
    }

    fn tool_calls(&mut self, _calls: &[ToolCall]) -> Vec<Bytes> {
        Vec::new()
    }

    fn closing(&mut self, plan: &Plan) -> Vec<Bytes> {
        let mut last = self.chunk("", Some(finish(plan)));
        if self.flavour == Flavour::LlamaServer {
            // Uninvited, as seen on the real server.
            last["usage"] = usage(plan);
            last["timings"] = timings(plan);
        }
        let mut frames = vec![data(&last)];
        if self.include_usage && self.flavour != Flavour::LlamaServer {
            let mut chunk = self.envelope(&json!([]));
            chunk["usage"] = usage(plan);
            frames.push(data(&chunk));
        }
        frames.push(Bytes::from_static(DONE));
        frames
    }

    fn error(&mut self, message: &str) -> Bytes {
        data(&self.flavour.error_body("/v1/completions", 500, message))
    }

    fn malformed(&self) -> Bytes {
        Bytes::from_static(BROKEN)
    }

    fn whole(&self, plan: &Plan) -> Value {
        let text = format!(
            "{}{}",
            self.echo.as_deref().unwrap_or_default(),
            plan.text()
        );
        let logprobs = self
            .logprobs
            .map(|top| Self::logprobs(&plan.tokens, top, 0));
        let choice =
            json!({"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish(plan)});
        let mut value = self.envelope(&json!([choice]));
        value["usage"] = usage(plan);
        value
    }
}

/// Returns the body of `/v1/embeddings`.
pub(in super::super) fn embeddings(
    model: &str,
    vectors: &[Vec<f32>],
    base64: bool,
    tokens: usize,
) -> Value {
    let rows: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| {
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                json!(base64::engine::general_purpose::STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    json!({"object": "list", "data": rows, "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
}
