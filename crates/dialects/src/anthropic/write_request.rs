//! Writing requests for servers that speak Anthropic's dialect.
//!
//! Lost on the way: the thinking of earlier turns (it would need the server's own signature), speakers' names, the
//! resolution hints of images, and the name and strictness of a schema (every schema is followed strictly).

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;

use crate::answer::argument_object;
use crate::canonical::{ChatRequest, Format, Message, Part, Role, Think, ToolChoice};
use crate::error::ApiError;
use crate::hints::drop_extensions;
use crate::json::Json;
use crate::target::Target;
use crate::wire::ObjectWriter;

/// The limit for clients whose dialect does not demand one, tokens.
const DEFAULT_MAX_TOKENS: i64 = 4096;

/// The least thinking that Anthropic accepts, tokens.
const MIN_THINKING_TOKENS: i64 = 1024;

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
    },
    Image {
        source: Source<'a>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Json,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Self>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

#[derive(Serialize)]
struct WireTool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Cow<'a, Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
struct WireChoice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Serialize)]
struct WireThinking {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_tokens: Option<i64>,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<OutputFormat<'a>>,
}

#[derive(Serialize)]
struct OutputFormat<'a> {
    r#type: &'static str,
    schema: &'a Json,
}

/// Writes a body of `/v1/messages`.
pub(crate) fn write_chat(target: Target, chat: &ChatRequest) -> Result<Bytes, ApiError> {
    let generation = &chat.generation;
    let sampling = &generation.sampling;
    let known = ["temperature", "top_p", "top_k", "stop", "max_tokens"];
    if let Some(name) = sampling.used().find(|name| !known.contains(name)) {
        return Err(ApiError::unsupported(
            name,
            "Anthropic's API has no such setting",
        ));
    }
    if generation.logprobs.is_some() {
        return Err(ApiError::unsupported(
            "logprobs",
            "Anthropic's API has no log probabilities",
        ));
    }
    let max_tokens = sampling
        .max_tokens
        .filter(|limit| *limit > 0)
        .unwrap_or(DEFAULT_MAX_TOKENS);
    let mut body = ObjectWriter::with_capacity(1024);
    body.put("model", &chat.model);
    body.put("max_tokens", &max_tokens);
    let (system, messages): (Vec<&Message>, Vec<&Message>) = chat
        .messages
        .iter()
        .partition(|message| matches!(message.role, Role::System | Role::Developer));
    if !system.is_empty() {
        let texts: Vec<String> = system.iter().map(|message| message.joined_text()).collect();
        body.put("system", &texts.join("\n\n"));
    }
    let messages: Vec<WireMessage<'_>> = messages
        .into_iter()
        .map(wire_message)
        .collect::<Result<_, _>>()?;
    body.put("messages", &messages);
    body.put("stream", &generation.stream);
    body.put_some("temperature", sampling.temperature);
    body.put_some("top_p", sampling.top_p);
    body.put_some("top_k", sampling.top_k);
    if !sampling.stop.is_empty() {
        body.put("stop_sequences", &sampling.stop);
    }
    write_tools(&mut body, chat)?;
    write_thinking(&mut body, chat, max_tokens)?;
    if chat.source == target.operation {
        body.put_all(&generation.extensions);
    } else {
        drop_extensions(chat.source, &generation.extensions)?;
    }
    Ok(body.finish())
}

fn write_tools(body: &mut ObjectWriter, chat: &ChatRequest) -> Result<(), ApiError> {
    if chat.tools.is_empty() {
        return Ok(());
    }
    let tools: Vec<WireTool<'_>> = chat
        .tools
        .iter()
        .map(|tool| {
            let input_schema = match &tool.parameters {
                Some(schema) => Cow::Borrowed(schema),
                None => Cow::Owned(
                    Json::parse(r#"{"type":"object","properties":{}}"#).ok_or_else(|| {
                        ApiError::invalid_field("tools", "a tool has no parameters")
                    })?,
                ),
            };
            Ok(WireTool {
                name: &tool.name,
                description: tool.description.as_deref(),
                input_schema,
                // Only what is asked for: servers that are not Anthropic's may not know the word.
                strict: tool.strict.filter(|strict| *strict),
            })
        })
        .collect::<Result<_, ApiError>>()?;
    body.put("tools", &tools);
    if chat.tool_choice.is_none() && chat.parallel_tool_calls.is_none() {
        return Ok(());
    }
    let (kind, name) = match &chat.tool_choice {
        None | Some(ToolChoice::Auto) => ("auto", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Required) => ("any", None),
        Some(ToolChoice::Named(name)) => ("tool", Some(name.as_str())),
    };
    let choice = WireChoice {
        r#type: kind,
        name,
        disable_parallel_tool_use: chat
            .parallel_tool_calls
            .filter(|parallel| !parallel)
            .map(|parallel| !parallel),
    };
    body.put("tool_choice", &choice);
    Ok(())
}

fn write_thinking(
    body: &mut ObjectWriter,
    chat: &ChatRequest,
    max_tokens: i64,
) -> Result<(), ApiError> {
    let mut output = OutputConfig {
        effort: None,
        format: None,
    };
    match &chat.generation.think {
        None => {}
        Some(Think::Off) => body.put(
            "thinking",
            &WireThinking {
                r#type: "disabled",
                budget_tokens: None,
            },
        ),
        Some(Think::Level(level)) => output.effort = Some(level),
        // The budget has to leave room for the answer.
        Some(Think::On) if max_tokens > MIN_THINKING_TOKENS => {
            let budget = (max_tokens / 2).max(MIN_THINKING_TOKENS);
            body.put(
                "thinking",
                &WireThinking {
                    r#type: "enabled",
                    budget_tokens: Some(budget),
                },
            );
        }
        Some(Think::On) => {
            return Err(ApiError::unsupported(
                "think",
                "thinking needs a token limit above 1024 on this node",
            ));
        }
    }
    match &chat.generation.format {
        None => {}
        Some(Format::Json) => {
            return Err(ApiError::unsupported(
                "response_format",
                "this node needs a schema for JSON answers",
            ));
        }
        Some(Format::Schema { schema, .. }) => {
            output.format = Some(OutputFormat {
                r#type: "json_schema",
                schema,
            });
        }
    }
    if output.effort.is_some() || output.format.is_some() {
        body.put("output_config", &output);
    }
    Ok(())
}

fn wire_message(message: &Message) -> Result<WireMessage<'_>, ApiError> {
    let mut content = blocks(&message.parts)?;
    let role = match message.role {
        Role::Assistant => "assistant",
        Role::Tool => {
            let tool_use_id = message
                .tool_call_id
                .as_deref()
                .or(message.tool_name.as_deref());
            content = vec![Block::ToolResult {
                tool_use_id: tool_use_id.unwrap_or_default().into(),
                content,
            }];
            "user"
        }
        _ => "user",
    };
    for call in &message.tool_calls {
        content.push(Block::ToolUse {
            id: call.id.as_deref().unwrap_or(&call.name).into(),
            name: &call.name,
            input: argument_object(call).map_err(|_| {
                let text = format!(
                    "the arguments of the call of '{}' are not a JSON object",
                    call.name
                );
                ApiError::invalid_field("messages", text)
            })?,
        });
    }
    Ok(WireMessage { role, content })
}

fn blocks(parts: &[Part]) -> Result<Vec<Block<'_>>, ApiError> {
    parts
        .iter()
        .map(|part| {
            Ok(match part {
                Part::Text(text) => Block::Text { text },
                Part::Image {
                    media_type, data, ..
                } => Block::Image {
                    source: Source::Base64 { media_type, data },
                },
                Part::ImageUrl { url, .. } => Block::Image {
                    source: Source::Url { url },
                },
                Part::Audio { .. } => {
                    return Err(ApiError::unsupported(
                        "input_audio",
                        "Anthropic's API takes text and images only",
                    ));
                }
            })
        })
        .collect()
}
