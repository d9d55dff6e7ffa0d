//! Writing requests for Ollama.
//!
//! Lost on the way, as Ollama's own OpenAI routes lose it: the speaker's name of a message that is no tool's, an image's
//! resolution hint, the name and strictness of a schema.

use bytes::Bytes;
use serde::Serialize;

use crate::answer::argument_object;
use crate::canonical::{
    ChatRequest, CompletionRequest, EmbedInput, EmbedRequest, Format, Generation, Message, Part,
    Role, Sampling, Think, Tool, ToolChoice,
};
use crate::error::ApiError;
use crate::hints::drop_extensions;
use crate::json::{Fields, Json};
use crate::operation::Operation;
use crate::target::Target;
use crate::wire::ObjectWriter;

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
struct WireCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    index: usize,
    name: &'a str,
    arguments: Json,
}

#[derive(Serialize)]
struct WireTool<'a> {
    r#type: &'static str,
    function: WireToolFunction<'a>,
}

#[derive(Serialize)]
struct WireToolFunction<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Json>,
}

/// The `options` object.
struct Options<'a> {
    sampling: &'a Sampling,
    others: &'a Fields,
    temperature: Option<f64>,
    top_p: Option<f64>,
}

impl<'a> Options<'a> {
    /// Where the client is silent, OpenAI's defaults count in place of the model's, as they do on Ollama's own OpenAI routes
    /// (`openai/openai.go`; `openai/responses.go` leaves `top_p` to the model).
    fn new(source: Operation, generation: &'a Generation) -> Self {
        let sampling = &generation.sampling;
        let (temperature, top_p) = match source {
            Operation::OpenAiChat | Operation::OpenAiCompletions => (Some(1.0), Some(1.0)),
            Operation::OpenAiResponses => (Some(1.0), None),
            _ => (None, None),
        };
        Self {
            sampling,
            others: &generation.node_options,
            temperature: sampling.temperature.or(temperature),
            top_p: sampling.top_p.or(top_p),
        }
    }

    fn is_empty(&self) -> bool {
        self.others.is_empty()
            && *self.sampling == Sampling::default()
            && self.temperature.is_none()
            && self.top_p.is_none()
    }
}

impl Serialize for Options<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let Self {
            sampling, others, ..
        } = self;
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in others.iter() {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in [
            ("temperature", self.temperature),
            ("top_p", self.top_p),
            ("min_p", sampling.min_p),
            ("typical_p", sampling.typical_p),
            ("repeat_penalty", sampling.repeat_penalty),
            ("presence_penalty", sampling.presence_penalty),
            ("frequency_penalty", sampling.frequency_penalty),
        ] {
            if let Some(value) = value {
                map.serialize_entry(name, &value)?;
            }
        }
        for (name, value) in [
            ("top_k", sampling.top_k),
            ("seed", sampling.seed),
            ("num_predict", sampling.max_tokens),
            ("repeat_last_n", sampling.repeat_last_n),
        ] {
            if let Some(value) = value {
                map.serialize_entry(name, &value)?;
            }
        }
        if !sampling.stop.is_empty() {
            map.serialize_entry("stop", &sampling.stop)?;
        }
        map.end()
    }
}

/// Writes a body of `/api/chat`.
pub(crate) fn write_chat(target: Target, chat: &ChatRequest) -> Result<Bytes, ApiError> {
    if chat.continue_last && !target.server.continues_answers() {
        return Err(ApiError::unsupported(
            "messages",
            "the node cannot continue an answer that was begun",
        ));
    }
    let begun = chat
        .messages
        .last()
        .is_some_and(|last| last.role == Role::Assistant);
    if chat.continue_last && !begun {
        return Err(ApiError::unsupported(
            "continue_final_message",
            "Ollama continues messages of the assistant only",
        ));
    }
    let mut body = ObjectWriter::with_capacity(1024);
    body.put("model", &chat.model);
    let messages: Vec<WireMessage<'_>> = chat
        .messages
        .iter()
        .enumerate()
        .map(|(at, message)| wire_message(message, &chat.messages[..at]))
        .collect::<Result<_, _>>()?;
    body.put("messages", &messages);
    let tools = offered_tools(chat)?;
    if !tools.is_empty() {
        body.put("tools", &tools);
    }
    write_generation(&mut body, chat.source, target.operation, &chat.generation)?;
    Ok(body.finish())
}

/// Ollama's model always decides whether it calls; not offering tools is the only way to keep it from calling.
fn offered_tools(chat: &ChatRequest) -> Result<Vec<WireTool<'_>>, ApiError> {
    match chat.tool_choice {
        None | Some(ToolChoice::Auto) => {}
        Some(ToolChoice::None) => return Ok(Vec::new()),
        Some(ToolChoice::Required | ToolChoice::Named(_)) => {
            return Err(ApiError::unsupported(
                "tool_choice",
                "Ollama decides itself whether to call a tool",
            ));
        }
    }
    if chat.parallel_tool_calls == Some(false) && !chat.tools.is_empty() {
        return Err(ApiError::unsupported(
            "parallel_tool_calls",
            "Ollama may call several tools at once",
        ));
    }
    Ok(chat.tools.iter().map(wire_tool).collect())
}

fn wire_tool(tool: &Tool) -> WireTool<'_> {
    WireTool {
        r#type: "function",
        function: WireToolFunction {
            name: &tool.name,
            description: tool.description.as_deref(),
            parameters: tool.parameters.as_ref(),
        },
    }
}

fn wire_message<'a>(
    message: &'a Message,
    earlier: &'a [Message],
) -> Result<WireMessage<'a>, ApiError> {
    let mut images = Vec::new();
    for part in &message.parts {
        match part {
            Part::Text(_) => {}
            Part::Image { data, .. } => images.push(data.as_str()),
            Part::ImageUrl { .. } => {
                return Err(ApiError::unsupported(
                    "image_url",
                    "Ollama does not fetch images; send them as base64 data URIs",
                ));
            }
            Part::Audio { .. } => {
                return Err(ApiError::unsupported(
                    "input_audio",
                    "Ollama takes text and images only",
                ));
            }
        }
    }
    let tool_calls = message.tool_calls.iter().enumerate().map(|(index, call)| {
        let arguments = argument_object(call).map_err(|_| {
            ApiError::invalid_field(
                "messages",
                format!(
                    "the arguments of the call of '{}' are not a JSON object",
                    call.name
                ),
            )
        })?;
        Ok(WireCall {
            id: call.id.as_deref(),
            function: WireFunction {
                index,
                name: &call.name,
                arguments,
            },
        })
    });
    let tool_name = match message.role {
        Role::Tool => message
            .tool_name
            .as_deref()
            .or(message.name.as_deref())
            .or_else(|| called_name(message.tool_call_id.as_deref()?, earlier)),
        _ => None,
    };
    Ok(WireMessage {
        role: match message.role {
            Role::Developer => Role::System.as_str(),
            role => role.as_str(),
        },
        content: message.joined_text(),
        thinking: message.thinking.as_deref(),
        images,
        tool_calls: tool_calls.collect::<Result<_, ApiError>>()?,
        tool_name,
        tool_call_id: message.tool_call_id.as_deref(),
    })
}

/// Finds the function that a call's id stands for.
fn called_name<'a>(id: &str, earlier: &'a [Message]) -> Option<&'a str> {
    let mut calls = earlier.iter().rev().flat_map(|message| &message.tool_calls);
    calls
        .find(|call| call.id.as_deref() == Some(id))
        .map(|call| call.name.as_str())
}

/// Writes a body of `/api/generate`.
pub(crate) fn write_generate(
    target: Target,
    request: &CompletionRequest,
) -> Result<Bytes, ApiError> {
    if request.echo {
        return Err(ApiError::unsupported(
            "echo",
            "Ollama does not repeat the prompt",
        ));
    }
    if request.best_of.is_some_and(|best_of| best_of > 1) {
        return Err(ApiError::unsupported(
            "best_of",
            "Ollama makes one completion",
        ));
    }
    // OpenAI's completions have a template here, too: Ollama's own route for them puts one around the prompt.
    let raw = request.raw;
    let mut body = ObjectWriter::with_capacity(512 + request.prompt.len());
    body.put("model", &request.model);
    match &request.continued {
        None => body.put("prompt", &request.prompt),
        Some(continued) if raw => body.put("prompt", &format!("{}{continued}", request.prompt)),
        Some(_) => {
            return Err(ApiError::unsupported(
                "prompt",
                "Ollama continues an answer by its chat route only",
            ));
        }
    }
    body.put_some("suffix", request.suffix.as_ref());
    body.put_some("system", request.system.as_ref());
    body.put_some("template", request.template.as_ref());
    body.put_some("context", request.context.as_ref());
    if raw {
        body.put("raw", &true);
    }
    if !request.images.is_empty() {
        body.put("images", &request.images);
    }
    write_generation(
        &mut body,
        request.source,
        target.operation,
        &request.generation,
    )?;
    Ok(body.finish())
}

fn write_generation(
    body: &mut ObjectWriter,
    source: Operation,
    operation: Operation,
    generation: &Generation,
) -> Result<(), ApiError> {
    if let Some(name) = generation
        .sampling
        .used()
        .find(|name| matches!(*name, "n" | "logit_bias"))
    {
        return Err(ApiError::unsupported(name, "Ollama has no such setting"));
    }
    body.put("stream", &generation.stream);
    match &generation.format {
        None => {}
        Some(Format::Json) => body.put("format", "json"),
        Some(Format::Schema { schema, .. }) => body.put("format", schema),
    }
    let options = Options::new(source, generation);
    if !options.is_empty() {
        body.put("options", &options);
    }
    body.put_some("keep_alive", generation.keep_alive.as_ref());
    match &generation.think {
        None => {}
        Some(Think::On) => body.put("think", &true),
        Some(Think::Off) => body.put("think", &false),
        Some(Think::Level(level)) => body.put("think", think_level(level)?),
    }
    if let Some(top) = generation.logprobs {
        body.put("logprobs", &true);
        body.put("top_logprobs", &top);
    }
    if source == operation {
        body.put_all(&generation.extensions);
        return Ok(());
    }
    drop_extensions(source, &generation.extensions)
}

/// Ollama has four levels; the others' finer ones fall on the nearest.
fn think_level(level: &str) -> Result<&'static str, ApiError> {
    match level {
        "minimal" | "low" => Ok("low"),
        "medium" => Ok("medium"),
        "high" => Ok("high"),
        "xhigh" | "ultra" | "max" => Ok("max"),
        other => Err(ApiError::invalid_field(
            "reasoning_effort",
            format!("unknown reasoning effort '{other}'"),
        )),
    }
}

/// Writes a body of `/api/embed`, or of `/api/embeddings` for a single text.
pub(crate) fn write_embed(target: Target, request: &EmbedRequest) -> Result<Bytes, ApiError> {
    let texts: Vec<&str> = request
        .inputs
        .iter()
        .map(|input| match input {
            EmbedInput::Text(text) => Ok(text.as_str()),
            EmbedInput::Tokens(_) => Err(ApiError::unsupported(
                "input",
                "Ollama embeds texts, not tokens",
            )),
        })
        .collect::<Result<_, _>>()?;
    let mut body = ObjectWriter::with_capacity(256);
    body.put("model", &request.model);
    match (target.operation, texts.as_slice()) {
        (Operation::OllamaEmbeddings, [] | [_]) => body.put("prompt", texts.first().unwrap_or(&"")),
        (Operation::OllamaEmbeddings, _) => {
            return Err(ApiError::unsupported(
                "input",
                "this route embeds a single text",
            ));
        }
        _ => body.put("input", &texts),
    }
    body.put_some("truncate", request.truncate);
    body.put_some("dimensions", request.dimensions);
    body.put_some("keep_alive", request.keep_alive.as_ref());
    if !request.node_options.is_empty() {
        body.put("options", &request.node_options);
    }
    if request.source == target.operation {
        body.put_all(&request.extensions);
    } else {
        drop_extensions(request.source, &request.extensions)?;
    }
    Ok(body.finish())
}
