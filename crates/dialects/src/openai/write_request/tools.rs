//! Functions that are offered, and which of them must be called.

use serde::Serialize;

use crate::canonical::{ChatRequest, Tool, ToolChoice};
use crate::error::ApiError;
use crate::json::Json;
use crate::target::ServerKind;
use crate::wire::ObjectWriter;

#[derive(Serialize)]
struct WireTool<'a> {
    r#type: &'static str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
struct WireChoice<'a> {
    r#type: &'static str,
    function: WireChosen<'a>,
}

#[derive(Serialize)]
struct WireChosen<'a> {
    name: &'a str,
}

pub(super) fn write_tools(
    body: &mut ObjectWriter,
    chat: &ChatRequest,
    server: ServerKind,
) -> Result<(), ApiError> {
    if chat.tools.is_empty() {
        return Ok(());
    }
    if server == ServerKind::Ollama {
        let forced = matches!(
            chat.tool_choice,
            Some(ToolChoice::Required | ToolChoice::Named(_))
        );
        if forced || chat.parallel_tool_calls == Some(false) {
            let name = if forced {
                "tool_choice"
            } else {
                "parallel_tool_calls"
            };
            return Err(ApiError::unsupported(
                name,
                "Ollama decides itself which tools to call",
            ));
        }
        if chat.tool_choice == Some(ToolChoice::None) {
            return Ok(());
        }
    }
    let tools: Vec<WireTool<'_>> = chat.tools.iter().map(wire_tool).collect();
    body.put("tools", &tools);
    match &chat.tool_choice {
        None => {}
        Some(ToolChoice::Auto) => body.put("tool_choice", "auto"),
        Some(ToolChoice::None) => body.put("tool_choice", "none"),
        Some(ToolChoice::Required) => body.put("tool_choice", "required"),
        Some(ToolChoice::Named(name)) => {
            let choice = WireChoice {
                r#type: "function",
                function: WireChosen { name },
            };
            body.put("tool_choice", &choice);
        }
    }
    body.put_some("parallel_tool_calls", chat.parallel_tool_calls);
    Ok(())
}

fn wire_tool(tool: &Tool) -> WireTool<'_> {
    WireTool {
        r#type: "function",
        function: WireFunction {
            name: &tool.name,
            description: tool.description.as_deref(),
            parameters: tool.parameters.as_ref(),
            strict: tool.strict,
        },
    }
}
