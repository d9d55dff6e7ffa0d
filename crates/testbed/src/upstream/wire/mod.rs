//! The shapes in which a plan goes over the wire, one implementation per dialect and route.

mod messages;
mod ollama;
mod openai;
mod responses;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::embedding;
use super::ask::{Ask, Route};
use super::plan::Plan;
use super::script::ToolCall;

pub(super) use openai::embeddings as openai_embeddings;

/// Unix seconds that every response carries, so that bodies are equal between runs.
pub(super) const CREATED: u64 = 1_767_225_600;

/// Frames of one streamed response, and its form in one piece.
pub(super) trait Wire: Send {
    fn content_type(&self) -> &'static str;
    /// Frames before the first token.
    fn opening(&mut self) -> Vec<Bytes>;
    fn thinking(&mut self, piece: &str) -> Bytes;
    fn token(&mut self, token: &str) -> Bytes;
    fn tool_calls(&mut self, calls: &[ToolCall]) -> Vec<Bytes>;
    /// Frames after the last token, the final one included.
    fn closing(&mut self, plan: &Plan) -> Vec<Bytes>;
    fn error(&mut self, message: &str) -> Bytes;
    /// A frame whose payload is no JSON.
    fn malformed(&self) -> Bytes;
    fn whole(&self, plan: &Plan) -> Value;
}

/// Returns the wire shape for a request; `number` makes the response's id.
pub(super) fn wire(ask: &Ask, number: u64) -> Box<dyn Wire> {
    match ask.route {
        Route::OllamaChat | Route::OllamaGenerate => Box::new(ollama::OllamaWire::new(ask)),
        Route::Chat => Box::new(openai::ChatWire::new(ask, number)),
        Route::Completions => Box::new(openai::CompletionsWire::new(ask, number)),
        Route::Responses => Box::new(responses::ResponsesWire::new(ask, number)),
        Route::Messages => Box::new(messages::MessagesWire::new(ask, number)),
    }
}

pub(super) use ollama::loaded as ollama_loaded;

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

fn event(value: &Value) -> Bytes {
    let name = value["type"].as_str().unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {value}\n\n"))
}

/// One token's log probabilities as Ollama and OpenAI's chat route write them.
fn logprob(token: &str, alternatives: usize) -> Value {
    let top: Vec<Value> = (0..alternatives)
        .map(|rank| {
            let name = if rank == 0 {
                token.to_owned()
            } else {
                format!("{token}~{rank}")
            };
            json!({"token": name, "logprob": -0.125 * (rank + 1) as f64, "bytes": name.as_bytes()})
        })
        .collect();
    json!({"token": token, "logprob": -0.125, "bytes": token.as_bytes(), "top_logprobs": top})
}

fn arguments_value(call: &ToolCall) -> Value {
    serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}))
}

/// Returns the vectors of `inputs`.
pub(super) fn vectors(inputs: &[String], dimensions: usize) -> Vec<Vec<f32>> {
    inputs
        .iter()
        .map(|input| embedding(input, dimensions))
        .collect()
}
