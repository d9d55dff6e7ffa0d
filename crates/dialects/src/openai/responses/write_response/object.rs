//! The response object: what it repeats of the request, its status and its cost.

use serde_json::{Map, Value, json};

use crate::canonical::{ChatRequest, Format, Think, ToolChoice};
use crate::encoder::ResponseMeta;
use crate::error::ApiError;
use crate::event::{FinishReason, Usage};
use crate::json::{Fields, Json};

/// Returns what the response repeats of the request.
pub(crate) fn echo(chat: &ChatRequest) -> Fields {
    let sampling = &chat.generation.sampling;
    let tools: Vec<Value> = chat
        .tools
        .iter()
        .map(|tool| {
            json!({
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters.as_ref().and_then(Json::read::<Value>),
                "strict": tool.strict,
            })
        })
        .collect();
    let tool_choice = match &chat.tool_choice {
        None | Some(ToolChoice::Auto) => json!("auto"),
        Some(ToolChoice::None) => json!("none"),
        Some(ToolChoice::Required) => json!("required"),
        Some(ToolChoice::Named(name)) => json!({ "type": "function", "name": name }),
    };
    let format = match &chat.generation.format {
        None => json!({ "type": "text" }),
        Some(Format::Json) => json!({ "type": "json_object" }),
        Some(Format::Schema {
            schema,
            name,
            strict,
            ..
        }) => json!({
            "type": "json_schema",
            "name": name,
            "strict": strict,
            "schema": schema.read::<Value>(),
        }),
    };
    let effort = match &chat.generation.think {
        Some(Think::Level(level)) => Some(level.as_str()),
        Some(Think::Off) => Some("none"),
        Some(Think::On) | None => None,
    };
    let mut fields = Fields::default();
    for (name, value) in [
        ("max_output_tokens", json!(sampling.max_tokens)),
        (
            "parallel_tool_calls",
            json!(chat.parallel_tool_calls.unwrap_or(true)),
        ),
        ("reasoning", json!({ "effort": effort, "summary": null })),
        ("temperature", json!(sampling.temperature.unwrap_or(1.0))),
        ("text", json!({ "format": format })),
        ("tool_choice", tool_choice),
        ("tools", Value::Array(tools)),
        ("top_p", json!(sampling.top_p.unwrap_or(1.0))),
    ] {
        if let Some(value) = Json::parse(&value.to_string()) {
            fields.push(name, value);
        }
    }
    fields
}

/// How a response stands.
pub(super) enum Status<'a> {
    InProgress,
    Ended(FinishReason, Usage),
    Failed(&'a ApiError),
}

/// Builds the object that the whole body is, and that the first and last events carry.
pub(super) fn response_object(
    meta: &ResponseMeta,
    created_secs: i64,
    output: Vec<Value>,
    status: &Status<'_>,
) -> Value {
    let (name, error, incomplete, usage) = match status {
        Status::InProgress => ("in_progress", Value::Null, Value::Null, Value::Null),
        Status::Ended(FinishReason::Length, usage) => (
            "incomplete",
            Value::Null,
            json!({ "reason": "max_output_tokens" }),
            usage_object(usage),
        ),
        Status::Ended(FinishReason::ContentFilter, usage) => (
            "incomplete",
            Value::Null,
            json!({ "reason": "content_filter" }),
            usage_object(usage),
        ),
        Status::Ended(_, usage) => ("completed", Value::Null, Value::Null, usage_object(usage)),
        Status::Failed(error) => {
            let code = error.code.as_deref().unwrap_or("server_error");
            (
                "failed",
                json!({ "code": code, "message": error.message }),
                Value::Null,
                Value::Null,
            )
        }
    };
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("id", json!(meta.id));
    put("object", json!("response"));
    put("created_at", json!(created_secs));
    put("status", json!(name));
    put("background", json!(false));
    put("error", error);
    put("incomplete_details", incomplete);
    put("instructions", Value::Null);
    put("model", json!(meta.model));
    put("output", Value::Array(output));
    put("previous_response_id", Value::Null);
    put("store", json!(false));
    put("truncation", json!("disabled"));
    put("usage", usage);
    put("metadata", json!({}));
    for (field, value) in meta.echo.iter() {
        put(field, value.read().unwrap_or_default());
    }
    Value::Object(object)
}

fn usage_object(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens.unwrap_or(0) },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens.unwrap_or(0) },
        "total_tokens": usage.total_tokens(),
    })
}
