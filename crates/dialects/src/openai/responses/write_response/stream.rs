//! The events of a stream.

use bytes::BytesMut;
use primitives::Timestamp;
use serde_json::{Map, Value, json};

use super::item::{Item, summary_part, text_part};
use super::object::{Status, response_object};
use crate::answer::call_id;
use crate::encoder::StreamState;
use crate::envelope::openai_error;
use crate::error::ApiError;
use crate::event::{Event, FinishReason, ToolCallDelta};
use crate::observer::Observed;
use crate::wire;

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
