//! A chat with a model over the Ollama dialect: what goes in, and the pieces that come back.

use serde_json::{Map, Value, json};

use super::api::Api;
use super::error::ClientError;
use super::lines::Lines;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// `system`, `user` or `assistant`.
    pub(crate) role: &'static str,
    /// The text.
    pub(crate) content: String,
}

impl Turn {
    /// Makes a message.
    pub(crate) fn new(role: &'static str, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }
}

/// What is asked of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChatCall {
    /// The model.
    pub(crate) model: String,
    /// The conversation so far.
    pub(crate) turns: Vec<Turn>,
    /// Options in Ollama's names, as `temperature`.
    pub(crate) options: Map<String, Value>,
    /// `"json"` or a JSON schema.
    pub(crate) format: Option<Value>,
    /// Whether a thinking model thinks.
    pub(crate) think: Option<Value>,
}

impl ChatCall {
    /// Returns the call as a request for a stream.
    pub(crate) fn body(&self) -> Value {
        let messages: Vec<Value> = self
            .turns
            .iter()
            .map(|turn| json!({"role": turn.role, "content": turn.content}))
            .collect();
        let mut body = json!({"model": self.model, "messages": messages, "stream": true});
        if !self.options.is_empty() {
            body["options"] = Value::Object(self.options.clone());
        }
        if let Some(format) = &self.format {
            body["format"] = format.clone();
        }
        if let Some(think) = &self.think {
            body["think"] = think.clone();
        }
        body
    }
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// Text of the answer.
    Text(String),
    /// Text that the model thinks.
    Thinking(String),
    /// The end, with the server's numbers.
    Done(Value),
}

/// An answer as it comes. Dropping it stops the model.
pub(crate) struct AnswerStream {
    lines: Lines,
    waiting: Option<Piece>,
    done: bool,
}

impl AnswerStream {
    /// Asks the model.
    pub(crate) async fn open(api: &Api, call: &ChatCall) -> Result<Self, ClientError> {
        let body = call.body();
        Ok(Self {
            lines: api.stream("/api/chat", &body).await?,
            waiting: None,
            done: false,
        })
    }

    /// Returns the next piece, `None` after [`Piece::Done`].
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, ClientError> {
        if let Some(piece) = self.waiting.take() {
            return Ok(Some(piece));
        }
        while !self.done {
            let Some(line) = self.lines.next().await? else {
                return Err(self.lines.cut());
            };
            if line.get("done").and_then(Value::as_bool) == Some(true) {
                self.done = true;
            }
            let text = member(&line, "/message/content").map(Piece::Text);
            let thinking = member(&line, "/message/thinking").map(Piece::Thinking);
            let end = self.done.then_some(Piece::Done(line));
            let mut pieces = thinking.into_iter().chain(text).chain(end);
            if let Some(piece) = pieces.next() {
                self.waiting = pieces.next();
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

fn member(line: &Value, pointer: &str) -> Option<String> {
    line.pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}
