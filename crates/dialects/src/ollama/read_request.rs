//! Reading Ollama's requests.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::{
    ChatRequest, CompletionRequest, EmbedInput, EmbedRequest, Encoding, Format, Generation,
    Message, Part, Request, Role, Sampling, Think, Tool, ToolCall,
};
use crate::error::ApiError;
use crate::json::{Fields, Json, Object, body_object, field};
use crate::media::image_type;
use crate::operation::Operation;

/// Reads a body of `/api/chat`.
pub(crate) fn read_chat(body: &[u8]) -> Result<Request, ApiError> {
    const OPERATION: Operation = Operation::OllamaChat;
    let mut chat = ChatRequest {
        source: OPERATION,
        model: String::new(),
        messages: Vec::new(),
        tools: Vec::new(),
        tool_choice: None,
        parallel_tool_calls: None,
        generation: streaming(),
        continue_last: false,
    };
    let mut logprobs = Logprobs::default();
    for (name, raw) in body_object(body)?.0 {
        match &*name {
            "model" => chat.model = field("model", raw)?,
            "messages" => {
                let wire: Vec<WireMessage> = field("messages", raw)?;
                chat.messages = wire.into_iter().map(message).collect::<Result<_, _>>()?;
            }
            "tools" => {
                let wire: Vec<WireTool> = field("tools", raw)?;
                chat.tools = wire.into_iter().map(tool).collect::<Result<_, _>>()?;
            }
            name => read_shared(name, raw, &mut chat.generation, &mut logprobs)?,
        }
    }
    if chat.model.is_empty() {
        return Err(ApiError::model_missing(OPERATION));
    }
    chat.generation.logprobs = logprobs.checked()?;
    chat.continue_last = chat
        .messages
        .last()
        .is_some_and(|last| last.role == Role::Assistant && last.tool_calls.is_empty());
    Ok(Request::Chat(Box::new(chat)))
}

/// Reads a body of `/api/generate`.
pub(crate) fn read_generate(body: &[u8]) -> Result<Request, ApiError> {
    const OPERATION: Operation = Operation::OllamaGenerate;
    let mut request = CompletionRequest {
        source: OPERATION,
        model: String::new(),
        prompt: String::new(),
        continued: None,
        suffix: None,
        system: None,
        template: None,
        raw: false,
        images: Vec::new(),
        context: None,
        echo: false,
        best_of: None,
        generation: streaming(),
    };
    let mut logprobs = Logprobs::default();
    for (name, raw) in body_object(body)?.0 {
        match &*name {
            "model" => request.model = field("model", raw)?,
            "prompt" => request.prompt = field("prompt", raw)?,
            "suffix" => request.suffix = non_empty("suffix", raw)?,
            "system" => request.system = non_empty("system", raw)?,
            "template" => request.template = non_empty("template", raw)?,
            "raw" => request.raw = field("raw", raw)?,
            "images" => request.images = field("images", raw)?,
            "context" => request.context = (raw.get() != "[]").then(|| raw.into()),
            name => read_shared(name, raw, &mut request.generation, &mut logprobs)?,
        }
    }
    if request.model.is_empty() {
        return Err(ApiError::model_missing(OPERATION));
    }
    if request.raw
        && (request.template.is_some() || request.system.is_some() || request.context.is_some())
    {
        return Err(ApiError::invalid(
            "raw mode does not support template, system, or context",
        ));
    }
    request.generation.logprobs = logprobs.checked()?;
    Ok(Request::Completion(Box::new(request)))
}

/// Reads a body of `/api/embed` or `/api/embeddings`.
pub(crate) fn read_embed(operation: Operation, body: &[u8]) -> Result<Request, ApiError> {
    let mut request = EmbedRequest {
        source: operation,
        model: String::new(),
        inputs: Vec::new(),
        dimensions: None,
        truncate: None,
        encoding: Encoding::Float,
        keep_alive: None,
        node_options: Fields::default(),
        extensions: Fields::default(),
    };
    for (name, raw) in body_object(body)?.0 {
        match &*name {
            "model" => request.model = field("model", raw)?,
            "input" if operation == Operation::OllamaEmbed => request.inputs = embed_inputs(raw)?,
            "prompt" if operation == Operation::OllamaEmbeddings => {
                let prompt: String = field("prompt", raw)?;
                request.inputs = if prompt.is_empty() {
                    vec![]
                } else {
                    vec![EmbedInput::Text(prompt)]
                };
            }
            "truncate" => request.truncate = Some(field("truncate", raw)?),
            "dimensions" => {
                request.dimensions =
                    Some(field::<u32>("dimensions", raw)?).filter(|length| *length > 0);
            }
            "keep_alive" => request.keep_alive = Some(raw.into()),
            "options" => {
                for (name, raw) in field::<Object<'_>>("options", raw)?.0 {
                    request.node_options.push(name, raw.into());
                }
            }
            name => request.extensions.push(name, raw.into()),
        }
    }
    if request.model.is_empty() {
        return Err(ApiError::model_missing(operation));
    }
    Ok(Request::Embed(Box::new(request)))
}

fn embed_inputs(raw: &RawValue) -> Result<Vec<EmbedInput>, ApiError> {
    let wrong = |_| ApiError::invalid_field("input", "invalid input type");
    if raw.get().starts_with('"') {
        let text: String = serde_json::from_str(raw.get()).map_err(wrong)?;
        return Ok(if text.is_empty() {
            vec![]
        } else {
            vec![EmbedInput::Text(text)]
        });
    }
    let texts: Vec<String> = serde_json::from_str(raw.get()).map_err(wrong)?;
    Ok(texts.into_iter().map(EmbedInput::Text).collect())
}

fn streaming() -> Generation {
    Generation {
        stream: true,
        ..Generation::default()
    }
}

fn non_empty(name: &str, raw: &RawValue) -> Result<Option<String>, ApiError> {
    Ok(Some(field::<String>(name, raw)?).filter(|text| !text.is_empty()))
}

/// `logprobs` and `top_logprobs`, which only mean something together.
#[derive(Default)]
struct Logprobs {
    wanted: bool,
    top: i64,
}

impl Logprobs {
    fn checked(&self) -> Result<Option<u8>, ApiError> {
        let top = u8::try_from(self.top).ok().filter(|top| *top <= 20);
        let top = top.ok_or_else(|| {
            ApiError::invalid_field("top_logprobs", "top_logprobs must be between 0 and 20")
        })?;
        Ok(self.wanted.then_some(top))
    }
}

fn read_shared(
    name: &str,
    raw: &RawValue,
    generation: &mut Generation,
    logprobs: &mut Logprobs,
) -> Result<(), ApiError> {
    match name {
        "stream" => generation.stream = field(name, raw)?,
        "format" => generation.format = format(raw)?,
        "think" => generation.think = Some(think(raw)?),
        "keep_alive" => generation.keep_alive = Some(raw.into()),
        "logprobs" => logprobs.wanted = field(name, raw)?,
        "top_logprobs" => logprobs.top = field(name, raw)?,
        "options" => {
            for (name, raw) in field::<Object<'_>>("options", raw)?.0 {
                read_option(&name, raw, generation)?;
            }
        }
        name => generation.extensions.push(name, raw.into()),
    }
    Ok(())
}

fn format(raw: &RawValue) -> Result<Option<Format>, ApiError> {
    match raw.get() {
        "\"\"" => Ok(None),
        "\"json\"" => Ok(Some(Format::Json)),
        text if text.starts_with('{') => Ok(Some(Format::Schema {
            schema: raw.into(),
            name: None,
            description: None,
            strict: None,
        })),
        text => Err(ApiError::invalid_field(
            "format",
            format!("invalid format: {text}; expected \"json\" or a JSON schema object"),
        )),
    }
}

fn think(raw: &RawValue) -> Result<Think, ApiError> {
    match raw.get() {
        "true" => Ok(Think::On),
        "false" => Ok(Think::Off),
        "\"low\"" | "\"medium\"" | "\"high\"" | "\"max\"" => Ok(Think::Level(field("think", raw)?)),
        text => Err(ApiError::invalid_field(
            "think",
            format!(
                "invalid think value: {text} (must be true, false, \"low\", \"medium\", \"high\" or \"max\")"
            ),
        )),
    }
}

/// Reads one of `options`: sampling settings to their places, everything else as it stands.
pub(crate) fn read_option(
    name: &str,
    raw: &RawValue,
    generation: &mut Generation,
) -> Result<(), ApiError> {
    let Sampling {
        temperature,
        top_p,
        top_k,
        min_p,
        typical_p,
        seed,
        stop,
        max_tokens,
        repeat_penalty,
        repeat_last_n,
        presence_penalty,
        frequency_penalty,
        ..
    } = &mut generation.sampling;
    match name {
        "temperature" => *temperature = Some(number(name, raw)?),
        "top_p" => *top_p = Some(number(name, raw)?),
        "min_p" => *min_p = Some(number(name, raw)?),
        "typical_p" => *typical_p = Some(number(name, raw)?),
        "repeat_penalty" => *repeat_penalty = Some(number(name, raw)?),
        "presence_penalty" => *presence_penalty = Some(number(name, raw)?),
        "frequency_penalty" => *frequency_penalty = Some(number(name, raw)?),
        "top_k" => *top_k = Some(integer(name, raw)?),
        "seed" => *seed = Some(integer(name, raw)?),
        // To Ollama's runner every number that is not positive says that there is no limit.
        "num_predict" => {
            let limit: i64 = integer(name, raw)?;
            *max_tokens = Some(if limit == 0 { -1 } else { limit });
        }
        "repeat_last_n" => *repeat_last_n = Some(integer(name, raw)?),
        "stop" if raw.get().starts_with('"') => *stop = vec![field(name, raw)?],
        "stop" => {
            *stop = serde_json::from_str(raw.get())
                .map_err(|_| wrong_option(name, "array of strings"))?;
        }
        name => generation.node_options.push(name, raw.into()),
    }
    Ok(())
}

fn number(name: &str, raw: &RawValue) -> Result<f64, ApiError> {
    serde_json::from_str(raw.get()).map_err(|_| wrong_option(name, "float32"))
}

/// Ollama takes whole numbers written as `40.0` too.
fn integer(name: &str, raw: &RawValue) -> Result<i64, ApiError> {
    let wrong = || wrong_option(name, "integer");
    match serde_json::from_str::<i64>(raw.get()) {
        Ok(number) => Ok(number),
        Err(_) => serde_json::from_str::<f64>(raw.get())
            .map(|number| number as i64)
            .map_err(|_| wrong()),
    }
}

fn wrong_option(name: &str, kind: &str) -> ApiError {
    ApiError::invalid_field(name, format!("option \"{name}\" must be of type {kind}"))
}

#[derive(Deserialize)]
struct WireMessage {
    role: Option<String>,
    content: Option<String>,
    thinking: Option<String>,
    images: Option<Vec<String>>,
    tool_calls: Option<Vec<WireCall>>,
    tool_name: Option<String>,
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
struct WireCall {
    id: Option<String>,
    function: WireFunction,
}

#[derive(Deserialize)]
struct WireFunction {
    name: String,
    arguments: Option<Json>,
}

fn message(wire: WireMessage) -> Result<Message, ApiError> {
    let name = wire.role.unwrap_or_default();
    let role = Role::from_name(&name).ok_or_else(|| {
        ApiError::invalid_field(
            "messages",
            format!("unknown role '{name}'; use system, user, assistant or tool"),
        )
    })?;
    let mut message = Message::new(role);
    message.thinking = wire.thinking.filter(|text| !text.is_empty());
    message.tool_name = wire.tool_name.filter(|name| !name.is_empty());
    message.tool_call_id = wire.tool_call_id.filter(|id| !id.is_empty());
    for data in wire.images.into_iter().flatten() {
        message.parts.push(Part::Image {
            media_type: image_type(&data).to_owned(),
            data,
            detail: None,
        });
    }
    message
        .parts
        .extend(wire.content.filter(|text| !text.is_empty()).map(Part::Text));
    for call in wire.tool_calls.into_iter().flatten() {
        let arguments = call.function.arguments;
        message.tool_calls.push(ToolCall {
            id: call.id.filter(|id| !id.is_empty()),
            name: call.function.name,
            arguments: arguments.map_or_else(|| "{}".to_owned(), |json| json.text().to_owned()),
        });
    }
    Ok(message)
}

#[derive(Deserialize)]
struct WireTool {
    r#type: Option<String>,
    function: Option<WireToolFunction>,
}

#[derive(Deserialize)]
struct WireToolFunction {
    name: String,
    description: Option<String>,
    parameters: Option<Json>,
}

fn tool(wire: WireTool) -> Result<Tool, ApiError> {
    let kind = wire.r#type.as_deref().unwrap_or("function");
    let function = wire
        .function
        .filter(|_| kind == "function")
        .ok_or_else(|| {
            ApiError::unsupported("tools", "only tools of type 'function' can be translated")
        })?;
    Ok(Tool {
        name: function.name,
        description: function.description,
        parameters: function.parameters,
        strict: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        EmbedInput, ErrorKind, Format, Operation, Part, Request, ResidencyChange, Think,
        decode_request,
    };

    fn refused(operation: Operation, body: &str) -> (ErrorKind, String) {
        let error = decode_request(operation, body.as_bytes()).unwrap_err();
        (error.kind, error.message)
    }

    #[test]
    fn a_chat_request_is_read_whole() {
        let body = br#"{"model":"m","messages":[{"role":"USER","content":"hi","images":["iVBORw0KGgo="]},
            {"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"z":1,"a":2}}}]},
            {"role":"tool","tool_name":"f","content":"3"}],
            "tools":[{"type":"function","function":{"name":"f","parameters":{"z":{},"a":{}}}}],
            "format":{"type":"object"},"think":"high","options":{"temperature":0,"num_predict":5,"num_ctx":8,"stop":"x"},
            "keep_alive":"5m","logprobs":true,"top_logprobs":2,"shift":false}"#;
        let Request::Chat(chat) = decode_request(Operation::OllamaChat, body).unwrap() else {
            panic!()
        };
        assert!(
            matches!(&chat.messages[0].parts[0], Part::Image { media_type, .. } if media_type == "image/png")
        );
        assert_eq!(chat.messages[1].tool_calls[0].arguments, r#"{"z":1,"a":2}"#);
        assert_eq!(
            chat.tools[0].parameters.as_ref().unwrap().text(),
            r#"{"z":{},"a":{}}"#
        );
        let generation = &chat.generation;
        assert!(generation.stream);
        assert!(matches!(generation.format, Some(Format::Schema { .. })));
        assert_eq!(generation.think, Some(Think::Level("high".into())));
        assert_eq!(
            (
                generation.sampling.max_tokens,
                generation.sampling.temperature
            ),
            (Some(5), Some(0.0))
        );
        assert_eq!(generation.node_options.find("num_ctx").unwrap().text(), "8");
        assert_eq!(generation.logprobs, Some(2));
        assert_eq!(generation.extensions.find("shift").unwrap().text(), "false");
        assert!(!chat.continue_last);
    }

    #[test]
    fn wrong_requests_get_ollamas_words() {
        use Operation::{OllamaChat, OllamaEmbed, OllamaEmbeddings, OllamaGenerate};
        let cases = [
            (OllamaChat, "{}", ErrorKind::Invalid, "model is required"),
            (
                OllamaGenerate,
                "{}",
                ErrorKind::NotFound,
                "model '' not found",
            ),
            (OllamaEmbed, "{}", ErrorKind::NotFound, "model '' not found"),
            (
                OllamaEmbeddings,
                "{}",
                ErrorKind::Invalid,
                "model is required",
            ),
            (OllamaChat, " ", ErrorKind::Invalid, "missing request body"),
            (
                OllamaEmbed,
                r#"{"model":"m","input":1}"#,
                ErrorKind::Invalid,
                "invalid input type",
            ),
            (
                OllamaChat,
                r#"{"model":"m","top_logprobs":21}"#,
                ErrorKind::Invalid,
                "top_logprobs must be between 0 and 20",
            ),
            (
                OllamaGenerate,
                r#"{"model":"m","raw":true,"system":"s"}"#,
                ErrorKind::Invalid,
                "raw mode does not support template, system, or context",
            ),
            (
                OllamaGenerate,
                r#"{"model":"m","options":{"top_k":"x"}}"#,
                ErrorKind::Invalid,
                "option \"top_k\" must be of type integer",
            ),
        ];
        for (operation, body, kind, message) in cases {
            assert_eq!(refused(operation, body), (kind, message.to_owned()));
        }
    }

    #[test]
    fn no_limit_is_said_in_two_ways() {
        for limit in ["0", "-1"] {
            let body = format!(r#"{{"model":"m","options":{{"num_predict":{limit}}}}}"#);
            let request = decode_request(Operation::OllamaChat, body.as_bytes()).unwrap();
            let sampling = &request.generation().unwrap().sampling;
            assert_eq!(sampling.max_tokens, Some(-1), "{limit}");
        }
    }

    #[test]
    fn empty_prompts_load_and_unload() {
        let residency = |body: &str| {
            decode_request(Operation::OllamaGenerate, body.as_bytes())
                .unwrap()
                .residency()
        };
        assert_eq!(residency(r#"{"model":"m"}"#), Some(ResidencyChange::Load));
        assert_eq!(
            residency(r#"{"model":"m","prompt":"","keep_alive":0}"#),
            Some(ResidencyChange::Unload)
        );
        assert_eq!(residency(r#"{"model":"m","prompt":"a"}"#), None);
    }

    #[test]
    fn embed_inputs_are_one_or_many() {
        let inputs =
            |body: &str| match decode_request(Operation::OllamaEmbed, body.as_bytes()).unwrap() {
                Request::Embed(embed) => embed.inputs,
                other => panic!("{other:?}"),
            };
        assert_eq!(
            inputs(r#"{"model":"m","input":"a"}"#),
            [EmbedInput::Text("a".into())]
        );
        assert_eq!(inputs(r#"{"model":"m","input":["a","b"]}"#).len(), 2);
        assert!(inputs(r#"{"model":"m","input":""}"#).is_empty());
    }
}
