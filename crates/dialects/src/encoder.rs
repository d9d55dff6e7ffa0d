//! Writing events as a response of the client's operation.

use bytes::{Bytes, BytesMut};
use primitives::Timestamp;

use crate::answer::Answer;
use crate::canonical::{Encoding, Request};
use crate::envelope::stream_error;
use crate::error::ApiError;
use crate::event::{Event, FinishReason, TokenLogprob, Usage};
use crate::json::Fields;
use crate::observer::Observed;
use crate::operation::Operation;
use crate::{anthropic, ollama, openai};

/// What a response says about itself, fixed before its first byte.
#[derive(Clone, Debug, Default)]
pub struct ResponseMeta {
    /// The id of the response, as [`response_id`] makes it.
    pub id: String,
    /// The model's name as the client wrote it.
    pub model: String,
    /// When the request was received.
    pub created: Timestamp,
    /// Whether a stream ends with usage where that is optional.
    pub include_usage: bool,
    /// How vectors are written.
    pub encoding: Encoding,
    /// What `/v1/responses` repeats of the request; empty for other operations.
    pub(crate) echo: Fields,
}

impl ResponseMeta {
    /// Describes the response to `request`, as decoded from the client and before it is changed for a node.
    pub fn for_request(request: &Request, id: impl Into<String>, created: Timestamp) -> Self {
        Self {
            id: id.into(),
            model: request.model().to_owned(),
            created,
            include_usage: request
                .generation()
                .is_some_and(|generation| generation.include_usage),
            encoding: match request {
                Request::Embed(embed) => embed.encoding,
                Request::Chat(_) | Request::Completion(_) => Encoding::Float,
            },
            echo: match request {
                Request::Chat(chat) if chat.source == Operation::OpenAiResponses => {
                    openai::responses::echo(chat)
                }
                _ => Fields::default(),
            },
        }
    }

    /// Describes a response of which nothing but name, id and time is known: for requests that were not decoded.
    pub fn plain(model: impl Into<String>, id: impl Into<String>, created: Timestamp) -> Self {
        Self {
            id: id.into(),
            model: model.into(),
            created,
            ..Self::default()
        }
    }
}

/// Makes the id of a response in the operation's style from something unique, as a request id.
pub fn response_id(operation: Operation, unique: &str) -> String {
    let prefix = match operation {
        Operation::OpenAiChat => "chatcmpl-",
        Operation::OpenAiCompletions => "cmpl-",
        Operation::OpenAiResponses => "resp_",
        Operation::AnthropicMessages => "msg_",
        Operation::OllamaChat
        | Operation::OllamaGenerate
        | Operation::OllamaEmbed
        | Operation::OllamaEmbeddings
        | Operation::OpenAiEmbeddings => "",
    };
    let mut id = String::with_capacity(prefix.len() + unique.len());
    id.push_str(prefix);
    id.extend(unique.chars().filter(char::is_ascii_alphanumeric));
    id
}

/// Writes a streamed response.
#[derive(Debug)]
pub struct ResponseEncoder {
    operation: Operation,
    state: StreamState,
    writer: Writer,
    ended: bool,
}

/// What every dialect's writer must know of the stream so far.
#[derive(Debug)]
pub(crate) struct StreamState {
    pub(crate) meta: ResponseMeta,
    /// Unix seconds that frames carry.
    pub(crate) created_secs: i64,
    pub(crate) finish: Option<FinishReason>,
    pub(crate) usage: Option<Usage>,
    pub(crate) tool_calls_seen: bool,
    /// Log probabilities that belong to the next text.
    pub(crate) logprobs: Vec<TokenLogprob>,
    /// Another node has sent the frame that says why the answer ended.
    pub(crate) finish_sent: bool,
    /// Another node has sent usage.
    pub(crate) usage_sent: bool,
    /// Tokens that another node has sent.
    emitted_elsewhere: u64,
    content_events: u64,
    first_content: Option<Timestamp>,
}

impl StreamState {
    /// Returns the reason the dialects of OpenAI's kind give: calls come before a plain stop.
    pub(crate) fn finish_reason(&self) -> FinishReason {
        match self.finish {
            Some(FinishReason::Stop) | None if self.tool_calls_seen => FinishReason::ToolCalls,
            Some(reason) => reason,
            None => FinishReason::Stop,
        }
    }

    /// Returns what the node said about usage, else what can be counted and measured here.
    pub(crate) fn final_usage(&self, now: Timestamp) -> Usage {
        let mut usage = self.usage.unwrap_or(Usage {
            completion_tokens: self.emitted_elsewhere.saturating_add(self.content_events),
            ..Usage::default()
        });
        let first = self.first_content.unwrap_or(now);
        usage
            .total_duration
            .get_or_insert(now.since(self.meta.created));
        usage
            .prompt_eval_duration
            .get_or_insert(first.since(self.meta.created));
        usage.eval_duration.get_or_insert(now.since(first));
        usage
    }
}

#[derive(Debug)]
enum Writer {
    Ollama(ollama::StreamWriter),
    Chat(openai::ChatWriter),
    Completions,
    Responses(Box<openai::responses::StreamWriter>),
    Messages(anthropic::StreamWriter),
    /// Embeddings are never streamed.
    Silent,
}

impl ResponseEncoder {
    /// Makes an encoder at the beginning of a response.
    pub fn new(operation: Operation, meta: ResponseMeta) -> Self {
        let writer = match operation {
            Operation::OllamaChat | Operation::OllamaGenerate => {
                Writer::Ollama(ollama::StreamWriter::new(operation))
            }
            Operation::OpenAiChat => Writer::Chat(openai::ChatWriter::default()),
            Operation::OpenAiCompletions => Writer::Completions,
            Operation::OpenAiResponses => Writer::Responses(Box::default()),
            Operation::AnthropicMessages => Writer::Messages(anthropic::StreamWriter::default()),
            Operation::OllamaEmbed | Operation::OllamaEmbeddings | Operation::OpenAiEmbeddings => {
                Writer::Silent
            }
        };
        Self {
            operation,
            state: StreamState {
                created_secs: meta.created.as_secs(),
                meta,
                finish: None,
                usage: None,
                tool_calls_seen: false,
                logprobs: Vec::new(),
                finish_sent: false,
                usage_sent: false,
                emitted_elsewhere: 0,
                content_events: 0,
                first_content: None,
            },
            writer,
            ended: false,
        }
    }

    /// Makes an encoder that carries on a response whose first frames passed from a node unchanged.
    ///
    /// It keeps their id, model and creation time, does not open the answer again, and adds the emitted tokens to the
    /// usage.
    pub fn resume(operation: Operation, mut meta: ResponseMeta, observed: &Observed) -> Self {
        if let Some(id) = &observed.id {
            meta.id.clone_from(id);
        }
        if let Some(model) = &observed.model {
            meta.model.clone_from(model);
        }
        let mut encoder = Self::new(operation, meta);
        if let Some(created) = observed.created {
            encoder.state.created_secs = created;
        }
        // Any header means that at least the opening frame has passed.
        let opened = observed.id.is_some() || observed.content_frames > 0;
        if opened {
            match &mut encoder.writer {
                Writer::Chat(writer) => writer.resume(),
                Writer::Responses(writer) => writer.resume(observed),
                Writer::Messages(writer) => writer.resume(observed),
                Writer::Ollama(_) | Writer::Completions | Writer::Silent => {}
            }
        }
        encoder.continued(observed.content_frames);
        encoder.state.finish = observed.finish;
        encoder.state.finish_sent = opened && observed.finish.is_some();
        encoder.state.usage = observed.usage;
        encoder.state.usage_sent = encoder.state.finish_sent && observed.usage.is_some();
        encoder
    }

    /// Notes that another node goes on with the answer after this many tokens; its prompt counts them as its own.
    pub const fn continued(&mut self, emitted_tokens: u64) {
        self.state.emitted_elsewhere = emitted_tokens;
        self.state.content_events = 0;
        self.state.usage = None;
        self.state.finish = None;
    }

    /// Writes what the event adds to the stream; some events only show in [`ResponseEncoder::finish`].
    pub fn event(&mut self, event: &Event, now: Timestamp, out: &mut BytesMut) {
        if self.ended {
            return;
        }
        match event {
            Event::Error(error) => return self.error(error, out),
            Event::Finish(reason) => self.state.finish = Some(*reason),
            Event::Usage(usage) => {
                self.state.usage = Some(usage.continued_after(self.state.emitted_elsewhere));
            }
            Event::Logprobs(tokens) => self.state.logprobs.extend_from_slice(tokens),
            Event::ToolCall(_) => self.state.tool_calls_seen = true,
            Event::Text(_) | Event::Thinking(_) => {
                self.state.content_events += 1;
                self.state.first_content.get_or_insert(now);
            }
            Event::Embeddings(_) => {}
        }
        let state = &mut self.state;
        let written = match &mut self.writer {
            Writer::Ollama(writer) => writer.event(state, event, now, out),
            Writer::Chat(writer) => {
                writer.event(state, event, out);
                Ok(())
            }
            Writer::Completions => {
                openai::write_completion_event(state, event, out);
                Ok(())
            }
            Writer::Responses(writer) => {
                writer.event(state, event, out);
                Ok(())
            }
            Writer::Messages(writer) => {
                writer.event(state, event, out);
                Ok(())
            }
            Writer::Silent => Ok(()),
        };
        if let Err(error) = written {
            self.error(&error, out);
        }
    }

    /// Writes the end of a complete stream: final frame, usage, end mark. Writes nothing after an error.
    pub fn finish(&mut self, now: Timestamp, out: &mut BytesMut) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let state = &mut self.state;
        match &mut self.writer {
            Writer::Ollama(writer) => {
                if let Err(error) = writer.finish(state, now, out) {
                    out.extend_from_slice(&stream_error(self.operation, &error, ""));
                }
            }
            Writer::Chat(writer) => writer.finish(state, now, out),
            Writer::Completions => openai::write_completion_end(state, now, out),
            Writer::Responses(writer) => writer.finish(state, now, out),
            Writer::Messages(writer) => writer.finish(state, now, out),
            Writer::Silent => {}
        }
    }

    /// Writes an error into the stream, which ends with it.
    pub fn error(&mut self, error: &ApiError, out: &mut BytesMut) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        match &mut self.writer {
            Writer::Responses(writer) => writer.error(&self.state, error, out),
            _ => out.extend_from_slice(&stream_error(self.operation, error, "")),
        }
    }
}

/// Writes a whole, not streamed response.
///
/// # Errors
/// The error among the events, or an upstream error when they cannot be written in this dialect.
pub fn encode_whole(
    operation: Operation,
    meta: &ResponseMeta,
    events: &[Event],
    now: Timestamp,
) -> Result<Bytes, ApiError> {
    let mut answer = Answer::collect(events)?;
    answer
        .usage
        .total_duration
        .get_or_insert(now.since(meta.created));
    let mut out = BytesMut::with_capacity(512 + answer.text.len());
    match operation {
        Operation::OllamaChat | Operation::OllamaGenerate => {
            ollama::write_whole(operation, meta, answer, now, &mut out)?;
        }
        Operation::OllamaEmbed | Operation::OllamaEmbeddings => {
            ollama::write_embeddings(operation, meta, &answer, &mut out);
        }
        Operation::OpenAiChat => openai::write_chat(meta, &answer, &mut out),
        Operation::OpenAiCompletions => openai::write_completion(meta, &answer, &mut out),
        Operation::OpenAiEmbeddings => openai::write_embeddings(meta, &answer, &mut out)?,
        Operation::OpenAiResponses => openai::responses::write_whole(meta, &answer, &mut out),
        Operation::AnthropicMessages => anthropic::write_whole(meta, &answer, &mut out)?,
    }
    Ok(out.freeze())
}

/// Returns the reason of a whole answer as the dialects of OpenAI's kind give it.
pub(crate) fn whole_finish(answer: &Answer) -> FinishReason {
    match answer.finish {
        Some(FinishReason::Stop) | None if !answer.calls.is_empty() => FinishReason::ToolCalls,
        Some(reason) => reason,
        None => FinishReason::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_style_of_their_operation() {
        assert_eq!(response_id(Operation::OpenAiChat, "01-ab"), "chatcmpl-01ab");
        assert_eq!(response_id(Operation::AnthropicMessages, "x"), "msg_x");
    }
}
