//! Reading `/v1/responses` as a chat. What would need state between calls is left in the extensions, which refuse it.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::{
    ChatRequest, Generation, Message, Part, Request, Role, Tool, ToolCall, ToolChoice,
};
use crate::error::ApiError;
use crate::json::{Json, body_object, field};
use crate::openai::read_request::{WireSchema, choice_word, image_part, named_format, read_shared};
use crate::operation::Operation;

/// Reads a body of `/v1/responses`.
pub(crate) fn read_request(body: &[u8]) -> Result<Request, ApiError> {
    const OPERATION: Operation = Operation::OpenAiResponses;
    let mut instructions = None;
    let mut chat = ChatRequest {
        source: OPERATION,
        model: String::new(),
        messages: Vec::new(),
        tools: Vec::new(),
        tool_choice: None,
        parallel_tool_calls: None,
        generation: Generation::default(),
        continue_last: false,
    };
    for (name, raw) in body_object(body)?.0 {
        match &*name {
            "model" => chat.model = field("model", raw)?,
            "input" => chat.messages = input(raw)?,
            "instructions" => instructions = Some(field::<String>("instructions", raw)?),
            "tools" => {
                let wire: Vec<WireTool> = field("tools", raw)?;
                chat.tools = wire.into_iter().map(tool).collect::<Result<_, _>>()?;
            }
            "tool_choice" => chat.tool_choice = Some(tool_choice(raw)?),
            "parallel_tool_calls" => {
                chat.parallel_tool_calls = Some(field("parallel_tool_calls", raw)?);
            }
            "text" => text_settings(raw, &mut chat.generation)?,
            "top_logprobs" if raw.get() == "0" => {}
            name => read_shared(name, raw, &mut chat.generation)?,
        }
    }
    if chat.model.is_empty() {
        return Err(ApiError::model_missing(OPERATION));
    }
    if chat.messages.is_empty() {
        return Err(ApiError::invalid_field(
            "input",
            "you must provide an input",
        ));
    }
    if let Some(instructions) = instructions.filter(|text| !text.is_empty()) {
        chat.messages
            .insert(0, Message::text(Role::System, instructions));
    }
    Ok(Request::Chat(Box::new(chat)))
}

#[derive(Deserialize)]
struct TextSettings {
    format: Option<TextFormat>,
    verbosity: Option<Json>,
}

#[derive(Deserialize)]
struct TextFormat {
    r#type: String,
    name: Option<String>,
    description: Option<String>,
    schema: Option<Json>,
    strict: Option<bool>,
}

fn text_settings(raw: &RawValue, generation: &mut Generation) -> Result<(), ApiError> {
    let text: TextSettings = field("text", raw)?;
    if let Some(verbosity) = text.verbosity {
        generation.extensions.push("verbosity", verbosity);
    }
    if let Some(TextFormat {
        r#type,
        name,
        description,
        schema,
        strict,
    }) = text.format
    {
        let wire = WireSchema {
            name,
            description,
            schema,
            strict,
        };
        generation.format = named_format(&r#type, Some(wire), "text.format")?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct WireTool {
    r#type: String,
    name: Option<String>,
    description: Option<String>,
    parameters: Option<Json>,
    strict: Option<bool>,
}

fn tool(wire: WireTool) -> Result<Tool, ApiError> {
    match wire.name {
        Some(name) if wire.r#type == "function" => Ok(Tool {
            name,
            description: wire.description,
            parameters: wire.parameters,
            strict: wire.strict,
        }),
        _ => {
            let why = format!(
                "tools of type '{}' need a server that runs them; only functions can be translated",
                wire.r#type
            );
            Err(ApiError::unsupported("tools", &why))
        }
    }
}

fn tool_choice(raw: &RawValue) -> Result<ToolChoice, ApiError> {
    #[derive(Deserialize)]
    struct Wire {
        name: Option<String>,
    }
    if raw.get().starts_with('"') {
        return choice_word(&field::<String>("tool_choice", raw)?);
    }
    let wire: Wire = field("tool_choice", raw)?;
    wire.name
        .map(ToolChoice::Named)
        .ok_or_else(|| ApiError::unsupported("tool_choice", "name one function or use a word"))
}

#[derive(Deserialize)]
struct Item {
    r#type: Option<String>,
    role: Option<String>,
    content: Option<Content>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    output: Option<Content>,
    summary: Option<Vec<WirePart>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<WirePart>),
}

#[derive(Deserialize)]
struct WirePart {
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<String>,
    detail: Option<String>,
}

fn input(raw: &RawValue) -> Result<Vec<Message>, ApiError> {
    if raw.get().starts_with('"') {
        let text: String = field("input", raw)?;
        return Ok(if text.is_empty() {
            vec![]
        } else {
            vec![Message::text(Role::User, text)]
        });
    }
    let mut messages = Vec::new();
    let mut thinking: Option<String> = None;
    for item in field::<Vec<Item>>("input", raw)? {
        match item.r#type.as_deref().unwrap_or("message") {
            "message" => {
                let name = item.role.unwrap_or_default();
                let role = Role::from_name(&name).ok_or_else(|| {
                    ApiError::invalid_field("input", format!("unknown role '{name}'"))
                })?;
                let mut message = Message::new(role);
                message.parts = item.content.map(parts).transpose()?.unwrap_or_default();
                if role == Role::Assistant {
                    message.thinking = thinking.take();
                }
                messages.push(message);
            }
            "function_call" => {
                let call = ToolCall {
                    id: item.call_id,
                    name: item.name.unwrap_or_default(),
                    arguments: item.arguments.unwrap_or_default(),
                };
                assistant(&mut messages, thinking.take())
                    .tool_calls
                    .push(call);
            }
            "function_call_output" => {
                let mut message = Message::new(Role::Tool);
                message.tool_call_id = item.call_id;
                message.parts = item.output.map(parts).transpose()?.unwrap_or_default();
                messages.push(message);
            }
            "reasoning" => {
                // Servers that don't summarise write it into the content (vLLM).
                let text = match item.content {
                    Some(Content::Parts(parts))
                        if item.summary.as_ref().is_none_or(Vec::is_empty) =>
                    {
                        joined(parts)
                    }
                    _ => joined(item.summary.unwrap_or_default()),
                };
                thinking = Some(text).filter(|text| !text.is_empty());
            }
            other => {
                let why = format!("items of type '{other}' cannot be translated");
                return Err(ApiError::unsupported("input", &why));
            }
        }
    }
    Ok(messages)
}

fn joined(parts: Vec<WirePart>) -> String {
    parts.into_iter().filter_map(|part| part.text).collect()
}

/// Returns the assistant message to which a call belongs: the last message, or a new one.
fn assistant(messages: &mut Vec<Message>, thinking: Option<String>) -> &mut Message {
    let goes_on = thinking.is_none()
        && messages
            .last()
            .is_some_and(|last| last.role == Role::Assistant);
    if !goes_on {
        let mut message = Message::new(Role::Assistant);
        message.thinking = thinking;
        messages.push(message);
    }
    let last = messages.len() - 1;
    &mut messages[last]
}

fn parts(content: Content) -> Result<Vec<Part>, ApiError> {
    let wire = match content {
        Content::Text(text) => return Ok(vec![Part::Text(text)]),
        Content::Parts(wire) => wire,
    };
    wire.into_iter()
        .map(|part| match part {
            WirePart {
                text: Some(text), ..
            }
            | WirePart {
                refusal: Some(text),
                ..
            } => Ok(Part::Text(text)),
            WirePart {
                image_url: Some(url),
                detail,
                ..
            } => Ok(image_part(url, detail)),
            WirePart { r#type, .. } => Err(ApiError::unsupported(
                "input",
                &format!("content of type '{type}' cannot be translated"),
            )),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        ErrorKind, Format, Operation, Request, Role, ServerKind, Target, decode_request,
        encode_request,
    };

    fn decode(body: &str) -> Request {
        decode_request(Operation::OpenAiResponses, body.as_bytes()).unwrap()
    }

    #[test]
    fn items_become_a_conversation() {
        let Request::Chat(chat) = decode(
            r#"{"model":"m","instructions":"be","input":[{"role":"user","content":[{"type":"input_text","text":"a"}]},
            {"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},
            {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
            {"type":"function_call_output","call_id":"c","output":"3"}],
            "tools":[{"type":"function","name":"f","parameters":{"z":1}}],
            "text":{"format":{"type":"json_schema","name":"s","schema":{"b":1}}},"max_output_tokens":4,"store":false}"#,
        ) else {
            panic!()
        };
        let roles: Vec<Role> = chat.messages.iter().map(|message| message.role).collect();
        assert_eq!(
            roles,
            [Role::System, Role::User, Role::Assistant, Role::Tool]
        );
        assert_eq!(chat.messages[2].thinking.as_deref(), Some("hm"));
        assert_eq!(chat.messages[2].tool_calls[0].name, "f");
        assert!(matches!(
            chat.generation.format,
            Some(Format::Schema { .. })
        ));
        assert_eq!(chat.generation.sampling.max_tokens, Some(4));
    }

    #[test]
    fn earlier_thinking_is_kept_wherever_the_server_wrote_it() {
        for written in [
            r#""summary":[{"type":"summary_text","text":"hm"}],"content":[{"type":"reasoning_text","text":"long"}]"#,
            r#""summary":[],"content":[{"type":"reasoning_text","text":"hm"}]"#,
        ] {
            let Request::Chat(chat) = decode(&format!(
                r#"{{"model":"m","input":[{{"type":"reasoning",{written}}},{{"role":"assistant","content":"a"}},{{"role":"user","content":"q"}}]}}"#
            )) else {
                panic!()
            };
            assert_eq!(chat.messages[0].thinking.as_deref(), Some("hm"));
        }
    }

    #[test]
    fn state_between_calls_is_refused() {
        let request = decode(r#"{"model":"m","input":"a","previous_response_id":"resp_1"}"#);
        let target = Target {
            operation: Operation::OpenAiChat,
            server: ServerKind::Vllm,
        };
        let error = encode_request(&target, &request).unwrap_err();
        assert_eq!(
            (error.kind, error.param.as_deref()),
            (ErrorKind::Unsupported, Some("previous_response_id"))
        );
        assert!(error.message.contains("send the whole conversation"));
    }
}
