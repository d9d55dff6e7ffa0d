//! Functions that are offered, and which of them must be called.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::{Tool, ToolChoice};
use crate::error::ApiError;
use crate::json::{Json, field};

pub(super) fn tool_choice(raw: &RawValue) -> Result<ToolChoice, ApiError> {
    #[derive(Deserialize)]
    struct Wire {
        function: Option<Function>,
    }
    #[derive(Deserialize)]
    struct Function {
        name: String,
    }
    if raw.get().starts_with('"') {
        return choice_word(&field::<String>("tool_choice", raw)?);
    }
    match field::<Wire>("tool_choice", raw)?.function {
        Some(function) => Ok(ToolChoice::Named(function.name)),
        None => Err(ApiError::unsupported(
            "tool_choice",
            "name one function or use a word",
        )),
    }
}

pub(crate) fn choice_word(word: &str) -> Result<ToolChoice, ApiError> {
    match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        other => Err(ApiError::invalid_field(
            "tool_choice",
            format!("invalid tool_choice '{other}': use 'auto', 'none', 'required' or a function"),
        )),
    }
}

#[derive(Deserialize)]
pub(super) struct WireTool {
    r#type: Option<String>,
    function: Option<WireFunction>,
}

#[derive(Deserialize)]
struct WireFunction {
    name: String,
    description: Option<String>,
    parameters: Option<Json>,
    strict: Option<bool>,
}

pub(super) fn tool(wire: WireTool) -> Result<Tool, ApiError> {
    let is_function = wire.r#type.as_deref().unwrap_or("function") == "function";
    let function = wire.function.filter(|_| is_function).ok_or_else(|| {
        ApiError::unsupported("tools", "only tools of type 'function' can be translated")
    })?;
    Ok(Tool {
        name: function.name,
        description: function.description,
        parameters: function.parameters,
        strict: function.strict,
    })
}
