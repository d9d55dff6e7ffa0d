//! The model to use when the person names none.

use serde_json::{Value, json};

use super::failure::Failure;
use crate::client::Api;

/// The model that always answers: the last choice where there is any other.
const DEMO: &str = "remuda-demo";

/// Parts of names of models that only embed or rank. Servers with the OpenAI routes do not tell what a model can do.
const EMBEDDING_NAMES: [&str; 6] = ["embed", "bge-", "minilm", "rerank", "gte-", "e5-"];

/// Returns `named`, if there is such a model, or the first of the fleet that can chat: one in memory before one on
/// disk, and the demo model last.
pub(super) async fn choose_model(api: &Api, named: Option<String>) -> Result<String, Failure> {
    if let Some(name) = named {
        ensure_known(api, &name).await?;
        return Ok(name);
    }
    let loaded = api.get("/api/ps").await?;
    let known = api.get("/api/tags").await?;
    let chatty: Vec<&str> = entries(&known)
        .filter(|entry| can_chat(entry))
        .filter_map(name)
        .filter(|name| *name != DEMO)
        .collect();
    entries(&loaded)
        .filter_map(name)
        .find(|name| chatty.contains(name))
        .or_else(|| chatty.first().copied())
        .or_else(|| entries(&known).filter_map(name).find(|name| *name == DEMO))
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::Refused(
                "the fleet has no model to talk to: fetch one with `remuda pull`, or add a server with `remuda node add`"
                    .to_owned(),
            )
        })
}

/// Fails in the server's words when it knows no model of that name.
pub(super) async fn ensure_known(api: &Api, model: &str) -> Result<(), Failure> {
    api.post("/api/show", &json!({"model": model})).await?;
    Ok(())
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.get("models")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("name").and_then(Value::as_str)
}

fn can_chat(entry: &Value) -> bool {
    let capabilities = entry.get("capabilities").and_then(Value::as_array);
    if let Some(list) = capabilities.filter(|list| !list.is_empty()) {
        return list.iter().any(|one| one == "completion");
    }
    let name = name(entry).unwrap_or_default().to_ascii_lowercase();
    !EMBEDDING_NAMES.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedding_models_do_not_chat() {
        for (entry, expected) in [
            (
                json!({"name": "llama3", "capabilities": ["completion"]}),
                true,
            ),
            (json!({"name": "x", "capabilities": ["embedding"]}), false),
            (json!({"name": "qwen3-8b"}), true),
            (json!({"name": "BAAI/bge-m3"}), false),
            (
                json!({"name": "nomic-embed-text", "capabilities": []}),
                false,
            ),
        ] {
            assert_eq!(can_chat(&entry), expected, "{entry}");
        }
    }
}
