//! The model to use when the person names none.

use serde_json::Value;

use super::failure::Failure;
use crate::client::Api;

/// Returns `named`, or the first model of the fleet that can chat: one in memory before one on disk.
pub(super) async fn choose_model(api: &Api, named: Option<String>) -> Result<String, Failure> {
    if let Some(name) = named {
        return Ok(name);
    }
    let loaded = api.get("/api/ps").await?;
    let known = api.get("/api/tags").await?;
    let chatty: Vec<&str> = entries(&known)
        .filter(|entry| can_chat(entry))
        .filter_map(name)
        .collect();
    entries(&loaded)
        .filter_map(name)
        .find(|name| chatty.contains(name))
        .or_else(|| chatty.first().copied())
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::Refused(
                "the fleet has no model to talk to: fetch one with `remuda pull`, or add a server with `remuda node add`"
                    .to_owned(),
            )
        })
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

/// An entry without capabilities is taken to be able to: older servers do not tell.
fn can_chat(entry: &Value) -> bool {
    entry
        .get("capabilities")
        .and_then(Value::as_array)
        .is_none_or(|list| list.is_empty() || list.iter().any(|one| one == "completion"))
}
