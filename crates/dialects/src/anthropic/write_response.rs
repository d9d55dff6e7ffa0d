//! Writing the events and whole bodies of `/v1/messages`.

use bytes::BytesMut;
use primitives::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::answer::{Answer, argument_object, call_id};
use crate::encoder::{ResponseMeta, StreamState, whole_finish};
use crate::error::ApiError;
use crate::event::{Event, FinishReason, ToolCallDelta, Usage};
use crate::json::Json;
use crate::observer::Observed;
use crate::wire;

#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: &'a [Block<'a>],
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'static str>,
    usage: UsageBody,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
    },
    Thinking {
        thinking: &'a str,
        signature: &'static str,
    },
    ToolUse {
        id: String,
        name: &'a str,
        input: Json,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame<'a> {
    MessageStart {
        message: Message<'a>,
    },
    ContentBlockStart {
        index: u32,
        content_block: OpeningBlock<'a>,
    },
    ContentBlockDelta {
        index: u32,
        delta: Delta<'a>,
    },
    ContentBlockStop {
        index: u32,
    },
    MessageDelta {
        delta: Ending,
        usage: UsageBody,
    },
    MessageStop,
}

impl Frame<'_> {
    fn write(&self, out: &mut BytesMut) {
        let name = match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
        };
        wire::sse_event(out, name, self);
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum OpeningBlock<'a> {
    Text {
        text: &'static str,
    },
    Thinking {
        thinking: &'static str,
        signature: &'static str,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a RawValue,
    },
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: &'a str },
}

#[derive(Serialize)]
struct Ending {
    stop_reason: &'static str,
    stop_sequence: Option<&'static str>,
}

#[derive(Serialize)]
struct UsageBody {
    #[serde(rename = "input_tokens")]
    input: u64,
    #[serde(rename = "output_tokens")]
    output: u64,
    #[serde(
        rename = "cache_read_input_tokens",
        skip_serializing_if = "Option::is_none"
    )]
    cache_read: Option<u64>,
}

impl UsageBody {
    /// Anthropic counts cached tokens apart from `input_tokens`.
    fn of(usage: &Usage) -> Self {
        Self {
            input: usage
                .prompt_tokens
                .saturating_sub(usage.cached_tokens.unwrap_or(0)),
            output: usage.completion_tokens,
            cache_read: usage.cached_tokens,
        }
    }
}

const fn stop_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Load | FinishReason::Unload => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "refusal",
    }
}

/// The block that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    Call(u32),
}

/// Writes the events of a stream. Blocks follow each other; a piece of another kind closes the open one.
#[derive(Debug, Default)]
pub(crate) struct StreamWriter {
    started: bool,
    blocks: u32,
    open: Option<Open>,
}

impl StreamWriter {
    /// Goes on after frames that another node has sent.
    pub(crate) fn resume(&mut self, observed: &Observed) {
        self.started = true;
        self.blocks = observed.position.blocks;
        self.open = observed.position.open_text.map(|_| Open::Text);
    }

    pub(crate) fn event(&mut self, state: &mut StreamState, event: &Event, out: &mut BytesMut) {
        let delta = match event {
            Event::Text(text) => {
                self.switch(state, Open::Text, None, out);
                Delta::Text { text }
            }
            Event::Thinking(thinking) => {
                self.switch(state, Open::Thinking, None, out);
                Delta::Thinking { thinking }
            }
            Event::ToolCall(call) => {
                self.switch(state, Open::Call(call.index), Some(call), out);
                if call.arguments.is_empty() {
                    return;
                }
                Delta::Input {
                    partial_json: &call.arguments,
                }
            }
            _ => return,
        };
        let frame = Frame::ContentBlockDelta {
            index: self.blocks.saturating_sub(1),
            delta,
        };
        frame.write(out);
    }

    fn start(&mut self, state: &StreamState, out: &mut BytesMut) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let message = Message {
            id: &state.meta.id,
            r#type: "message",
            role: "assistant",
            model: &state.meta.model,
            content: &[],
            stop_reason: None,
            stop_sequence: None,
            usage: UsageBody::of(&Usage::default()),
        };
        Frame::MessageStart { message }.write(out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            Frame::ContentBlockStop {
                index: self.blocks.saturating_sub(1),
            }
            .write(out);
        }
    }

    fn switch(
        &mut self,
        state: &StreamState,
        to: Open,
        call: Option<&ToolCallDelta>,
        out: &mut BytesMut,
    ) {
        self.start(state, out);
        if self.open == Some(to) {
            return;
        }
        self.close(out);
        let index = self.blocks;
        let made_up;
        let content_block = match to {
            Open::Text => OpeningBlock::Text { text: "" },
            Open::Thinking => OpeningBlock::Thinking {
                thinking: "",
                signature: "",
            },
            Open::Call(position) => {
                made_up = call_id(&state.meta.id, position as usize);
                OpeningBlock::ToolUse {
                    id: call.and_then(|call| call.id.as_deref()).unwrap_or(&made_up),
                    name: call
                        .and_then(|call| call.name.as_deref())
                        .unwrap_or_default(),
                    input: empty_object(),
                }
            }
        };
        Frame::ContentBlockStart {
            index,
            content_block,
        }
        .write(out);
        self.blocks = self.blocks.saturating_add(1);
        self.open = Some(to);
    }

    pub(crate) fn finish(&mut self, state: &StreamState, now: Timestamp, out: &mut BytesMut) {
        self.start(state, out);
        self.close(out);
        if !state.finish_sent {
            let delta = Ending {
                stop_reason: stop_reason(state.finish_reason()),
                stop_sequence: None,
            };
            let usage = UsageBody::of(&state.final_usage(now));
            Frame::MessageDelta { delta, usage }.write(out);
        }
        Frame::MessageStop.write(out);
    }
}

/// Returns the input that a streamed call begins with.
fn empty_object() -> &'static RawValue {
    static EMPTY: std::sync::LazyLock<Box<RawValue>> =
        std::sync::LazyLock::new(|| RawValue::from_string("{}".to_owned()).unwrap_or_default());
    &EMPTY
}

/// Writes a whole message.
pub(crate) fn write_whole(
    meta: &ResponseMeta,
    answer: &Answer,
    out: &mut BytesMut,
) -> Result<(), ApiError> {
    let mut content = Vec::new();
    if !answer.thinking.is_empty() {
        content.push(Block::Thinking {
            thinking: &answer.thinking,
            signature: "",
        });
    }
    if !answer.text.is_empty() {
        content.push(Block::Text { text: &answer.text });
    }
    for (position, call) in answer.calls.iter().enumerate() {
        content.push(Block::ToolUse {
            id: call
                .id
                .clone()
                .unwrap_or_else(|| call_id(&meta.id, position)),
            name: &call.name,
            input: argument_object(call)?,
        });
    }
    let message = Message {
        id: &meta.id,
        r#type: "message",
        role: "assistant",
        model: &meta.model,
        content: &content,
        stop_reason: Some(stop_reason(whole_finish(answer))),
        stop_sequence: None,
        usage: UsageBody::of(&answer.usage),
    };
    wire::json(out, &message);
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use primitives::Timestamp;

    use crate::{
        Event, FinishReason, Observer, Operation, ResponseEncoder, ResponseMeta, ToolCallDelta,
        Usage, encode_whole,
    };

    const NOW: Timestamp = Timestamp::from_micros(0);

    fn run(mut encoder: ResponseEncoder, events: &[Event]) -> String {
        let mut out = BytesMut::new();
        for event in events {
            encoder.event(event, NOW, &mut out);
        }
        encoder.finish(NOW, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn call() -> Event {
        Event::ToolCall(ToolCallDelta {
            index: 0,
            id: Some("t".into()),
            name: Some("f".into()),
            arguments: "{}".into(),
        })
    }

    #[test]
    fn a_stream_has_the_exact_events() {
        let usage = Usage {
            prompt_tokens: 3,
            completion_tokens: 2,
            ..Usage::default()
        };
        let meta = ResponseMeta::plain("m", "msg_1", NOW);
        let text = run(
            ResponseEncoder::new(Operation::AnthropicMessages, meta),
            &[
                Event::Text("a".into()),
                call(),
                Event::Finish(FinishReason::Stop),
                Event::Usage(usage),
            ],
        );
        let frames = [
            r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":3,"output_tokens":2}}"#,
            r#"{"type":"message_stop"}"#,
        ];
        let expected = frames.map(|frame| {
            let name = frame.split('"').nth(3).unwrap();
            format!("event: {name}\ndata: {frame}\n\n")
        });
        assert_eq!(text, expected.concat());
    }

    #[test]
    fn a_resumed_stream_stays_in_its_open_block() {
        let mut observer = Observer::new(Operation::AnthropicMessages);
        for frame in [
            r#"{"type":"message_start","message":{"id":"msg_9","model":"n","content":[],"usage":{"input_tokens":1,"output_tokens":0}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
        ] {
            observer.frame(format!("event: x\ndata: {frame}\n\n").as_bytes());
        }
        let meta = ResponseMeta::plain("m", "msg_1", NOW);
        let encoder = ResponseEncoder::resume(Operation::AnthropicMessages, meta, observer.state());
        let text = run(encoder, &[Event::Text("b".into())]);
        assert!(text.starts_with(
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}}\n\nevent: content_block_stop"
        ));
    }

    #[test]
    fn whole_bodies_are_exact() {
        let meta = ResponseMeta::plain("m", "msg_1", NOW);
        let body = encode_whole(
            Operation::AnthropicMessages,
            &meta,
            &[Event::Text("a".into()), call()],
            NOW,
        )
        .unwrap();
        assert_eq!(
            body,
            r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"a"},{"type":"tool_use","id":"t","name":"f","input":{}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}"#
        );
    }
}
