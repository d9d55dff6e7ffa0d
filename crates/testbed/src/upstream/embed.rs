//! Embeddings in both dialects: vectors that depend only on the text.

use serde_json::{Value, json};

use super::answer::count_tokens;
use super::flavour::Flavour;
use super::service::{Call, Node, Reply, json as reply, refusal};
use super::wire::{openai_embeddings, vectors};

/// Returns whether a path is an embeddings route.
pub(super) fn is_route(path: &str) -> bool {
    matches!(path, "/api/embed" | "/api/embeddings" | "/v1/embeddings")
}

/// A text with this in it is refused, and with it the whole call.
const REFUSED: &str = "[[testbed refuse]]";

/// Answers an embeddings request; returns how many inputs were computed, too.
pub(super) fn answer(node: &Node, call: &Call) -> (Reply, usize) {
    let root = call.json();
    if !root.is_object() {
        return (
            refusal(
                node,
                None,
                &call.path,
                400,
                "invalid character in request body",
            ),
            0,
        );
    }
    if call.path.starts_with("/api/") && node.flavour != Flavour::Ollama {
        return (super::catalogue::unknown_path(node.flavour), 0);
    }
    let name = root["model"].as_str().unwrap_or_default();
    let Some(model) = node.find_model(name) else {
        return (
            refusal(node, None, &call.path, 404, &node.unknown_model(name)),
            0,
        );
    };
    let input = if call.path == "/api/embeddings" {
        &root["prompt"]
    } else {
        &root["input"]
    };
    let Some(texts) = texts(input) else {
        return (
            refusal(node, None, &call.path, 400, "invalid input type"),
            0,
        );
    };
    if texts.iter().any(|text| text.contains(REFUSED)) {
        let message = "the input length exceeds the context length";
        return (refusal(node, None, &call.path, 400, message), 0);
    }
    let dimensions = root["dimensions"]
        .as_u64()
        .map_or(model.dimensions, |d| (d as usize).clamp(1, 4096));
    let tokens = texts.iter().map(|text| count_tokens(text)).sum();
    let vectors = vectors(&texts, dimensions);
    let reply = match call.path.as_str() {
        "/api/embed" => reply(
            200,
            &json!({
                "model": name, "embeddings": vectors, "total_duration": 2_000_000, "load_duration": 1_000_000,
                "prompt_eval_count": tokens,
            }),
        ),
        "/api/embeddings" => reply(
            200,
            &json!({"embedding": vectors.first().cloned().unwrap_or_default()}),
        ),
        _ => reply(
            200,
            &openai_embeddings(name, &vectors, root["encoding_format"] == "base64", tokens),
        ),
    };
    (reply, texts.len())
}

/// Returns the texts of an input; token arrays count as the text of their numbers.
fn texts(input: &Value) -> Option<Vec<String>> {
    match input {
        Value::String(text) if text.is_empty() => Some(Vec::new()),
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) if items.iter().any(Value::is_number) => Some(vec![input.to_string()]),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                if item.is_array() {
                    Some(item.to_string())
                } else {
                    item.as_str().map(str::to_owned)
                }
            })
            .collect(),
        _ => None,
    }
}
