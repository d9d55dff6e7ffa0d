//! Writing requests for servers that speak OpenAI's dialect, each with the extras it knows.
//!
//! Lost on the way: `keep_alive` and load-time options (they steer routing), and the thinking of earlier turns on servers
//! of unknown kind (chat templates strip it anyway).

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;

use crate::canonical::{
    ChatRequest, CompletionRequest, EmbedInput, EmbedRequest, Format, Generation, Message, Part,
    Role, Think, Tool, ToolChoice,
};
use crate::error::ApiError;
use crate::hints::drop_extensions;
use crate::json::Json;
use crate::media::data_uri;
use crate::operation::Operation;
use crate::target::{ServerKind, Target};
use crate::wire::ObjectWriter;

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WirePart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: WireImage<'a> },
    InputAudio { input_audio: WireAudio<'a> },
}

#[derive(Serialize)]
struct WireImage<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct WireAudio<'a> {
    data: &'a str,
    format: &'a str,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: Cow<'a, str>,
    r#type: &'static str,
    function: WireCalled<'a>,
}

#[derive(Serialize)]
struct WireCalled<'a> {
    name: &'a str,
    arguments: &'a str,
}

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

#[derive(Serialize)]
struct WireFormat<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<WireSchema<'a>>,
}

#[derive(Serialize)]
struct WireSchema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct TemplateSwitch {
    enable_thinking: bool,
}

/// Writes a body of `/v1/chat/completions`.
pub(crate) fn write_chat(target: Target, chat: &ChatRequest) -> Result<Bytes, ApiError> {
    let server = target.server;
    let mut body = ObjectWriter::with_capacity(1024);
    body.put("model", &chat.model);
    let messages: Vec<WireMessage<'_>> = (0..chat.messages.len())
        .map(|at| wire_message(&chat.messages, at, server))
        .collect::<Result<_, _>>()?;
    body.put("messages", &messages);
    write_tools(&mut body, chat, server)?;
    write_generation(&mut body, chat.source, target, &chat.generation)?;
    if let Some(top) = chat.generation.logprobs {
        body.put("logprobs", &true);
        body.put("top_logprobs", &top);
    }
    write_think(&mut body, server, chat.generation.think.as_ref());
    if chat.continue_last {
        write_continuation(&mut body, server)?;
    }
    Ok(body.finish())
}

fn write_continuation(body: &mut ObjectWriter, server: ServerKind) -> Result<(), ApiError> {
    if !server.continues_answers() {
        return Err(ApiError::unsupported(
            "messages",
            "the node cannot continue an answer that was begun",
        ));
    }
    if matches!(
        server,
        ServerKind::Vllm | ServerKind::SgLang | ServerKind::Remuda
    ) {
        body.put("continue_final_message", &true);
    }
    if matches!(server, ServerKind::Vllm | ServerKind::Remuda) {
        body.put("add_generation_prompt", &false);
    }
    Ok(())
}

fn write_tools(
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

fn wire_message(
    messages: &[Message],
    at: usize,
    server: ServerKind,
) -> Result<WireMessage<'_>, ApiError> {
    let message = &messages[at];
    let calls = message
        .tool_calls
        .iter()
        .enumerate()
        .map(|(position, call)| WireCall {
            id: call
                .id
                .as_deref()
                .map_or_else(|| made_up_id(at, position).into(), Cow::Borrowed),
            r#type: "function",
            function: WireCalled {
                name: &call.name,
                arguments: if call.arguments.trim().is_empty() {
                    "{}"
                } else {
                    &call.arguments
                },
            },
        });
    Ok(WireMessage {
        role: match message.role {
            // Local servers' templates know no developer.
            Role::Developer if server != ServerKind::Other => Role::System.as_str(),
            role => role.as_str(),
        },
        content: content(&message.parts, server)?.or_else(|| {
            // Only an answer that consists of calls has no content.
            (message.role != Role::Assistant || message.tool_calls.is_empty())
                .then_some(Content::Text(""))
        }),
        reasoning_content: message
            .thinking
            .as_deref()
            .filter(|_| server != ServerKind::Other),
        name: message.name.as_deref(),
        tool_calls: calls.collect(),
        tool_call_id: match (message.role, &message.tool_call_id) {
            (_, Some(id)) => Some(Cow::Borrowed(id)),
            (Role::Tool, None) => Some(answered_call(messages, at)),
            _ => None,
        },
    })
}

/// Makes the id of a call that came without one; Ollama's clients tell calls apart by name and order.
fn made_up_id(message: usize, position: usize) -> String {
    format!("call_{message}_{position}")
}

/// Finds the id of the call that a tool's message without one answers: the first of its name, else of its place.
fn answered_call(messages: &[Message], at: usize) -> Cow<'_, str> {
    let asked = messages[..at]
        .iter()
        .rposition(|message| !message.tool_calls.is_empty());
    let Some(asked) = asked else {
        return made_up_id(at, 0).into();
    };
    let calls = &messages[asked].tool_calls;
    let answer = &messages[at];
    let place = messages[asked + 1..at]
        .iter()
        .filter(|message| message.role == Role::Tool)
        .count();
    let same_name_before = messages[asked + 1..at]
        .iter()
        .filter(|message| message.role == Role::Tool && message.tool_name == answer.tool_name)
        .count();
    let by_name = calls
        .iter()
        .enumerate()
        .filter(|(_, call)| Some(&call.name) == answer.tool_name.as_ref())
        .nth(same_name_before)
        .map(|(position, _)| position);
    let position = by_name.unwrap_or(place);
    match calls.get(position).and_then(|call| call.id.as_deref()) {
        Some(id) => Cow::Borrowed(id),
        None => made_up_id(asked, position).into(),
    }
}

fn content(parts: &[Part], server: ServerKind) -> Result<Option<Content<'_>>, ApiError> {
    match parts {
        [] => return Ok(None),
        [Part::Text(text)] => return Ok(Some(Content::Text(text))),
        _ => {}
    }
    let parts = parts.iter().map(|part| {
        Ok(match part {
            Part::Text(text) => WirePart::Text { text },
            Part::Image {
                media_type,
                data,
                detail,
            } => WirePart::ImageUrl {
                image_url: WireImage {
                    url: data_uri(media_type, data).into(),
                    detail: detail.as_deref(),
                },
            },
            Part::ImageUrl { .. } if server == ServerKind::Ollama => {
                return Err(ApiError::unsupported(
                    "image_url",
                    "Ollama does not fetch images; send them as base64 data URIs",
                ));
            }
            Part::ImageUrl { url, detail } => WirePart::ImageUrl {
                image_url: WireImage {
                    url: url.into(),
                    detail: detail.as_deref(),
                },
            },
            Part::Audio { data, format } => WirePart::InputAudio {
                input_audio: WireAudio { data, format },
            },
        })
    });
    Ok(Some(Content::Parts(
        parts.collect::<Result<_, ApiError>>()?,
    )))
}

/// Writes how the model is to think: by effort where the client named one, else by the switch in chat templates.
fn write_think(body: &mut ObjectWriter, server: ServerKind, think: Option<&Think>) {
    let switchable = matches!(
        server,
        ServerKind::Vllm | ServerKind::SgLang | ServerKind::LlamaServer
    );
    match think {
        None => {}
        Some(Think::Level(level)) => body.put("reasoning_effort", level),
        Some(switch) if switchable => {
            let enable_thinking = *switch == Think::On;
            body.put("chat_template_kwargs", &TemplateSwitch { enable_thinking });
        }
        Some(Think::On) => body.put("reasoning_effort", "medium"),
        Some(Think::Off) => body.put("reasoning_effort", "none"),
    }
}

/// Writes a body of `/v1/completions`.
pub(crate) fn write_completion(
    target: Target,
    request: &CompletionRequest,
) -> Result<Bytes, ApiError> {
    let server = target.server;
    let generation = &request.generation;
    let refused = [
        (
            "suffix",
            request.suffix.is_some() && !server.fills_in(),
            "the node does not fill text in",
        ),
        (
            "system",
            request.system.is_some(),
            "this route takes nothing but the prompt",
        ),
        (
            "template",
            request.template.is_some(),
            "only Ollama takes a template with the request",
        ),
        (
            "context",
            request.context.is_some(),
            "only Ollama knows contexts of earlier answers",
        ),
        (
            "images",
            !request.images.is_empty(),
            "this route takes nothing but the prompt",
        ),
        (
            "think",
            !matches!(generation.think, None | Some(Think::Off)),
            "a raw prompt decides itself about thinking",
        ),
        (
            "echo",
            request.echo && server == ServerKind::Ollama,
            "Ollama does not repeat the prompt",
        ),
    ];
    if let Some((name, _, why)) = refused.iter().find(|(_, used, _)| *used) {
        return Err(ApiError::unsupported(*name, why));
    }
    let mut body = ObjectWriter::with_capacity(512 + request.prompt.len());
    body.put("model", &request.model);
    match &request.continued {
        None => body.put("prompt", &request.prompt),
        Some(continued) => body.put("prompt", &format!("{}{continued}", request.prompt)),
    }
    body.put_some("suffix", request.suffix.as_ref());
    if request.echo {
        body.put("echo", &true);
    }
    body.put_some("best_of", request.best_of);
    body.put_some("logprobs", generation.logprobs);
    write_generation(&mut body, request.source, target, generation)?;
    Ok(body.finish())
}

fn write_generation(
    body: &mut ObjectWriter,
    source: Operation,
    target: Target,
    generation: &Generation,
) -> Result<(), ApiError> {
    let server = target.server;
    let sampling = &generation.sampling;
    let known = |name: &str| match name {
        "logit_bias" => server != ServerKind::Ollama,
        // Only a response that passes unread may have several choices.
        "n" => source == target.operation && server != ServerKind::Ollama,
        "top_k" | "min_p" | "typical_p" | "repeat_penalty" | "repeat_last_n" => {
            server.extra_sampling().contains(&name)
        }
        _ => true,
    };
    if let Some(name) = sampling.used().find(|name| !known(name)) {
        return Err(ApiError::unsupported(name, "the node has no such setting"));
    }
    body.put("stream", &generation.stream);
    if generation.stream && generation.include_usage {
        body.put(
            "stream_options",
            &StreamOptions {
                include_usage: true,
            },
        );
    }
    for (name, value) in [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
        ("min_p", sampling.min_p),
        ("typical_p", sampling.typical_p),
        ("repeat_penalty", sampling.repeat_penalty),
    ] {
        body.put_some(server.sampling_name(name), value.filter(|_| known(name)));
    }
    for (name, value) in [
        ("seed", sampling.seed),
        // Ollama's negative limits mean none.
        (
            "max_tokens",
            sampling.max_tokens.filter(|limit| *limit >= 0),
        ),
        ("top_k", sampling.top_k),
        ("repeat_last_n", sampling.repeat_last_n),
    ] {
        body.put_some(server.sampling_name(name), value.filter(|_| known(name)));
    }
    if !sampling.stop.is_empty() {
        body.put("stop", &sampling.stop);
    }
    body.put_some("n", sampling.n.filter(|n| *n > 1));
    body.put_some("logit_bias", sampling.logit_bias.as_ref());
    write_format(body, generation.format.as_ref());
    if source == target.operation {
        body.put_all(&generation.extensions);
        return Ok(());
    }
    drop_extensions(source, &generation.extensions)
}

fn write_format(body: &mut ObjectWriter, format: Option<&Format>) {
    let wire = match format {
        None => return,
        Some(Format::Json) => WireFormat {
            r#type: "json_object",
            json_schema: None,
        },
        Some(Format::Schema {
            schema,
            name,
            description,
            strict,
        }) => WireFormat {
            r#type: "json_schema",
            json_schema: Some(WireSchema {
                name: name.as_deref().unwrap_or("response"),
                description: description.as_deref(),
                schema,
                strict: *strict,
            }),
        },
    };
    body.put("response_format", &wire);
}

/// Writes a body of `/v1/embeddings`. Nodes are asked for numbers: not all of them can do base64.
pub(crate) fn write_embed(target: Target, request: &EmbedRequest) -> Result<Bytes, ApiError> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Input<'a> {
        Text(&'a str),
        Tokens(&'a [u32]),
    }
    let inputs: Vec<Input<'_>> = request
        .inputs
        .iter()
        .map(|input| match input {
            EmbedInput::Text(text) => Ok(Input::Text(text)),
            EmbedInput::Tokens(_) if target.server == ServerKind::Ollama => Err(
                ApiError::unsupported("input", "Ollama embeds texts, not tokens"),
            ),
            EmbedInput::Tokens(tokens) => Ok(Input::Tokens(tokens)),
        })
        .collect::<Result<_, _>>()?;
    let mut body = ObjectWriter::with_capacity(256);
    body.put("model", &request.model);
    body.put("input", &inputs);
    body.put("encoding_format", "float");
    body.put_some("dimensions", request.dimensions);
    if request.truncate == Some(true) && target.server == ServerKind::Vllm {
        body.put("truncate_prompt_tokens", &-1);
    }
    if request.source == target.operation {
        body.put_all(&request.extensions);
    } else {
        drop_extensions(request.source, &request.extensions)?;
    }
    Ok(body.finish())
}
