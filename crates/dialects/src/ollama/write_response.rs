//! Writing Ollama's chunks, final chunks, whole responses and embeddings.

use std::time::Duration;

use bytes::BytesMut;
use primitives::Timestamp;
use serde::Serialize;

use crate::answer::{Answer, Calls, argument_object, call_id, created_at};
use crate::canonical::ToolCall;
use crate::encoder::{ResponseMeta, StreamState};
use crate::error::ApiError;
use crate::event::{Event, FinishReason, TokenLogprob, Usage};
use crate::json::Json;
use crate::operation::Operation;
use crate::vector::Vector;
use crate::wire;

#[derive(Serialize)]
struct ChatLine<'a> {
    model: &'a str,
    created_at: &'a str,
    message: LineMessage<'a>,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    logprobs: Vec<LineLogprob<'a>>,
    #[serde(flatten)]
    metrics: Metrics,
}

#[derive(Serialize)]
struct LineMessage<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [LineCall],
}

#[derive(Serialize)]
struct GenerateLine<'a> {
    model: &'a str,
    created_at: &'a str,
    response: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<&'static str>,
    #[serde(flatten)]
    metrics: Metrics,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [LineCall],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    logprobs: Vec<LineLogprob<'a>>,
}

#[derive(Serialize)]
struct LineCall {
    id: String,
    function: LineFunction,
}

#[derive(Serialize)]
struct LineFunction {
    index: usize,
    name: String,
    arguments: Json,
}

#[derive(Serialize)]
struct LineLogprob<'a> {
    token: &'a str,
    logprob: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<&'a [u8]>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    top_logprobs: Vec<LineAlternative<'a>>,
}

#[derive(Serialize)]
struct LineAlternative<'a> {
    token: &'a str,
    logprob: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<&'a [u8]>,
}

/// Counts and nanoseconds; zeros are left out, as Ollama leaves them out.
#[derive(Default, Serialize)]
struct Metrics {
    #[serde(skip_serializing_if = "is_zero")]
    total_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    load_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    prompt_eval_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    prompt_eval_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    eval_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    eval_duration: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Metrics {
    fn of(usage: &Usage) -> Self {
        Self {
            total_duration: nanos(usage.total_duration),
            load_duration: nanos(usage.load_duration),
            prompt_eval_count: usage.prompt_tokens,
            prompt_eval_duration: nanos(usage.prompt_eval_duration),
            eval_count: usage.completion_tokens,
            eval_duration: nanos(usage.eval_duration),
        }
    }
}

fn nanos(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |duration| {
        u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Ollama says `stop` after function calls too.
const fn done_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::ContentFilter => "stop",
        FinishReason::Length => "length",
        FinishReason::Load => "load",
        FinishReason::Unload => "unload",
    }
}

/// What one line says, whichever of the two routes writes it.
#[derive(Default)]
struct Line<'a> {
    text: &'a str,
    thinking: &'a str,
    calls: &'a [LineCall],
    logprobs: &'a [TokenLogprob],
    done: Option<(FinishReason, Usage)>,
}

impl Line<'_> {
    fn write(&self, operation: Operation, model: &str, now: Timestamp, out: &mut BytesMut) {
        let created_at = created_at(now);
        let (done_reason, metrics) = match &self.done {
            // Loading and unloading answer without measurements.
            Some((reason @ (FinishReason::Load | FinishReason::Unload), _)) => {
                (Some(done_reason(*reason)), Metrics::default())
            }
            Some((reason, usage)) => (Some(done_reason(*reason)), Metrics::of(usage)),
            None => (None, Metrics::default()),
        };
        let logprobs = self.logprobs.iter().map(line_logprob).collect();
        if operation == Operation::OllamaGenerate {
            let line = GenerateLine {
                model,
                created_at: &created_at,
                response: self.text,
                thinking: self.thinking,
                done: self.done.is_some(),
                done_reason,
                metrics,
                tool_calls: self.calls,
                logprobs,
            };
            wire::json(out, &line);
        } else {
            let line = ChatLine {
                model,
                created_at: &created_at,
                message: LineMessage {
                    role: "assistant",
                    content: self.text,
                    thinking: self.thinking,
                    tool_calls: self.calls,
                },
                done: self.done.is_some(),
                done_reason,
                logprobs,
                metrics,
            };
            wire::json(out, &line);
        }
    }
}

fn line_logprob(token: &TokenLogprob) -> LineLogprob<'_> {
    LineLogprob {
        token: &token.token,
        logprob: token.logprob,
        bytes: token.bytes.as_deref(),
        top_logprobs: token
            .top
            .iter()
            .map(|top| LineAlternative {
                token: &top.token,
                logprob: top.logprob,
                bytes: top.bytes.as_deref(),
            })
            .collect(),
    }
}

fn line_calls(calls: Vec<ToolCall>, response_id: &str) -> Result<Vec<LineCall>, ApiError> {
    calls
        .into_iter()
        .enumerate()
        .map(|(index, call)| {
            let arguments = argument_object(&call)?;
            Ok(LineCall {
                id: call.id.unwrap_or_else(|| call_id(response_id, index)),
                function: LineFunction {
                    index,
                    name: call.name,
                    arguments,
                },
            })
        })
        .collect()
}

/// Writes the lines of a stream. Function calls go out in one piece at the end, because Ollama's are never cut.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    operation: Operation,
    calls: Calls,
}

impl StreamWriter {
    pub(crate) fn new(operation: Operation) -> Self {
        Self {
            operation,
            calls: Calls::default(),
        }
    }

    pub(crate) fn event(
        &mut self,
        state: &mut StreamState,
        event: &Event,
        now: Timestamp,
        out: &mut BytesMut,
    ) -> Result<(), ApiError> {
        let logprobs;
        let line = match event {
            Event::Text(text) => {
                logprobs = std::mem::take(&mut state.logprobs);
                Line {
                    text,
                    logprobs: &logprobs,
                    ..Line::default()
                }
            }
            Event::Thinking(thinking) => Line {
                thinking,
                ..Line::default()
            },
            Event::ToolCall(delta) => {
                self.calls.add(delta);
                return Ok(());
            }
            Event::Finish(_) => return self.write_calls(state, now, out),
            _ => return Ok(()),
        };
        line.write(self.operation, &state.meta.model, now, out);
        out.extend_from_slice(b"\n");
        Ok(())
    }

    fn write_calls(
        &mut self,
        state: &StreamState,
        now: Timestamp,
        out: &mut BytesMut,
    ) -> Result<(), ApiError> {
        if self.calls.is_empty() {
            return Ok(());
        }
        let calls = line_calls(self.calls.take(), &state.meta.id)?;
        let line = Line {
            calls: &calls,
            ..Line::default()
        };
        line.write(self.operation, &state.meta.model, now, out);
        out.extend_from_slice(b"\n");
        Ok(())
    }

    pub(crate) fn finish(
        &mut self,
        state: &StreamState,
        now: Timestamp,
        out: &mut BytesMut,
    ) -> Result<(), ApiError> {
        self.write_calls(state, now, out)?;
        let line = Line {
            logprobs: &state.logprobs,
            done: Some((
                state.finish.unwrap_or(FinishReason::Stop),
                state.final_usage(now),
            )),
            ..Line::default()
        };
        line.write(self.operation, &state.meta.model, now, out);
        out.extend_from_slice(b"\n");
        Ok(())
    }
}

/// Writes a whole response of chat or generate.
pub(crate) fn write_whole(
    operation: Operation,
    meta: &ResponseMeta,
    mut answer: Answer,
    now: Timestamp,
    out: &mut BytesMut,
) -> Result<(), ApiError> {
    let calls = line_calls(answer.calls.take(), &meta.id)?;
    let line = Line {
        text: &answer.text,
        thinking: &answer.thinking,
        calls: &calls,
        logprobs: &answer.logprobs,
        done: Some((answer.finish.unwrap_or(FinishReason::Stop), answer.usage)),
    };
    line.write(operation, &meta.model, now, out);
    Ok(())
}

#[derive(Serialize)]
struct EmbedBody<'a> {
    model: &'a str,
    embeddings: &'a [Vector],
    #[serde(skip_serializing_if = "is_zero")]
    total_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    load_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    prompt_eval_count: u64,
}

#[derive(Serialize)]
struct EmbeddingBody<'a> {
    embedding: &'a Vector,
}

/// Writes the body of either embedding route.
pub(crate) fn write_embeddings(
    operation: Operation,
    meta: &ResponseMeta,
    answer: &Answer,
    out: &mut BytesMut,
) {
    if operation == Operation::OllamaEmbeddings {
        let none = Vector::from([].as_slice());
        let embedding = answer.embeddings.first().unwrap_or(&none);
        return wire::json(out, &EmbeddingBody { embedding });
    }
    let body = EmbedBody {
        model: &meta.model,
        embeddings: &answer.embeddings,
        total_duration: nanos(answer.usage.total_duration),
        load_duration: nanos(answer.usage.load_duration),
        prompt_eval_count: answer.usage.prompt_tokens,
    };
    wire::json(out, &body);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;
    use primitives::Timestamp;

    use crate::{
        Event, FinishReason, Operation, ResponseEncoder, ResponseMeta, TokenLogprob, ToolCallDelta,
        Usage, Vector, encode_whole,
    };

    const NOW: Timestamp = Timestamp::from_micros(1_767_323_045_000_006);

    fn stream(operation: Operation, events: &[Event]) -> String {
        let meta = ResponseMeta::plain("Mistral:Latest", "r1", NOW);
        let mut encoder = ResponseEncoder::new(operation, meta);
        let mut out = BytesMut::new();
        for event in events {
            encoder.event(event, NOW, &mut out);
        }
        encoder.finish(NOW.after(Duration::from_micros(7)), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_chat_stream_has_the_exact_lines() {
        let usage = Usage {
            prompt_tokens: 5,
            completion_tokens: 2,
            total_duration: Some(Duration::from_nanos(9)),
            eval_duration: Some(Duration::from_nanos(4)),
            ..Usage::default()
        };
        let text = stream(
            Operation::OllamaChat,
            &[
                Event::Thinking("hm".into()),
                Event::Text("a\nb".into()),
                Event::Finish(FinishReason::Length),
                Event::Usage(usage),
            ],
        );
        assert_eq!(
            text,
            concat!(
                r#"{"model":"Mistral:Latest","created_at":"2026-01-02T03:04:05.000006000Z","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#,
                "\n",
                r#"{"model":"Mistral:Latest","created_at":"2026-01-02T03:04:05.000006000Z","message":{"role":"assistant","content":"a\nb"},"done":false}"#,
                "\n",
                r#"{"model":"Mistral:Latest","created_at":"2026-01-02T03:04:05.000013000Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"length","total_duration":9,"prompt_eval_count":5,"eval_count":2,"eval_duration":4}"#,
                "\n",
            )
        );
    }

    #[test]
    fn tool_calls_go_out_whole_and_the_reason_stays_stop() {
        let piece = |name: Option<&str>, arguments: &str| {
            Event::ToolCall(ToolCallDelta {
                index: 0,
                id: name.map(|_| "call_1".into()),
                name: name.map(str::to_owned),
                arguments: arguments.into(),
            })
        };
        let text = stream(
            Operation::OllamaChat,
            &[
                piece(Some("f"), ""),
                piece(None, "{ \"z\":\n 1.50,"),
                piece(None, "\"a\":2}"),
                Event::Finish(FinishReason::ToolCalls),
            ],
        );
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains(
            r#""tool_calls":[{"id":"call_1","function":{"index":0,"name":"f","arguments":{"z":1.50,"a":2}}}]},"done":false"#
        ));
        assert!(lines[1].contains(r#""done":true,"done_reason":"stop""#));
    }

    #[test]
    fn arguments_that_are_no_object_end_the_stream_with_an_error() {
        let call = ToolCallDelta {
            name: Some("f".into()),
            arguments: "[1".into(),
            ..ToolCallDelta::default()
        };
        let text = stream(
            Operation::OllamaChat,
            &[
                Event::ToolCall(call),
                Event::Finish(FinishReason::ToolCalls),
            ],
        );
        assert_eq!(
            text,
            "{\"error\":\"the model called 'f' with arguments that are not a JSON object\"}\n"
        );
    }

    #[test]
    fn generate_and_load_bodies_are_exact() {
        let meta = ResponseMeta::plain("m", "r", NOW);
        let logprob = TokenLogprob {
            token: "a".into(),
            logprob: -0.5,
            bytes: None,
            top: vec![],
        };
        let events = [
            Event::Logprobs(vec![logprob]),
            Event::Text("a".into()),
            Event::Finish(FinishReason::Stop),
        ];
        let body = encode_whole(Operation::OllamaGenerate, &meta, &events, NOW).unwrap();
        assert_eq!(
            body,
            r#"{"model":"m","created_at":"2026-01-02T03:04:05.000006000Z","response":"a","done":true,"done_reason":"stop","logprobs":[{"token":"a","logprob":-0.5}]}"#
        );
        let body = encode_whole(
            Operation::OllamaChat,
            &meta,
            &[Event::Finish(FinishReason::Unload)],
            NOW,
        )
        .unwrap();
        assert_eq!(
            body,
            r#"{"model":"m","created_at":"2026-01-02T03:04:05.000006000Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"unload"}"#
        );
    }

    #[test]
    fn embedding_bodies_are_exact() {
        let meta = ResponseMeta::plain("m", "r", NOW);
        let events = [Event::Embeddings(vec![Vector::from([0.5, 0.1].as_slice())])];
        let body = encode_whole(Operation::OllamaEmbed, &meta, &events, NOW).unwrap();
        assert_eq!(body, r#"{"model":"m","embeddings":[[0.5,0.1]]}"#);
        let body = encode_whole(
            Operation::OllamaEmbeddings,
            &meta,
            &[Event::Embeddings(vec![])],
            NOW,
        )
        .unwrap();
        assert_eq!(body, r#"{"embedding":[]}"#);
    }
}
