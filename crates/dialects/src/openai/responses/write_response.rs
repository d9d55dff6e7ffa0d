//! Writing the events and whole bodies of `/v1/responses`.

use bytes::BytesMut;
use primitives::Timestamp;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, call_id};
use crate::canonical::{ChatRequest, Format, Think, ToolChoice};
use crate::encoder::{ResponseMeta, StreamState, whole_finish};
use crate::envelope::openai_error;
use crate::error::ApiError;
use crate::event::{Event, FinishReason, ToolCallDelta, Usage};
use crate::json::{Fields, Json};
use crate::observer::Observed;
use crate::wire;

/// Returns what the response repeats of the request.
pub(crate) fn echo(chat: &ChatRequest) -> Fields {
    let sampling = &chat.generation.sampling;
    let tools: Vec<Value> = chat
        .tools
        .iter()
        .map(|tool| {
            json!({
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters.as_ref().and_then(Json::read::<Value>),
                "strict": tool.strict,
            })
        })
        .collect();
    let tool_choice = match &chat.tool_choice {
        None | Some(ToolChoice::Auto) => json!("auto"),
        Some(ToolChoice::None) => json!("none"),
        Some(ToolChoice::Required) => json!("required"),
        Some(ToolChoice::Named(name)) => json!({ "type": "function", "name": name }),
    };
    let format = match &chat.generation.format {
        None => json!({ "type": "text" }),
        Some(Format::Json) => json!({ "type": "json_object" }),
        Some(Format::Schema {
            schema,
            name,
            strict,
            ..
        }) => json!({
            "type": "json_schema",
            "name": name,
            "strict": strict,
            "schema": schema.read::<Value>(),
        }),
    };
    let effort = match &chat.generation.think {
        Some(Think::Level(level)) => Some(level.as_str()),
        Some(Think::Off) => Some("none"),
        Some(Think::On) | None => None,
    };
    let mut fields = Fields::default();
    for (name, value) in [
        ("max_output_tokens", json!(sampling.max_tokens)),
        (
            "parallel_tool_calls",
            json!(chat.parallel_tool_calls.unwrap_or(true)),
        ),
        ("reasoning", json!({ "effort": effort, "summary": null })),
        ("temperature", json!(sampling.temperature.unwrap_or(1.0))),
        ("text", json!({ "format": format })),
        ("tool_choice", tool_choice),
        ("tools", Value::Array(tools)),
        ("top_p", json!(sampling.top_p.unwrap_or(1.0))),
    ] {
        if let Some(value) = Json::parse(&value.to_string()) {
            fields.push(name, value);
        }
    }
    fields
}

/// How a response stands.
enum Status<'a> {
    InProgress,
    Ended(FinishReason, Usage),
    Failed(&'a ApiError),
}

/// Builds the object that the whole body is, and that the first and last events carry.
fn response_object(
    meta: &ResponseMeta,
    created_secs: i64,
    output: Vec<Value>,
    status: &Status<'_>,
) -> Value {
    let (name, error, incomplete, usage) = match status {
        Status::InProgress => ("in_progress", Value::Null, Value::Null, Value::Null),
        Status::Ended(FinishReason::Length, usage) => (
            "incomplete",
            Value::Null,
            json!({ "reason": "max_output_tokens" }),
            usage_object(usage),
        ),
        Status::Ended(FinishReason::ContentFilter, usage) => (
            "incomplete",
            Value::Null,
            json!({ "reason": "content_filter" }),
            usage_object(usage),
        ),
        Status::Ended(_, usage) => ("completed", Value::Null, Value::Null, usage_object(usage)),
        Status::Failed(error) => {
            let code = error.code.as_deref().unwrap_or("server_error");
            (
                "failed",
                json!({ "code": code, "message": error.message }),
                Value::Null,
                Value::Null,
            )
        }
    };
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("id", json!(meta.id));
    put("object", json!("response"));
    put("created_at", json!(created_secs));
    put("status", json!(name));
    put("background", json!(false));
    put("error", error);
    put("incomplete_details", incomplete);
    put("instructions", Value::Null);
    put("model", json!(meta.model));
    put("output", Value::Array(output));
    put("previous_response_id", Value::Null);
    put("store", json!(false));
    put("truncation", json!("disabled"));
    put("usage", usage);
    put("metadata", json!({}));
    for (field, value) in meta.echo.iter() {
        put(field, value.read().unwrap_or_default());
    }
    Value::Object(object)
}

fn usage_object(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens.unwrap_or(0) },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens.unwrap_or(0) },
        "total_tokens": usage.total_tokens(),
    })
}

/// One item of the output, while it grows and when it is done.
#[derive(Clone, Debug)]
enum Item {
    Message {
        id: String,
        text: String,
    },
    Reasoning {
        id: String,
        text: String,
    },
    Call {
        id: String,
        call_id: String,
        name: String,
        arguments: String,
        index: u32,
    },
}

impl Item {
    fn object(&self, status: &'static str) -> Value {
        let done = status == "completed";
        match self {
            Self::Message { id, text } => {
                let content = if done {
                    vec![text_part(text)]
                } else {
                    Vec::new()
                };
                json!({ "id": id, "type": "message", "status": status, "role": "assistant", "content": content })
            }
            Self::Reasoning { id, text } => {
                let summary = if done {
                    vec![summary_part(text)]
                } else {
                    Vec::new()
                };
                json!({ "id": id, "type": "reasoning", "summary": summary })
            }
            Self::Call {
                id,
                call_id,
                name,
                arguments,
                ..
            } => json!({
                "id": id,
                "type": "function_call",
                "status": status,
                "call_id": call_id,
                "name": name,
                "arguments": arguments,
            }),
        }
    }

    const fn id(&self) -> &String {
        match self {
            Self::Message { id, .. } | Self::Reasoning { id, .. } | Self::Call { id, .. } => id,
        }
    }

    /// Tells whether a piece of this event belongs to the item.
    const fn takes(&self, event: &Event) -> bool {
        match (self, event) {
            (Self::Message { .. }, Event::Text(_))
            | (Self::Reasoning { .. }, Event::Thinking(_)) => true,
            (Self::Call { index, .. }, Event::ToolCall(delta)) => *index == delta.index,
            _ => false,
        }
    }
}

fn text_part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

fn summary_part(text: &str) -> Value {
    json!({ "type": "summary_text", "text": text })
}

/// Writes the events of a stream. Items follow each other; a piece of another kind ends the open one.
#[derive(Debug, Default)]
pub(crate) struct StreamWriter {
    started: bool,
    sequence: u64,
    open: Option<Item>,
    /// How many items were begun; those of another node are not in `done`.
    items: u32,
    done: Vec<Value>,
}

impl StreamWriter {
    /// Goes on after events that another node has sent.
    pub(crate) fn resume(&mut self, observed: &Observed) {
        let position = &observed.position;
        self.started = true;
        self.sequence = position.sequence;
        self.items = position.blocks;
        if position.open_text.is_some() {
            self.open = Some(Item::Message {
                id: position.item_id.clone().unwrap_or_default(),
                text: observed.text.clone(),
            });
        }
    }

    pub(crate) fn event(&mut self, state: &mut StreamState, event: &Event, out: &mut BytesMut) {
        let (Event::Text(piece)
        | Event::Thinking(piece)
        | Event::ToolCall(ToolCallDelta {
            arguments: piece, ..
        })) = event
        else {
            return;
        };
        state.logprobs.clear();
        self.start(state, out);
        if !self.open.as_ref().is_some_and(|item| item.takes(event)) {
            self.close(out);
            self.begin(state, event, out);
        }
        if piece.is_empty() {
            return;
        }
        let Some(item) = &mut self.open else { return };
        let name = match item {
            Item::Message { text, .. } => {
                text.push_str(piece);
                "response.output_text.delta"
            }
            Item::Reasoning { text, .. } => {
                text.push_str(piece);
                "response.reasoning_summary_text.delta"
            }
            Item::Call { arguments, .. } => {
                arguments.push_str(piece);
                "response.function_call_arguments.delta"
            }
        };
        let mut fields = self.place();
        fields.insert("delta".to_owned(), json!(piece));
        self.write(name, fields, out);
    }

    fn start(&mut self, state: &StreamState, out: &mut BytesMut) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        for name in ["response.created", "response.in_progress"] {
            let response = response_object(
                &state.meta,
                state.created_secs,
                Vec::new(),
                &Status::InProgress,
            );
            self.write_response(name, response, out);
        }
    }

    fn begin(&mut self, state: &StreamState, event: &Event, out: &mut BytesMut) {
        let id = &state.meta.id;
        let unique = id.strip_prefix("resp_").unwrap_or(id);
        let number = self.items;
        let item = match event {
            Event::Thinking(_) => Item::Reasoning {
                id: format!("rs_{unique}{number}"),
                text: String::new(),
            },
            Event::ToolCall(call) => Item::Call {
                id: format!("fc_{unique}{number}"),
                call_id: call
                    .id
                    .clone()
                    .unwrap_or_else(|| call_id(id, call.index as usize)),
                name: call.name.clone().unwrap_or_default(),
                arguments: String::new(),
                index: call.index,
            },
            _ => Item::Message {
                id: format!("msg_{unique}{number}"),
                text: String::new(),
            },
        };
        self.items = self.items.saturating_add(1);
        let mut fields = Map::new();
        fields.insert("output_index".to_owned(), json!(number));
        fields.insert("item".to_owned(), item.object("in_progress"));
        self.write("response.output_item.added", fields, out);
        let part = match &item {
            Item::Message { .. } => Some(("response.content_part.added", text_part(""))),
            Item::Reasoning { .. } => {
                Some(("response.reasoning_summary_part.added", summary_part("")))
            }
            Item::Call { .. } => None,
        };
        self.open = Some(item);
        if let Some((name, part)) = part {
            let mut fields = self.place();
            fields.insert("part".to_owned(), part);
            self.write(name, fields, out);
        }
    }

    /// Returns the fields that say where a piece belongs.
    fn place(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert(
            "item_id".to_owned(),
            json!(self.open.as_ref().map(Item::id)),
        );
        fields.insert(
            "output_index".to_owned(),
            json!(self.items.saturating_sub(1)),
        );
        match &self.open {
            Some(Item::Message { .. }) => fields.insert("content_index".to_owned(), json!(0)),
            Some(Item::Reasoning { .. }) => fields.insert("summary_index".to_owned(), json!(0)),
            _ => None,
        };
        fields
    }

    fn close(&mut self, out: &mut BytesMut) {
        let place = self.place();
        let Some(item) = self.open.take() else { return };
        let mut done = |writer: &mut Self, name: &str, field: &str, value: Value| {
            let mut fields = place.clone();
            fields.insert(field.to_owned(), value);
            writer.write(name, fields, out);
        };
        match &item {
            Item::Message { text, .. } => {
                done(self, "response.output_text.done", "text", json!(text));
                done(self, "response.content_part.done", "part", text_part(text));
            }
            Item::Reasoning { text, .. } => {
                done(
                    self,
                    "response.reasoning_summary_text.done",
                    "text",
                    json!(text),
                );
                done(
                    self,
                    "response.reasoning_summary_part.done",
                    "part",
                    summary_part(text),
                );
            }
            Item::Call { arguments, .. } => {
                done(
                    self,
                    "response.function_call_arguments.done",
                    "arguments",
                    json!(arguments),
                );
            }
        }
        let object = item.object("completed");
        let mut fields = Map::new();
        fields.insert(
            "output_index".to_owned(),
            json!(self.items.saturating_sub(1)),
        );
        fields.insert("item".to_owned(), object.clone());
        self.write("response.output_item.done", fields, out);
        self.done.push(object);
    }

    pub(crate) fn finish(&mut self, state: &StreamState, now: Timestamp, out: &mut BytesMut) {
        self.start(state, out);
        self.close(out);
        let reason = state.finish_reason();
        let name = match reason {
            FinishReason::Length | FinishReason::ContentFilter => "response.incomplete",
            _ => "response.completed",
        };
        let status = Status::Ended(reason, state.final_usage(now));
        let output = std::mem::take(&mut self.done);
        let response = response_object(&state.meta, state.created_secs, output, &status);
        self.write_response(name, response, out);
    }

    pub(crate) fn error(&mut self, state: &StreamState, error: &ApiError, out: &mut BytesMut) {
        if !self.started {
            let fields = match serde_json::to_value(openai_error(error)) {
                Ok(Value::Object(fields)) => fields,
                _ => Map::new(),
            };
            let fields = fields
                .into_iter()
                .filter(|(name, _)| name != "type")
                .collect();
            return self.write("error", fields, out);
        }
        let output = std::mem::take(&mut self.done);
        let response = response_object(
            &state.meta,
            state.created_secs,
            output,
            &Status::Failed(error),
        );
        self.write_response("response.failed", response, out);
    }

    fn write_response(&mut self, name: &str, response: Value, out: &mut BytesMut) {
        let mut fields = Map::new();
        fields.insert("response".to_owned(), response);
        self.write(name, fields, out);
    }

    fn write(&mut self, name: &str, fields: Map<String, Value>, out: &mut BytesMut) {
        let mut object = Map::with_capacity(fields.len() + 2);
        object.insert("type".to_owned(), json!(name));
        object.insert("sequence_number".to_owned(), json!(self.sequence));
        object.extend(fields);
        self.sequence = self.sequence.saturating_add(1);
        wire::sse_event(out, name, &object);
    }
}

/// Writes a whole response.
pub(crate) fn write_whole(meta: &ResponseMeta, answer: &Answer, out: &mut BytesMut) {
    let unique = meta.id.strip_prefix("resp_").unwrap_or(&meta.id);
    let mut items = Vec::new();
    if !answer.thinking.is_empty() {
        items.push(Item::Reasoning {
            id: format!("rs_{unique}0"),
            text: answer.thinking.clone(),
        });
    }
    if !answer.text.is_empty() || answer.calls.is_empty() {
        items.push(Item::Message {
            id: format!("msg_{unique}{}", items.len()),
            text: answer.text.clone(),
        });
    }
    for (index, call) in (0..).zip(answer.calls.iter()) {
        items.push(Item::Call {
            id: format!("fc_{unique}{}", items.len()),
            call_id: call
                .id
                .clone()
                .unwrap_or_else(|| call_id(&meta.id, index as usize)),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
            index,
        });
    }
    let output = items.iter().map(|item| item.object("completed")).collect();
    let status = Status::Ended(whole_finish(answer), answer.usage);
    wire::json(
        out,
        &response_object(meta, meta.created.as_secs(), output, &status),
    );
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use primitives::Timestamp;
    use serde_json::Value;

    use crate::{
        ApiError, Event, FinishReason, Observer, Operation, ResponseEncoder, ResponseMeta,
        ToolCallDelta, encode_whole,
    };

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);
    const RESPONSES: Operation = Operation::OpenAiResponses;

    fn frames(text: &BytesMut) -> Vec<Value> {
        let text = std::str::from_utf8(text).unwrap();
        let events = text.split_terminator("\n\n").map(|event| {
            let (name, data) = event.split_once("\ndata: ").unwrap();
            let value: Value = serde_json::from_str(data).unwrap();
            assert_eq!(name.strip_prefix("event: "), value["type"].as_str());
            value
        });
        events.collect()
    }

    fn names(frames: &[Value]) -> Vec<&str> {
        frames
            .iter()
            .map(|frame| frame["type"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn a_stream_has_every_event_in_order() {
        let mut encoder = ResponseEncoder::new(RESPONSES, ResponseMeta::plain("m", "resp_1", NOW));
        let mut out = BytesMut::new();
        let call = ToolCallDelta {
            id: Some("c".into()),
            name: Some("f".into()),
            arguments: "{}".into(),
            index: 0,
        };
        for event in [
            Event::Text("a".into()),
            Event::Text("b".into()),
            Event::ToolCall(call),
        ] {
            encoder.event(&event, NOW, &mut out);
        }
        encoder.finish(NOW, &mut out);
        let frames = frames(&out);
        assert_eq!(
            names(&frames),
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done",
                "response.completed",
            ]
        );
        let numbers: Vec<u64> = frames
            .iter()
            .map(|frame| frame["sequence_number"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (0..14).collect::<Vec<u64>>());
        let output = &frames[13]["response"]["output"];
        assert_eq!(output[0]["content"][0]["text"], "ab");
        assert_eq!(output[1]["arguments"], "{}");
    }

    #[test]
    fn failures_and_limits_show_in_the_last_event() {
        let mut encoder = ResponseEncoder::new(RESPONSES, ResponseMeta::plain("m", "resp_1", NOW));
        let mut out = BytesMut::new();
        encoder.event(&Event::Text("a".into()), NOW, &mut out);
        encoder.error(&ApiError::truncated(), &mut out);
        assert_eq!(names(&frames(&out)).last(), Some(&"response.failed"));
        let meta = ResponseMeta::plain("m", "resp_1", NOW);
        let body = encode_whole(
            RESPONSES,
            &meta,
            &[Event::Finish(FinishReason::Length)],
            NOW,
        )
        .unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["status"], "incomplete");
        assert_eq!(body["incomplete_details"]["reason"], "max_output_tokens");
    }

    #[test]
    fn a_resumed_stream_goes_on_in_its_item() {
        let mut first = ResponseEncoder::new(RESPONSES, ResponseMeta::plain("m", "resp_1", NOW));
        let mut sent = BytesMut::new();
        first.event(&Event::Text("a".into()), NOW, &mut sent);
        let mut observer = Observer::new(RESPONSES);
        for frame in std::str::from_utf8(&sent).unwrap().split_inclusive("\n\n") {
            observer.frame(frame.as_bytes());
        }
        let meta = ResponseMeta::plain("m", "resp_other", NOW);
        let mut second = ResponseEncoder::resume(RESPONSES, meta, observer.state());
        second.event(&Event::Text("b".into()), NOW, &mut sent);
        second.finish(NOW, &mut sent);
        let frames = frames(&sent);
        let numbers: Vec<u64> = frames
            .iter()
            .map(|frame| frame["sequence_number"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (0..10).collect::<Vec<u64>>());
        assert_eq!(frames[9]["response"]["id"], "resp_1");
        assert_eq!(
            frames[9]["response"]["output"][0]["content"][0]["text"],
            "ab"
        );
    }
}
