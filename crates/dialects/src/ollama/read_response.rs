//! Reading Ollama's chunks and whole responses. A whole response is a single chunk that is done.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::count::{self, Number};
use crate::decoder::{Progress, malformed};
use crate::envelope::decode_stream_error;
use crate::error::ApiError;
use crate::event::{AlternativeLogprob, Event, FinishReason, TokenLogprob, ToolCallDelta, Usage};
use crate::json::Text;
use crate::observer::Observed;
use crate::scan::{Scanner, string};
use crate::vector::Vector;

/// A chunk of `/api/chat` or `/api/generate`: they differ only in where the text stands.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<ChunkMessage<'a>>,
    #[serde(borrow)]
    response: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<WholeCall<'a>>>,
    #[serde(default)]
    done: bool,
    #[serde(borrow)]
    done_reason: Option<Text<'a>>,
    logprobs: Option<Vec<Entry>>,
    total_duration: Option<Number>,
    load_duration: Option<Number>,
    prompt_eval_count: Option<Number>,
    prompt_eval_duration: Option<Number>,
    eval_count: Option<Number>,
    eval_duration: Option<Number>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChunkMessage<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<WholeCall<'a>>>,
}

/// A function call; Ollama's come in one piece and their arguments are an object.
#[derive(Deserialize)]
struct WholeCall<'a> {
    id: Option<String>,
    #[serde(borrow)]
    function: WholeFunction<'a>,
}

#[derive(Deserialize)]
struct WholeFunction<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry {
    token: String,
    logprob: f64,
    bytes: Option<Vec<u8>>,
    top_logprobs: Option<Vec<Alternative>>,
}

#[derive(Deserialize)]
struct Alternative {
    token: String,
    logprob: f64,
    bytes: Option<Vec<u8>>,
}

/// Reads one chunk.
pub(crate) fn read_frame(
    json: &[u8],
    progress: &mut Progress,
    events: &mut Vec<Event>,
) -> Result<(), ApiError> {
    let chunk: Chunk<'_> = serde_json::from_slice(json).map_err(|error| malformed(&error))?;
    if chunk.error.is_some() {
        return Err(
            decode_stream_error(json).unwrap_or_else(|| ApiError::upstream("the node failed"))
        );
    }
    if progress.model.is_none() {
        progress.model = chunk
            .model
            .as_ref()
            .map(|model| model.0.clone().into_owned());
    }
    if let Some(logprobs) = &chunk.logprobs
        && !logprobs.is_empty()
    {
        events.push(Event::Logprobs(
            logprobs.iter().map(token_logprob).collect(),
        ));
    }
    let (content, thinking, calls) = match &chunk.message {
        Some(message) => (&message.content, &message.thinking, &message.tool_calls),
        None => (&chunk.response, &chunk.thinking, &chunk.tool_calls),
    };
    if let Some(Text(thinking)) = thinking
        && !thinking.is_empty()
    {
        events.push(Event::Thinking(thinking.clone().into_owned()));
    }
    if let Some(Text(content)) = content
        && !content.is_empty()
    {
        events.push(Event::Text(content.clone().into_owned()));
    }
    for call in calls.iter().flatten() {
        let index = u32::try_from(progress.tool_blocks.len()).unwrap_or(u32::MAX);
        progress.tool_blocks.push(index);
        events.push(Event::ToolCall(ToolCallDelta {
            index,
            id: call.id.clone().filter(|id| !id.is_empty()),
            name: Some(call.function.name.clone()),
            arguments: call
                .function
                .arguments
                .map_or("{}", RawValue::get)
                .to_owned(),
        }));
    }
    if chunk.done {
        progress.complete = true;
        let reason = chunk
            .done_reason
            .as_ref()
            .map_or("stop", |reason| &*reason.0);
        events.push(Event::Finish(finish_reason(reason)));
        let account = Account {
            total_duration: chunk.total_duration,
            load_duration: chunk.load_duration,
            prompt_eval_count: chunk.prompt_eval_count,
            prompt_eval_duration: chunk.prompt_eval_duration,
            eval_count: chunk.eval_count,
            eval_duration: chunk.eval_duration,
        };
        events.extend(account.usage().map(Event::Usage));
    }
    Ok(())
}

/// What a whole answer says about itself.
#[derive(Default)]
struct Account {
    total_duration: Option<Number>,
    load_duration: Option<Number>,
    prompt_eval_count: Option<Number>,
    prompt_eval_duration: Option<Number>,
    eval_count: Option<Number>,
    eval_duration: Option<Number>,
}

/// Walks over a whole answer for what it says about itself. `None` when it has to be read in full.
pub(crate) fn scan_whole(scanner: &mut Scanner<'_>) -> Option<Observed> {
    let mut observed = Observed::default();
    let mut account = Account::default();
    let mut finish = FinishReason::Stop;
    scanner.object(|key, scanner| {
        let number = match key {
            "total_duration" => &mut account.total_duration,
            "load_duration" => &mut account.load_duration,
            "prompt_eval_count" => &mut account.prompt_eval_count,
            "prompt_eval_duration" => &mut account.prompt_eval_duration,
            "eval_count" => &mut account.eval_count,
            "eval_duration" => &mut account.eval_duration,
            "model" => {
                observed.model = string(scanner.present()?)?.map(Cow::into_owned);
                return Some(());
            }
            "done" => {
                observed.complete = scanner.value()? == "true";
                return Some(());
            }
            "done_reason" => {
                if let Some(reason) = string(scanner.present()?)? {
                    finish = finish_reason(&reason);
                }
                return Some(());
            }
            "error" => return scanner.present()?.is_none().then_some(()),
            _ => return scanner.skip(),
        };
        *number = scanner.present()?.map(Number::of);
        Some(())
    })?;
    observed.finish = Some(finish);
    observed.usage = account.usage();
    observed.complete.then_some(observed)
}

fn finish_reason(name: &str) -> FinishReason {
    match name {
        "length" => FinishReason::Length,
        "load" => FinishReason::Load,
        "unload" => FinishReason::Unload,
        _ => FinishReason::Stop,
    }
}

impl Account {
    fn usage(&self) -> Option<Usage> {
        let usage = count::usage(self.prompt_eval_count, self.eval_count)?;
        Some(Usage {
            total_duration: self.total_duration.and_then(Number::nanos),
            load_duration: self.load_duration.and_then(Number::nanos),
            prompt_eval_duration: self.prompt_eval_duration.and_then(Number::nanos),
            eval_duration: self.eval_duration.and_then(Number::nanos),
            ..usage
        })
    }
}

fn token_logprob(wire: &Entry) -> TokenLogprob {
    TokenLogprob {
        token: wire.token.clone(),
        logprob: wire.logprob,
        bytes: wire.bytes.clone(),
        top: wire
            .top_logprobs
            .iter()
            .flatten()
            .map(|top| AlternativeLogprob {
                token: top.token.clone(),
                logprob: top.logprob,
                bytes: top.bytes.clone(),
            })
            .collect(),
    }
}

/// The bodies of `/api/embed` and `/api/embeddings`.
#[derive(Deserialize)]
struct EmbedBody<'a> {
    #[serde(borrow)]
    embeddings: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    total_duration: Option<Number>,
    load_duration: Option<Number>,
    prompt_eval_count: Option<Number>,
}

fn is_empty_array(raw: &RawValue) -> bool {
    let inside = raw
        .get()
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    inside.is_some_and(|inside| inside.trim().is_empty())
}

/// Reads the vectors of either embedding route.
pub(crate) fn read_embeddings(body: &[u8], events: &mut Vec<Event>) -> Result<(), ApiError> {
    let body: EmbedBody<'_> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let raw = match (body.embeddings, body.embedding) {
        (Some(vectors), _) => vectors,
        (None, Some(vector)) if is_empty_array(vector) => Vec::new(),
        (None, Some(vector)) => vec![vector],
        (None, None) => return Err(ApiError::upstream("the node's response has no embeddings")),
    };
    let vectors: Option<Vec<Vector>> = raw.into_iter().map(Vector::of_text).collect();
    events.push(Event::Embeddings(vectors.ok_or_else(|| {
        ApiError::upstream("the node's embeddings are not lists of numbers")
    })?));
    let usage = count::usage(body.prompt_eval_count, None);
    events.extend(usage.map(|usage| {
        Event::Usage(Usage {
            total_duration: body.total_duration.and_then(Number::nanos),
            load_duration: body.load_duration.and_then(Number::nanos),
            ..usage
        })
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{
        ErrorKind, Event, FinishReason, Operation, ResponseDecoder, ToolCallDelta, Vector,
        decode_whole,
    };

    fn vector(text: &str) -> Vector {
        Vector::of_text(serde_json::from_str(text).unwrap()).unwrap()
    }

    fn decode(frames: &[&str]) -> (Vec<Event>, bool) {
        let mut decoder = ResponseDecoder::new(Operation::OllamaChat);
        let mut events = Vec::new();
        for frame in frames {
            decoder.push(frame.as_bytes(), &mut events);
        }
        (events, decoder.is_complete())
    }

    #[test]
    fn a_chat_stream_becomes_events() {
        let (events, complete) = decode(&[
            "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"hm\"},\"done\":false}\n",
            "{\"message\":{\"role\":\"assistant\",\"content\":\"a\\n\"},\"done\":false}\n",
            "{\"message\":{\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"z\":1,\"a\":2}}}]},\"done\":false}\n",
            "{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"length\",\"eval_count\":3,\"prompt_eval_count\":4,\"eval_duration\":5}\n",
        ]);
        assert!(complete);
        assert_eq!(events[0], Event::Thinking("hm".into()));
        assert_eq!(events[1], Event::Text("a\n".into()));
        assert_eq!(
            events[2],
            Event::ToolCall(ToolCallDelta {
                index: 0,
                id: None,
                name: Some("f".into()),
                arguments: r#"{"z":1,"a":2}"#.into()
            })
        );
        assert_eq!(events[3], Event::Finish(FinishReason::Length));
        let Event::Usage(usage) = &events[4] else {
            panic!("{events:?}")
        };
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (4, 3));
        assert_eq!(usage.eval_duration.unwrap().as_nanos(), 5);
    }

    #[test]
    fn an_error_line_ends_the_stream() {
        let (events, complete) = decode(&["{\"error\":\"out of memory\"}\n"]);
        assert!(!complete);
        assert!(matches!(&events[..], [Event::Error(error)] if error.message == "out of memory"));
        let (events, _) = decode(&["not json\n"]);
        assert!(matches!(&events[..], [Event::Error(error)] if error.kind == ErrorKind::Upstream));
    }

    #[test]
    fn vectors_come_from_both_embedding_routes() {
        let many = decode_whole(
            Operation::OllamaEmbed,
            200,
            br#"{"embeddings":[[0.5],[1]],"prompt_eval_count":2}"#,
        );
        assert_eq!(
            many.unwrap()[0],
            Event::Embeddings(vec![vector("[0.5]"), vector("[1]")])
        );
        let one = decode_whole(Operation::OllamaEmbeddings, 200, br#"{"embedding":[0.25]}"#);
        assert_eq!(one.unwrap()[0], Event::Embeddings(vec![vector("[0.25]")]));
    }
}
