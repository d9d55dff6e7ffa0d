//! Reading chunks and whole responses of chat completions, completions and embeddings, with the extras of vLLM and
//! llama-server. A whole response is a chunk whose choices have a `message` in place of a `delta`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::read_logprobs::{chat_logprobs, completion_logprobs};
use crate::count::{self, Number};
use crate::decoder::{Progress, malformed};
use crate::envelope::decode_stream_error;
use crate::error::ApiError;
use crate::event::{Event, FinishReason, TokenLogprob, ToolCallDelta, Usage};
use crate::json::Text;
use crate::observer::Observed;
use crate::scan::{Scanner, string};
use crate::vector::Vector;

const DONE: &[u8] = b"[DONE]";
/// What llama-server begins a stream of several prompts with.
const NOTHING: &[u8] = b"null";

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    created: Option<Number>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<UsageWire>,
    timings: Option<Timings>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, alias = "message")]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<CallPiece<'a>>>,
}

#[derive(Deserialize)]
struct CallPiece<'a> {
    index: Option<u32>,
    id: Option<String>,
    #[serde(borrow)]
    function: Option<FunctionPiece<'a>>,
}

#[derive(Deserialize)]
struct FunctionPiece<'a> {
    name: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UsageWire {
    prompt_tokens: Option<Number>,
    completion_tokens: Option<Number>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<Number>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<Number>,
}

/// llama-server's own measurements, in milliseconds.
#[derive(Deserialize)]
struct Timings {
    prompt_ms: Option<Number>,
    predicted_ms: Option<Number>,
}

/// Reads a chunk of `/v1/chat/completions`.
pub(crate) fn read_chat_frame(
    json: &[u8],
    progress: &mut Progress,
    events: &mut Vec<Event>,
) -> Result<(), ApiError> {
    read_chunk(json, progress, events, chat_logprobs)
}

/// Reads a chunk of `/v1/completions`.
pub(crate) fn read_completion_frame(
    json: &[u8],
    progress: &mut Progress,
    events: &mut Vec<Event>,
) -> Result<(), ApiError> {
    read_chunk(json, progress, events, completion_logprobs)
}

fn read_chunk(
    json: &[u8],
    progress: &mut Progress,
    events: &mut Vec<Event>,
    read_logprobs: fn(&str) -> Option<Vec<TokenLogprob>>,
) -> Result<(), ApiError> {
    if json.starts_with(DONE) {
        progress.complete = true;
        return Ok(());
    }
    if json.trim_ascii_end() == NOTHING {
        return Ok(());
    }
    let chunk: Chunk<'_> = serde_json::from_slice(json).map_err(|error| malformed(&error))?;
    if chunk.error.is_some() {
        return Err(
            decode_stream_error(json).unwrap_or_else(|| ApiError::upstream("the node failed"))
        );
    }
    remember(&chunk, progress);
    let choices = chunk.choices.unwrap_or_default();
    progress.usage_only = choices.is_empty() && chunk.usage.is_some();
    // Requests for several choices pass unread; only the first can be translated or continued.
    for choice in choices.into_iter().filter(|choice| choice.index == 0) {
        if let Some(logprobs) = choice.logprobs.and_then(|raw| read_logprobs(raw.get()))
            && !logprobs.is_empty()
        {
            events.push(Event::Logprobs(logprobs));
        }
        if let Some(delta) = choice.delta {
            read_delta(delta, events);
        }
        if let Some(text) = choice.text {
            push_text(text, events);
        }
        if let Some(Text(reason)) = choice.finish_reason {
            events.push(Event::Finish(finish_reason(&reason)));
        }
    }
    if let Some(usage) = &chunk.usage {
        events.extend(usage_of(usage, chunk.timings.as_ref()).map(Event::Usage));
    }
    Ok(())
}

/// Walks over a whole chat or completion for what it says about itself. `None` when it has to be read in full.
pub(crate) fn scan_whole(scanner: &mut Scanner<'_>) -> Option<Observed> {
    let mut observed = Observed::default();
    let mut usage = None;
    let mut timings = None;
    scanner.object(|key, scanner| {
        match key {
            "id" => observed.id = string(scanner.present()?)?.map(Cow::into_owned),
            "model" => observed.model = string(scanner.present()?)?.map(Cow::into_owned),
            "created" => {
                let created = scanner.present()?.map(Number::of);
                observed.created = created.and_then(Number::seconds);
            }
            "usage" => {
                usage = match scanner.present()? {
                    Some(json) => Some(scan_usage(&mut Scanner::of_value(json))?),
                    None => None,
                }
            }
            "timings" => {
                timings = match scanner.present()? {
                    Some(json) => Some(serde_json::from_str::<Timings>(json).ok()?),
                    None => None,
                }
            }
            "choices" => scanner.array(|scanner| scan_choice(scanner, &mut observed))?,
            "error" => {
                if scanner.present()?.is_some() {
                    return None;
                }
            }
            _ => scanner.skip()?,
        }
        Some(())
    })?;
    observed.usage = usage.and_then(|usage| usage_of(&usage, timings.as_ref()));
    observed.complete = true;
    Some(observed)
}

fn scan_usage(scanner: &mut Scanner<'_>) -> Option<UsageWire> {
    let mut usage = UsageWire {
        prompt_tokens: None,
        completion_tokens: None,
        prompt_tokens_details: None,
        completion_tokens_details: None,
    };
    scanner.object(|key, scanner| {
        match key {
            "prompt_tokens" => usage.prompt_tokens = scanner.present()?.map(Number::of),
            "completion_tokens" => usage.completion_tokens = scanner.present()?.map(Number::of),
            "prompt_tokens_details" => {
                if let Some(json) = scanner.present()? {
                    let cached_tokens = scan_detail(json, "cached_tokens")?;
                    usage.prompt_tokens_details = Some(PromptDetails { cached_tokens });
                }
            }
            "completion_tokens_details" => {
                if let Some(json) = scanner.present()? {
                    let reasoning_tokens = scan_detail(json, "reasoning_tokens")?;
                    usage.completion_tokens_details = Some(CompletionDetails { reasoning_tokens });
                }
            }
            _ => scanner.skip()?,
        }
        Some(())
    })?;
    Some(usage)
}

/// Finds one count of an object; the outer `None` when it is none.
#[expect(clippy::option_option, reason = "an absent count is no failure")]
fn scan_detail(json: &str, name: &str) -> Option<Option<Number>> {
    let mut found = None;
    Scanner::of_value(json).object(|key, scanner| {
        if key == name {
            found = scanner.present()?.map(Number::of);
            return Some(());
        }
        scanner.skip()
    })?;
    Some(found)
}

fn scan_choice(scanner: &mut Scanner<'_>, observed: &mut Observed) -> Option<()> {
    let mut index = 0;
    let mut finish = None;
    scanner.object(|key, scanner| {
        match key {
            "index" => {
                index = match scanner.present()? {
                    Some(json) => json.parse::<u32>().ok()?,
                    None => 0,
                }
            }
            "finish_reason" => {
                finish = string(scanner.present()?)?.map(|reason| finish_reason(&reason));
            }
            _ => scanner.skip()?,
        }
        Some(())
    })?;
    if index == 0 {
        observed.finish = finish.or(observed.finish);
    }
    Some(())
}

fn remember(chunk: &Chunk<'_>, progress: &mut Progress) {
    if progress.id.is_none() {
        progress.id = chunk.id.as_ref().map(|id| id.0.clone().into_owned());
        progress.created = chunk.created.and_then(Number::seconds);
        progress.model = chunk
            .model
            .as_ref()
            .map(|model| model.0.clone().into_owned());
    }
}

fn push_text(Text(text): Text<'_>, events: &mut Vec<Event>) {
    if !text.is_empty() {
        events.push(Event::Text(text.into_owned()));
    }
}

fn read_delta(delta: Delta<'_>, events: &mut Vec<Event>) {
    if let Some(Text(thinking)) = delta.reasoning.or(delta.reasoning_content)
        && !thinking.is_empty()
    {
        events.push(Event::Thinking(thinking.into_owned()));
    }
    if let Some(text) = delta.content {
        push_text(text, events);
    }
    if let Some(text) = delta.refusal {
        push_text(text, events);
    }
    for (position, piece) in (0..).zip(delta.tool_calls.into_iter().flatten()) {
        let function = piece.function.unwrap_or(FunctionPiece {
            name: None,
            arguments: None,
        });
        events.push(Event::ToolCall(ToolCallDelta {
            index: piece.index.unwrap_or(position),
            id: piece.id.filter(|id| !id.is_empty()),
            name: function.name.filter(|name| !name.is_empty()),
            arguments: function.arguments.map(argument_text).unwrap_or_default(),
        }));
    }
}

/// Arguments are a string; some servers write the object itself.
fn argument_text(raw: &RawValue) -> String {
    match raw.get() {
        "null" => String::new(),
        text => serde_json::from_str(text).unwrap_or_else(|_| text.to_owned()),
    }
}

pub(crate) fn finish_reason(name: &str) -> FinishReason {
    match name {
        "length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

fn usage_of(wire: &UsageWire, timings: Option<&Timings>) -> Option<Usage> {
    let usage = count::usage(wire.prompt_tokens, wire.completion_tokens)?;
    Some(Usage {
        cached_tokens: wire
            .prompt_tokens_details
            .as_ref()
            .and_then(|details| details.cached_tokens?.tokens()),
        reasoning_tokens: wire
            .completion_tokens_details
            .as_ref()
            .and_then(|details| details.reasoning_tokens?.tokens()),
        prompt_eval_duration: timings.and_then(|timings| timings.prompt_ms?.millis()),
        eval_duration: timings.and_then(|timings| timings.predicted_ms?.millis()),
        ..usage
    })
}

#[derive(Deserialize)]
struct EmbeddingsBody<'a> {
    #[serde(borrow)]
    data: Vec<EmbeddingItem<'a>>,
    usage: Option<UsageWire>,
}

#[derive(Deserialize)]
struct EmbeddingItem<'a> {
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// Reads the vectors of `/v1/embeddings`, in the order of their inputs.
pub(crate) fn read_embeddings(body: &[u8], events: &mut Vec<Event>) -> Result<(), ApiError> {
    let mut body: EmbeddingsBody<'_> =
        serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    body.data.sort_by_key(|item| item.index);
    let vectors: Result<Vec<Vector>, ApiError> = body
        .data
        .iter()
        .map(|item| vector(item.embedding))
        .collect();
    events.push(Event::Embeddings(vectors?));
    if let Some(usage) = &body.usage {
        events.extend(usage_of(usage, None).map(Event::Usage));
    }
    Ok(())
}

fn vector(raw: &RawValue) -> Result<Vector, ApiError> {
    if let Some(vector) = Vector::of_text(raw) {
        return Ok(vector);
    }
    let text: String = serde_json::from_str(raw.get()).map_err(|error| malformed(&error))?;
    let bytes = STANDARD.decode(text).map_err(|error| {
        ApiError::upstream(format!("the node's embedding is not base64: {error}"))
    })?;
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(ApiError::upstream("the node's embedding is cut short"));
    }
    let numbers: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    Ok(Vector::from(numbers.as_slice()))
}

#[cfg(test)]
mod tests {
    use crate::{
        Event, FinishReason, Operation, ResponseDecoder, ToolCallDelta, Vector, decode_whole,
    };

    fn decode(operation: Operation, frames: &[&str]) -> (Vec<Event>, bool) {
        let mut decoder = ResponseDecoder::new(operation);
        let mut events = Vec::new();
        for frame in frames {
            decoder.push(frame.as_bytes(), &mut events);
        }
        (events, decoder.is_complete())
    }

    #[test]
    fn a_chat_stream_becomes_events() {
        let (events, complete) = decode(
            Operation::OpenAiChat,
            &[
                ": ping\n\n",
                "data: null\n\n",
                "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n",
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\r\n\r\n",
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],\"top_logprobs\":[]}]}}]}\n\n",
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"i\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\"}}]}}]}\n\n",
                "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
                "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":1}}}\n\n",
                "data: [DONE]\n\n",
            ],
        );
        assert!(complete);
        assert_eq!(events[0], Event::Thinking("hm".into()));
        assert!(matches!(&events[1], Event::Logprobs(tokens) if tokens[0].bytes == Some(vec![97])));
        assert_eq!(events[2], Event::Text("a".into()));
        assert_eq!(
            events[3],
            Event::ToolCall(ToolCallDelta {
                index: 1,
                id: Some("i".into()),
                name: Some("f".into()),
                arguments: "{\"a".into()
            })
        );
        assert_eq!(events[4], Event::Finish(FinishReason::ToolCalls));
        assert!(matches!(&events[5], Event::Usage(usage) if usage.cached_tokens == Some(1)));
    }

    #[test]
    fn a_stream_without_its_end_mark_is_truncated() {
        let mut decoder = ResponseDecoder::new(Operation::OpenAiChat);
        let mut events = Vec::new();
        decoder.push(
            b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n",
            &mut events,
        );
        assert!(decoder.finish().is_err());
        decoder.push(b"data: [DONE]\n\n", &mut events);
        assert!(decoder.finish().is_ok());
    }

    #[test]
    fn completions_bring_text_and_parallel_logprobs() {
        let body = br#"{"choices":[{"index":0,"text":"ab","finish_reason":"length","logprobs":{"tokens":["a","b"],
            "token_logprobs":[-1,-2.5],"top_logprobs":[{"a":-1,"c":-3},null],"text_offset":[0,1]}}],
            "usage":{"prompt_tokens":1,"completion_tokens":2},"timings":{"prompt_ms":1.5,"predicted_ms":2}}"#;
        let events = decode_whole(Operation::OpenAiCompletions, 200, body).unwrap();
        assert!(
            matches!(&events[0], Event::Logprobs(tokens) if tokens[0].top[1].token == "c" && tokens[1].top.is_empty())
        );
        assert_eq!(events[1], Event::Text("ab".into()));
        assert_eq!(events[2], Event::Finish(FinishReason::Length));
        assert!(
            matches!(&events[3], Event::Usage(usage) if usage.prompt_eval_duration.unwrap().as_micros() == 1_500)
        );
    }

    #[test]
    fn vectors_are_read_as_numbers_and_as_base64_in_input_order() {
        let body = br#"{"data":[{"index":1,"embedding":"AACAPwAAAEA="},{"index":0,"embedding":[0.5,0.25]}],"usage":{"prompt_tokens":3}}"#;
        let events = decode_whole(Operation::OpenAiEmbeddings, 200, body).unwrap();
        assert_eq!(
            events[0],
            Event::Embeddings(vec![
                Vector::from([0.5, 0.25].as_slice()),
                Vector::from([1.0, 2.0].as_slice())
            ])
        );
        assert!(
            decode_whole(
                Operation::OpenAiEmbeddings,
                200,
                br#"{"data":[{"embedding":"AAA="}]}"#
            )
            .is_err()
        );
    }
}
