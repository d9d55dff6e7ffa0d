//! Reading `/v1/messages` as a chat.
//!
//! An errored tool result keeps its text, which says what went wrong; the mark beside it has no counterpart elsewhere. Neither
//! has the budget of `thinking`: the effort in `output_config` is what other dialects say, too.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::value::RawValue;

use crate::canonical::{
    ChatRequest, Format, Generation, Message, Part, Request, Role, Think, Tool, ToolCall,
    ToolChoice,
};
use crate::error::ApiError;
use crate::json::{Json, body_object, field};
use crate::operation::Operation;

/// Reads a body of `/v1/messages`.
pub(crate) fn read_request(body: &[u8]) -> Result<Request, ApiError> {
    const OPERATION: Operation = Operation::AnthropicMessages;
    let mut system = None;
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
        let generation = &mut chat.generation;
        let sampling = &mut generation.sampling;
        match &*name {
            "model" => chat.model = field("model", raw)?,
            "messages" => chat.messages = messages(raw)?,
            "system" => system = Some(field::<Content>("system", raw)?),
            "max_tokens" => sampling.max_tokens = Some(field("max_tokens", raw)?),
            "stream" => generation.stream = field("stream", raw)?,
            "temperature" => sampling.temperature = Some(field("temperature", raw)?),
            "top_p" => sampling.top_p = Some(field("top_p", raw)?),
            "top_k" => sampling.top_k = Some(field("top_k", raw)?),
            "stop_sequences" => sampling.stop = field("stop_sequences", raw)?,
            "tools" => {
                let wire: Vec<WireTool> = field("tools", raw)?;
                chat.tools = wire.into_iter().map(tool).collect::<Result<_, _>>()?;
            }
            "tool_choice" => {
                let wire: WireChoice = field("tool_choice", raw)?;
                chat.parallel_tool_calls = wire.disable_parallel_tool_use.map(|disabled| !disabled);
                chat.tool_choice = Some(tool_choice(wire)?);
            }
            "thinking" => {
                let wire: WireThinking = field("thinking", raw)?;
                let think = if wire.r#type == "disabled" {
                    Think::Off
                } else {
                    Think::On
                };
                // An effort says more than a bare switch.
                if !matches!(generation.think, Some(Think::Level(_))) || think == Think::Off {
                    generation.think = Some(think);
                }
            }
            "output_config" => output_config(raw, generation)?,
            name => generation.extensions.push(name, raw.into()),
        }
    }
    if chat.model.is_empty() {
        return Err(ApiError::model_missing(OPERATION));
    }
    if chat.messages.is_empty() {
        return Err(ApiError::invalid_field(
            "messages",
            "messages: at least one message is required",
        ));
    }
    match chat.generation.sampling.max_tokens {
        Some(1..) => {}
        Some(_) => {
            return Err(ApiError::invalid_field(
                "max_tokens",
                "max_tokens: must be greater than 0",
            ));
        }
        None => {
            return Err(ApiError::invalid_field(
                "max_tokens",
                "max_tokens: Field required",
            ));
        }
    }
    if let Some(system) = system {
        let mut message = Message::new(Role::System);
        message.parts = plain_parts(system, "system")?;
        chat.messages.insert(0, message);
    }
    chat.continue_last = chat
        .messages
        .last()
        .is_some_and(|last| last.role == Role::Assistant && last.tool_calls.is_empty());
    Ok(Request::Chat(Box::new(chat)))
}

#[derive(Deserialize)]
struct WireThinking {
    r#type: String,
}

#[derive(Deserialize)]
struct OutputConfig {
    effort: Option<String>,
    format: Option<OutputFormat>,
}

#[derive(Deserialize)]
struct OutputFormat {
    schema: Json,
}

fn output_config(raw: &RawValue, generation: &mut Generation) -> Result<(), ApiError> {
    let wire: OutputConfig = field("output_config", raw)?;
    if let Some(effort) = wire.effort
        && generation.think != Some(Think::Off)
    {
        generation.think = Some(Think::Level(effort));
    }
    generation.format = wire.format.map(|format| Format::Schema {
        schema: format.schema,
        name: None,
        description: None,
        strict: None,
    });
    Ok(())
}

#[derive(Deserialize)]
struct WireTool {
    r#type: Option<String>,
    name: String,
    description: Option<String>,
    input_schema: Option<Json>,
    strict: Option<bool>,
}

fn tool(wire: WireTool) -> Result<Tool, ApiError> {
    match wire.r#type.as_deref() {
        None | Some("custom") => Ok(Tool {
            name: wire.name,
            description: wire.description,
            parameters: wire.input_schema,
            strict: wire.strict,
        }),
        Some(kind) => {
            let why = format!(
                "tools of type '{kind}' need Anthropic's servers; only custom tools can be translated"
            );
            Err(ApiError::unsupported("tools", &why))
        }
    }
}

#[derive(Deserialize)]
struct WireChoice {
    r#type: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

fn tool_choice(wire: WireChoice) -> Result<ToolChoice, ApiError> {
    match (wire.r#type.as_str(), wire.name) {
        ("auto", _) => Ok(ToolChoice::Auto),
        ("any", _) => Ok(ToolChoice::Required),
        ("none", _) => Ok(ToolChoice::None),
        ("tool", Some(name)) => Ok(ToolChoice::Named(name)),
        (other, _) => Err(ApiError::invalid_field(
            "tool_choice",
            format!("tool_choice: unknown type '{other}'"),
        )),
    }
}

#[derive(Deserialize)]
struct WireMessage {
    role: String,
    content: Content,
}

enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

/// Not derived: an untagged enum would buffer its input, in which a tool's input could not be kept as text.
impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let content = if raw.starts_with('"') {
            serde_json::from_str(raw).map(Self::Text)
        } else {
            serde_json::from_str(raw).map(Self::Blocks)
        };
        content.map_err(D::Error::custom)
    }
}

#[derive(Deserialize)]
struct Block {
    r#type: String,
    text: Option<String>,
    thinking: Option<String>,
    source: Option<Source>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Json>,
    tool_use_id: Option<String>,
    content: Option<Content>,
}

#[derive(Deserialize)]
struct Source {
    media_type: Option<String>,
    data: Option<String>,
    url: Option<String>,
}

fn messages(raw: &RawValue) -> Result<Vec<Message>, ApiError> {
    let mut messages = Vec::new();
    for wire in field::<Vec<WireMessage>>("messages", raw)? {
        let role = match wire.role.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            other => {
                let text = format!("messages: unknown role '{other}'; use 'user' or 'assistant'");
                return Err(ApiError::invalid_field("messages", text));
            }
        };
        let mut message = Message::new(role);
        match wire.content {
            Content::Text(text) => message.parts.push(Part::Text(text)),
            Content::Blocks(blocks) => {
                for block in blocks {
                    add_block(block, &mut message, &mut messages)?;
                }
            }
        }
        let is_empty =
            message.parts.is_empty() && message.tool_calls.is_empty() && message.thinking.is_none();
        if !is_empty {
            messages.push(message);
        }
    }
    Ok(messages)
}

/// Adds a block to its message; a tool's result becomes a message of its own, before the rest of the user's.
fn add_block(
    block: Block,
    message: &mut Message,
    messages: &mut Vec<Message>,
) -> Result<(), ApiError> {
    match block.r#type.as_str() {
        "thinking" => {
            if let Some(thinking) = block.thinking {
                message.thinking.get_or_insert_default().push_str(&thinking);
            }
        }
        "tool_use" => message.tool_calls.push(ToolCall {
            id: block.id,
            name: block.name.unwrap_or_default(),
            arguments: block
                .input
                .map_or_else(|| "{}".to_owned(), |input| input.text().to_owned()),
        }),
        "tool_result" => {
            let mut result = Message::new(Role::Tool);
            result.tool_call_id = block.tool_use_id;
            result.parts = block
                .content
                .map(|content| plain_parts(content, "messages"))
                .transpose()?
                .unwrap_or_default();
            messages.push(result);
        }
        _ => message.parts.push(plain_part(block, "messages")?),
    }
    Ok(())
}

fn plain_parts(content: Content, place: &str) -> Result<Vec<Part>, ApiError> {
    match content {
        Content::Text(text) => Ok(vec![Part::Text(text)]),
        Content::Blocks(blocks) => blocks
            .into_iter()
            .map(|block| plain_part(block, place))
            .collect(),
    }
}

fn plain_part(block: Block, place: &str) -> Result<Part, ApiError> {
    match (block.r#type.as_str(), block.text, block.source) {
        ("text", Some(text), _) => Ok(Part::Text(text)),
        (
            "image",
            _,
            Some(Source {
                media_type,
                data: Some(data),
                ..
            }),
        ) => Ok(Part::Image {
            media_type: media_type.unwrap_or_else(|| crate::media::image_type(&data).to_owned()),
            data,
            detail: None,
        }),
        ("image", _, Some(Source { url: Some(url), .. })) => {
            Ok(Part::ImageUrl { url, detail: None })
        }
        (other, ..) => Err(ApiError::unsupported(
            place,
            &format!("content of type '{other}' cannot be translated"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::{ErrorKind, Operation, Part, Request, Role, Think, ToolChoice, decode_request};

    #[test]
    fn blocks_become_messages() {
        let body = br#"{"model":"m","max_tokens":5,"system":[{"type":"text","text":"be"}],"thinking":{"type":"enabled","budget_tokens":9},
            "output_config":{"effort":"low"},"tool_choice":{"type":"any"},
            "tools":[{"name":"f","input_schema":{"z":1,"a":2}}],
            "messages":[{"role":"user","content":"a"},
             {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"tool_use","id":"t","name":"f","input":{"z":1,"a":2}}]},
             {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"3"}]},{"type":"text","text":"go"},
              {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}]}]}"#;
        let Request::Chat(chat) = decode_request(Operation::AnthropicMessages, body).unwrap()
        else {
            panic!()
        };
        let roles: Vec<Role> = chat.messages.iter().map(|message| message.role).collect();
        assert_eq!(
            roles,
            [
                Role::System,
                Role::User,
                Role::Assistant,
                Role::Tool,
                Role::User
            ]
        );
        assert_eq!(chat.messages[2].tool_calls[0].arguments, r#"{"z":1,"a":2}"#);
        assert!(matches!(&chat.messages[4].parts[1], Part::Image { data, .. } if data == "AA=="));
        assert_eq!(chat.generation.think, Some(Think::Level("low".into())));
        assert_eq!(chat.tool_choice, Some(ToolChoice::Required));
        assert!(!chat.continue_last);
    }

    #[test]
    fn wrong_requests_are_refused() {
        let cases = [
            (
                r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#,
                "max_tokens",
            ),
            (
                r#"{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"a"}]}"#,
                "max_tokens",
            ),
            (r#"{"model":"m","max_tokens":1,"messages":[]}"#, "messages"),
            (
                r#"{"max_tokens":1,"messages":[{"role":"user","content":"a"}]}"#,
                "model",
            ),
        ];
        for (body, param) in cases {
            let error = decode_request(Operation::AnthropicMessages, body.as_bytes()).unwrap_err();
            assert_eq!(
                (error.kind, error.param.as_deref()),
                (ErrorKind::Invalid, Some(param))
            );
        }
    }
}
