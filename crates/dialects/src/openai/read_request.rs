//! Reading OpenAI's chat completions, completions and embeddings, with the extras that vLLM and llama.cpp understand.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::{
    ChatRequest, CompletionRequest, EmbedInput, EmbedRequest, Encoding, Format, Generation,
    Message, Part, Request, Role, Think, Tool, ToolCall, ToolChoice,
};
use crate::error::ApiError;
use crate::json::{Fields, Json, Object, body_object, field};
use crate::media::split_data_uri;
use crate::ollama::read_option;
use crate::operation::Operation;

/// Reads a body of `/v1/chat/completions`.
pub(crate) fn read_chat(body: &[u8]) -> Result<Request, ApiError> {
    const OPERATION: Operation = Operation::OpenAiChat;
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
    let mut logprobs = Logprobs::default();
    let mut opens_answer = None;
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
            "tool_choice" => chat.tool_choice = Some(tool_choice(raw)?),
            "parallel_tool_calls" => {
                chat.parallel_tool_calls = Some(field("parallel_tool_calls", raw)?);
            }
            "response_format" => chat.generation.format = response_format(raw)?,
            "logprobs" => logprobs.wanted = field("logprobs", raw)?,
            "top_logprobs" => logprobs.top = Some(field("top_logprobs", raw)?),
            // vLLM's way to ask for an answer that goes on where the last message ends.
            "continue_final_message" => chat.continue_last = field("continue_final_message", raw)?,
            "add_generation_prompt" => opens_answer = Some(raw),
            name => read_shared(name, raw, &mut chat.generation)?,
        }
    }
    if chat.model.is_empty() {
        return Err(ApiError::model_missing(OPERATION));
    }
    if chat.messages.is_empty() {
        return Err(ApiError::invalid_field(
            "messages",
            "[] is too short - 'messages'",
        ));
    }
    if let Some(raw) = opens_answer.filter(|_| !chat.continue_last) {
        chat.generation
            .extensions
            .push("add_generation_prompt", raw.into());
    }
    chat.generation.logprobs = logprobs.checked()?;
    Ok(Request::Chat(Box::new(chat)))
}

/// Reads a body of `/v1/completions`.
pub(crate) fn read_completion(body: &[u8]) -> Result<Request, ApiError> {
    const OPERATION: Operation = Operation::OpenAiCompletions;
    let mut prompt = None;
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
        generation: Generation::default(),
    };
    for (name, raw) in body_object(body)?.0 {
        match &*name {
            "model" => request.model = field("model", raw)?,
            "prompt" => prompt = Some(one_prompt(raw)?),
            "suffix" => {
                request.suffix =
                    Some(field::<String>("suffix", raw)?).filter(|text| !text.is_empty());
            }
            "echo" => request.echo = field("echo", raw)?,
            "best_of" => request.best_of = Some(field("best_of", raw)?),
            "response_format" => request.generation.format = response_format(raw)?,
            "logprobs" => {
                let top: u8 = field("logprobs", raw)?;
                request.generation.logprobs = Some(top);
            }
            name => read_shared(name, raw, &mut request.generation)?,
        }
    }
    if request.model.is_empty() {
        return Err(ApiError::model_missing(OPERATION));
    }
    request.prompt =
        prompt.ok_or_else(|| ApiError::invalid_field("prompt", "you must provide a prompt"))?;
    Ok(Request::Completion(Box::new(request)))
}

fn one_prompt(raw: &RawValue) -> Result<String, ApiError> {
    if raw.get().starts_with('"') {
        return field("prompt", raw);
    }
    match serde_json::from_str::<Vec<Json>>(raw.get()) {
        Ok(several) => match several.as_slice() {
            [one] if one.text().starts_with('"') => one
                .read()
                .ok_or_else(|| ApiError::invalid_field("prompt", "'prompt' is not valid text")),
            _ => Err(ApiError::unsupported(
                "prompt",
                "the node that has this model takes one text, neither several prompts nor tokens",
            )),
        },
        Err(_) => field("prompt", raw),
    }
}

/// Reads a body of `/v1/embeddings`.
pub(crate) fn read_embed(body: &[u8]) -> Result<Request, ApiError> {
    const OPERATION: Operation = Operation::OpenAiEmbeddings;
    let mut request = EmbedRequest {
        source: OPERATION,
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
            "input" => request.inputs = embed_inputs(raw)?,
            "dimensions" => request.dimensions = Some(field("dimensions", raw)?),
            "encoding_format" => {
                request.encoding = match field::<String>("encoding_format", raw)?.as_str() {
                    "float" => Encoding::Float,
                    "base64" => Encoding::Base64,
                    other => {
                        let text = format!(
                            "invalid value '{other}' for 'encoding_format': use 'float' or 'base64'"
                        );
                        return Err(ApiError::invalid_field("encoding_format", text));
                    }
                }
            }
            "keep_alive" => request.keep_alive = Some(raw.into()),
            name => request.extensions.push(name, raw.into()),
        }
    }
    if request.model.is_empty() {
        return Err(ApiError::model_missing(OPERATION));
    }
    if request.inputs.is_empty() {
        return Err(ApiError::invalid_field(
            "input",
            "[] is too short - 'input'",
        ));
    }
    Ok(Request::Embed(Box::new(request)))
}

fn embed_inputs(raw: &RawValue) -> Result<Vec<EmbedInput>, ApiError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Inputs {
        Text(String),
        Texts(Vec<String>),
        Tokens(Vec<u32>),
        ManyTokens(Vec<Vec<u32>>),
    }
    let inputs: Inputs = serde_json::from_str(raw.get()).map_err(|_| {
        ApiError::invalid_field(
            "input",
            "invalid input type: expected text, tokens, or an array of either",
        )
    })?;
    Ok(match inputs {
        Inputs::Text(text) => vec![EmbedInput::Text(text)],
        Inputs::Texts(texts) => texts.into_iter().map(EmbedInput::Text).collect(),
        Inputs::Tokens(tokens) => vec![EmbedInput::Tokens(tokens)],
        Inputs::ManyTokens(many) => many.into_iter().map(EmbedInput::Tokens).collect(),
    })
}

#[derive(Default)]
struct Logprobs {
    wanted: bool,
    top: Option<i64>,
}

impl Logprobs {
    fn checked(&self) -> Result<Option<u8>, ApiError> {
        let top = u8::try_from(self.top.unwrap_or(0))
            .ok()
            .filter(|top| *top <= 20);
        let top = top.ok_or_else(|| {
            ApiError::invalid_field("top_logprobs", "top_logprobs must be between 0 and 20")
        })?;
        Ok(self.wanted.then_some(top))
    }
}

/// Reads what chat completions and completions share. OpenAI's names come first, those of vLLM, llama.cpp and Ollama after.
pub(super) fn read_shared(
    name: &str,
    raw: &RawValue,
    generation: &mut Generation,
) -> Result<(), ApiError> {
    let sampling = &mut generation.sampling;
    match name {
        "stream" => generation.stream = field(name, raw)?,
        "stream_options" => {
            #[derive(Deserialize)]
            struct Options {
                include_usage: Option<bool>,
            }
            generation.include_usage = field::<Options>(name, raw)?.include_usage.unwrap_or(false);
        }
        "temperature" => sampling.temperature = Some(field(name, raw)?),
        "top_p" => sampling.top_p = Some(field(name, raw)?),
        "seed" => sampling.seed = Some(field(name, raw)?),
        "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {
            sampling.max_tokens = Some(field(name, raw)?);
        }
        "presence_penalty" => sampling.presence_penalty = Some(field(name, raw)?),
        "frequency_penalty" => sampling.frequency_penalty = Some(field(name, raw)?),
        "n" => sampling.n = Some(field(name, raw)?),
        "logit_bias" => sampling.logit_bias = (raw.get() != "{}").then(|| raw.into()),
        "stop" if raw.get().starts_with('"') => sampling.stop = vec![field(name, raw)?],
        "stop" => sampling.stop = field(name, raw)?,
        "reasoning_effort" => generation.think = Some(effort(&field::<String>(name, raw)?)),
        "reasoning" => {
            #[derive(Deserialize)]
            struct Reasoning {
                effort: Option<String>,
            }
            if let Some(level) = field::<Reasoning>(name, raw)?.effort {
                generation.think = Some(effort(&level));
            }
        }
        "top_k" => sampling.top_k = Some(field(name, raw)?),
        "min_p" => sampling.min_p = Some(field(name, raw)?),
        "typical_p" => sampling.typical_p = Some(field(name, raw)?),
        "repeat_penalty" | "repetition_penalty" => {
            sampling.repeat_penalty = Some(field(name, raw)?);
        }
        "repeat_last_n" => sampling.repeat_last_n = Some(field(name, raw)?),
        "keep_alive" => generation.keep_alive = Some(raw.into()),
        "num_ctx" => generation.node_options.push(name, raw.into()),
        "options" => {
            for (name, raw) in field::<Object<'_>>("options", raw)?.0 {
                read_option(&name, raw, generation)?;
            }
        }
        name => generation.extensions.push(name, raw.into()),
    }
    Ok(())
}

/// Reads a reasoning effort.
pub(crate) fn effort(level: &str) -> Think {
    match level {
        "none" => Think::Off,
        level => Think::Level(level.to_owned()),
    }
}

#[derive(Deserialize)]
struct WireFormat {
    r#type: String,
    json_schema: Option<WireSchema>,
}

/// A named schema; the Responses API writes it flat.
#[derive(Deserialize)]
pub(super) struct WireSchema {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) schema: Option<Json>,
    pub(super) strict: Option<bool>,
}

fn response_format(raw: &RawValue) -> Result<Option<Format>, ApiError> {
    let wire: WireFormat = field("response_format", raw)?;
    named_format(&wire.r#type, wire.json_schema, "response_format")
}

pub(super) fn named_format(
    kind: &str,
    wire: Option<WireSchema>,
    name: &str,
) -> Result<Option<Format>, ApiError> {
    match (kind, wire) {
        ("text", _) => Ok(None),
        ("json_object", _) => Ok(Some(Format::Json)),
        (
            "json_schema",
            Some(WireSchema {
                schema: Some(schema),
                name,
                description,
                strict,
            }),
        ) => Ok(Some(Format::Schema {
            schema,
            name,
            description,
            strict,
        })),
        ("json_schema", _) => Err(ApiError::invalid_field(
            name,
            format!("'{name}' has no schema"),
        )),
        _ => Err(ApiError::unsupported(
            name,
            "use 'text', 'json_object' or 'json_schema'",
        )),
    }
}

fn tool_choice(raw: &RawValue) -> Result<ToolChoice, ApiError> {
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

pub(super) fn choice_word(word: &str) -> Result<ToolChoice, ApiError> {
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
struct WireTool {
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

fn tool(wire: WireTool) -> Result<Tool, ApiError> {
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

#[derive(Deserialize)]
struct WireMessage {
    role: String,
    content: Option<Content>,
    reasoning: Option<String>,
    reasoning_content: Option<String>,
    refusal: Option<String>,
    name: Option<String>,
    tool_calls: Option<Vec<WireCall>>,
    tool_call_id: Option<String>,
    function_call: Option<Json>,
    audio: Option<Json>,
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
    image_url: Option<WireImage>,
    input_audio: Option<WireAudio>,
}

#[derive(Deserialize)]
struct WireImage {
    url: String,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct WireAudio {
    data: String,
    format: String,
}

#[derive(Deserialize)]
struct WireCall {
    id: Option<String>,
    function: Option<WireCalled>,
}

#[derive(Deserialize)]
struct WireCalled {
    name: String,
    #[serde(default)]
    arguments: String,
}

fn message(wire: WireMessage) -> Result<Message, ApiError> {
    let role = Role::from_name(&wire.role).ok_or_else(|| {
        let text = format!(
            "unknown role '{}'; use system, developer, user, assistant or tool",
            wire.role
        );
        ApiError::invalid_field("messages", text)
    })?;
    if wire.function_call.is_some() {
        return Err(ApiError::unsupported("function_call", "use 'tool_calls'"));
    }
    if wire.audio.is_some() {
        return Err(ApiError::unsupported(
            "audio",
            "earlier audio answers cannot be referred to",
        ));
    }
    let mut message = Message::new(role);
    message.thinking = wire
        .reasoning
        .or(wire.reasoning_content)
        .filter(|text| !text.is_empty());
    message.name = wire.name;
    message.tool_call_id = wire.tool_call_id;
    match wire.content {
        Some(Content::Text(text)) if !text.is_empty() => message.parts.push(Part::Text(text)),
        Some(Content::Parts(parts)) => {
            message.parts = parts.into_iter().map(part).collect::<Result<_, _>>()?;
        }
        Some(Content::Text(_)) | None => message.parts.extend(wire.refusal.map(Part::Text)),
    }
    for call in wire.tool_calls.into_iter().flatten() {
        let function = call.function.ok_or_else(|| {
            ApiError::unsupported("tool_calls", "only calls of functions can be translated")
        })?;
        message.tool_calls.push(ToolCall {
            id: call.id,
            name: function.name,
            arguments: function.arguments,
        });
    }
    Ok(message)
}

fn part(wire: WirePart) -> Result<Part, ApiError> {
    match wire {
        WirePart {
            text: Some(text), ..
        }
        | WirePart {
            refusal: Some(text),
            ..
        } => Ok(Part::Text(text)),
        WirePart {
            image_url: Some(image),
            ..
        } => Ok(image_part(image.url, image.detail)),
        WirePart {
            input_audio: Some(audio),
            ..
        } => Ok(Part::Audio {
            data: audio.data,
            format: audio.format,
        }),
        WirePart { r#type, .. } => Err(ApiError::unsupported(
            "messages",
            &format!("content of type '{type}' cannot be translated"),
        )),
    }
}

/// Makes a part of an image's URL, which may be the image itself.
pub(super) fn image_part(url: String, detail: Option<String>) -> Part {
    match split_data_uri(&url) {
        Some((media_type, data)) => Part::Image {
            media_type: media_type.to_owned(),
            data: data.to_owned(),
            detail,
        },
        None => Part::ImageUrl { url, detail },
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        EmbedInput, Encoding, ErrorKind, Format, Operation, Part, Request, Think, ToolChoice,
        decode_request,
    };

    #[test]
    fn a_chat_request_is_read_whole() {
        let body = br#"{"model":"m","messages":[{"role":"developer","content":"be"},
            {"role":"user","content":[{"type":"text","text":"what"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA==","detail":"low"}},
             {"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]},
            {"role":"assistant","content":null,"refusal":null,"reasoning_content":"hm","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"z\":1}"}}]},
            {"role":"tool","tool_call_id":"c","content":"3"}],
            "tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2},"strict":true}}],
            "tool_choice":{"type":"function","function":{"name":"f"}},"max_completion_tokens":9,"stop":["a"],"n":1,
            "response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"b":1,"a":2}}},
            "reasoning_effort":"none","logprobs":true,"top_logprobs":3,"stream_options":{"include_usage":true},"user":"u","top_k":4}"#;
        let Request::Chat(chat) = decode_request(Operation::OpenAiChat, body).unwrap() else {
            panic!()
        };
        assert!(matches!(&chat.messages[1].parts[1], Part::Image { data, .. } if data == "AA=="));
        assert!(matches!(&chat.messages[1].parts[2], Part::ImageUrl { .. }));
        assert_eq!(chat.messages[2].thinking.as_deref(), Some("hm"));
        assert_eq!(chat.messages[2].tool_calls[0].arguments, "{\"z\":1}");
        assert_eq!(chat.tool_choice, Some(ToolChoice::Named("f".into())));
        let generation = &chat.generation;
        assert!(
            matches!(&generation.format, Some(Format::Schema { schema, .. }) if schema.text() == r#"{"b":1,"a":2}"#)
        );
        assert_eq!(generation.think, Some(Think::Off));
        assert_eq!(
            (generation.sampling.max_tokens, generation.sampling.top_k),
            (Some(9), Some(4))
        );
        assert!(generation.include_usage && !generation.stream);
        assert_eq!(generation.extensions.find("user").unwrap().text(), "\"u\"");
    }

    #[test]
    fn wrong_requests_are_refused_with_the_field() {
        let cases = [
            (
                Operation::OpenAiChat,
                r#"{"model":"m","messages":[]}"#,
                "messages",
            ),
            (
                Operation::OpenAiChat,
                r#"{"messages":[{"role":"user","content":"a"}]}"#,
                "model",
            ),
            (
                Operation::OpenAiChat,
                r#"{"model":"m","messages":[{"role":"king"}]}"#,
                "messages",
            ),
            (
                Operation::OpenAiChat,
                r#"{"model":"m","messages":"hi"}"#,
                "messages",
            ),
            (
                Operation::OpenAiChat,
                r#"{"model":"m","temperature":"hot","messages":[]}"#,
                "temperature",
            ),
            (Operation::OpenAiCompletions, r#"{"model":"m"}"#, "prompt"),
            (
                Operation::OpenAiEmbeddings,
                r#"{"model":"m","input":"a","encoding_format":"hex"}"#,
                "encoding_format",
            ),
            (
                Operation::OpenAiEmbeddings,
                r#"{"model":"m","input":[]}"#,
                "input",
            ),
        ];
        for (operation, body, param) in cases {
            let error = decode_request(operation, body.as_bytes()).unwrap_err();
            assert_eq!(
                (error.kind, error.param.as_deref()),
                (ErrorKind::Invalid, Some(param)),
                "{body}"
            );
        }
        let empty =
            decode_request(Operation::OpenAiChat, br#"{"model":"m","messages":[]}"#).unwrap_err();
        assert_eq!(empty.message, "[] is too short - 'messages'");
    }

    #[test]
    fn inputs_may_be_texts_or_tokens() {
        let embed = |body: &str| match decode_request(Operation::OpenAiEmbeddings, body.as_bytes())
            .unwrap()
        {
            Request::Embed(embed) => *embed,
            other => panic!("{other:?}"),
        };
        let tokens = embed(r#"{"model":"m","input":[[1,2],[3]],"encoding_format":"base64"}"#);
        assert_eq!(
            tokens.inputs,
            [EmbedInput::Tokens(vec![1, 2]), EmbedInput::Tokens(vec![3])]
        );
        assert_eq!(tokens.encoding, Encoding::Base64);
        assert_eq!(
            embed(r#"{"model":"m","input":"a"}"#).inputs,
            [EmbedInput::Text("a".into())]
        );
    }
}
