//! Watching a stream that passes unchanged: what accounting, records and continuation need, and nothing more.

use serde::Deserialize;

use crate::count::{self, Number};
use crate::decoder::{Position, Progress, ResponseDecoder, read_whole};
use crate::error::ApiError;
use crate::event::{Event, FinishReason, Usage};
use crate::operation::{Operation, Task};
use crate::whole;

/// What was seen of a response so far.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a response"
)]
pub struct Observed {
    /// The answer's text so far, up to the observer's bound.
    pub text: String,
    /// Whether the text went beyond the bound; `text` is not complete then.
    pub overflowed: bool,
    /// Frames (or events) that brought text or thinking: the best guess at tokens before usage is known.
    pub content_frames: u64,
    /// Whether any thinking was seen.
    pub thinking_seen: bool,
    /// Whether any function call was seen.
    pub tool_calls_seen: bool,
    /// Why the generation ended, once known.
    pub finish: Option<FinishReason>,
    /// What the call has cost, once known.
    pub usage: Option<Usage>,
    /// The error that the response brought.
    pub error: Option<Box<ApiError>>,
    /// Whether the response said that it is complete.
    pub complete: bool,
    /// The response's id, where the dialect has one.
    pub id: Option<String>,
    /// When the response was created, in Unix seconds, where the dialect says it.
    pub created: Option<i64>,
    /// The model as the node named it.
    pub model: Option<String>,
    /// Where the answer stands, for dialects whose frames are numbered.
    pub(crate) position: Position,
}

impl Observed {
    /// Returns how many tokens have probably reached the client: as the node counted them, but at
    /// least one per content frame.
    pub fn emitted_tokens(&self) -> u64 {
        let counted = self.usage.map_or(0, |usage| usage.completion_tokens);
        counted.max(self.content_frames)
    }

    fn event(&mut self, event: &Event, max_text_bytes: usize) {
        match event {
            Event::Text(text) => {
                self.content_frames += 1;
                if self.text.len() + text.len() > max_text_bytes {
                    self.overflowed = true;
                } else if !self.overflowed {
                    self.text.push_str(text);
                }
            }
            Event::Thinking(_) => {
                self.content_frames += 1;
                self.thinking_seen = true;
            }
            Event::ToolCall(_) => self.tool_calls_seen = true,
            Event::Finish(reason) => self.finish = Some(*reason),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Error(error) => self.error = Some(Box::new(error.clone())),
            Event::Logprobs(_) | Event::Embeddings(_) => {}
        }
    }

    fn header(&mut self, progress: &Progress) {
        self.id.clone_from(&progress.id);
        self.created = progress.created;
        self.model.clone_from(&progress.model);
    }
}

/// What a frame is, as far as the relay must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Part of the answer (or something we don't know): pass it on.
    Content,
    /// Usage and nothing else: drop it when the client did not ask for it.
    UsageOnly,
    /// The frame that makes the response complete: Ollama's last line, OpenAI's `[DONE]`.
    End,
    /// An error of the node, inside the stream.
    Error,
    /// A comment, a ping or a blank line.
    KeepAlive,
}

/// Looks at each frame of a passing stream.
#[derive(Debug)]
pub struct Observer {
    decoder: ResponseDecoder,
    max_text_bytes: usize,
    observed: Observed,
}

impl Observer {
    /// How much text an observer keeps unless told otherwise.
    pub const DEFAULT_MAX_TEXT_BYTES: usize = 256 * 1024;

    /// Makes an observer for a response of this operation.
    pub fn new(operation: Operation) -> Self {
        Self {
            decoder: ResponseDecoder::new(operation),
            max_text_bytes: Self::DEFAULT_MAX_TEXT_BYTES,
            observed: Observed::default(),
        }
    }

    /// Returns the observer with another bound on the kept text.
    #[must_use]
    pub const fn with_max_text_bytes(mut self, max_text_bytes: usize) -> Self {
        self.max_text_bytes = max_text_bytes;
        self
    }

    /// Looks at one complete frame and says what the relay must know of it.
    pub fn frame(&mut self, frame: &[u8]) -> FrameKind {
        // Most frames hold one. Not kept from frame to frame: there are as many observers as streams.
        let mut events = Vec::with_capacity(1);
        self.decoder.push(frame, &mut events);
        for event in &events {
            self.observed.event(event, self.max_text_bytes);
        }
        let progress = self.decoder.progress();
        if self.observed.id.is_none() && self.observed.model.is_none() {
            self.observed.header(progress);
        }
        if self.observed.position != progress.position {
            self.observed.position.clone_from(&progress.position);
        }
        let ends = progress.complete && !self.observed.complete;
        self.observed.complete = progress.complete;
        if self.observed.error.is_some() {
            FrameKind::Error
        } else if ends {
            FrameKind::End
        } else if progress.usage_only {
            FrameKind::UsageOnly
        } else if events.is_empty() && is_keep_alive(frame) {
            FrameKind::KeepAlive
        } else {
            FrameKind::Content
        }
    }

    /// Takes note of an event of a stream that is translated.
    pub fn event(&mut self, event: &Event) {
        self.observed.event(event, self.max_text_bytes);
    }

    /// Returns what was seen so far.
    pub const fn state(&self) -> &Observed {
        &self.observed
    }

    /// Gives up the observer for what it saw.
    pub fn into_state(self) -> Observed {
        self.observed
    }

    /// Looks at a whole, not streamed response: usage, model, how it ended and whether it is an error, not what it says.
    pub fn whole(operation: Operation, body: &[u8]) -> Observed {
        if operation.task() == Task::Embedding {
            let mut observed = Observed::default();
            observe_embeddings(body, &mut observed);
            return observed;
        }
        whole::scan(operation, body).unwrap_or_else(|| Self::whole_in_full(operation, body))
    }

    /// The same by reading everything: for errors, and for answers that are not quite as expected.
    pub(crate) fn whole_in_full(operation: Operation, body: &[u8]) -> Observed {
        let mut observed = Observed::default();
        let mut progress = Progress::default();
        match read_whole(operation, body, &mut progress) {
            Ok(events) => {
                for event in &events {
                    observed.event(event, 0);
                }
                observed.overflowed = false;
                observed.complete = true;
            }
            Err(error) => observed.error = Some(Box::new(error)),
        }
        observed.header(&progress);
        observed
    }
}

/// Vectors are long and say nothing to accounting: only the counts are read.
fn observe_embeddings(body: &[u8], observed: &mut Observed) {
    #[derive(Deserialize)]
    struct Counts {
        model: Option<String>,
        prompt_eval_count: Option<Number>,
        usage: Option<OpenAiCounts>,
    }
    #[derive(Deserialize)]
    struct OpenAiCounts {
        prompt_tokens: Option<Number>,
    }
    match serde_json::from_slice::<Counts>(body) {
        Ok(counts) => {
            let openai = counts.usage.and_then(|usage| usage.prompt_tokens);
            observed.usage = count::usage(counts.prompt_eval_count.or(openai), None);
            observed.model = counts.model;
            observed.complete = true;
        }
        Err(error) => observed.error = Some(Box::new(crate::decoder::malformed(&error))),
    }
}

fn is_keep_alive(frame: &[u8]) -> bool {
    let frame = frame.trim_ascii_start();
    frame.is_empty() || frame.starts_with(b":") || frame.starts_with(b"event: ping")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(content: &str) -> Vec<u8> {
        format!(
            "data: {{\"id\":\"chatcmpl-7\",\"created\":9,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n"
        )
        .into_bytes()
    }

    #[test]
    fn a_passing_chat_stream_is_understood() {
        let mut observer = Observer::new(Operation::OpenAiChat);
        assert_eq!(observer.frame(&chunk("Hello")), FrameKind::Content);
        assert_eq!(observer.frame(&chunk(" you")), FrameKind::Content);
        assert_eq!(observer.frame(b": keep-alive\n\n"), FrameKind::KeepAlive);
        let usage =
            b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}\n\n";
        assert_eq!(observer.frame(usage), FrameKind::UsageOnly);
        assert!(!observer.state().complete);
        assert_eq!(observer.frame(b"data: [DONE]\n\n"), FrameKind::End);
        let seen = observer.into_state();
        assert_eq!((seen.text.as_str(), seen.content_frames), ("Hello you", 2));
        assert_eq!(
            (seen.id.as_deref(), seen.created),
            (Some("chatcmpl-7"), Some(9))
        );
        assert_eq!(seen.usage.unwrap().completion_tokens, 2);
        assert!(seen.complete);
    }

    #[test]
    fn usage_beside_choices_is_not_dropped() {
        let mut observer = Observer::new(Operation::OpenAiCompletions);
        let frame = b"data: {\"choices\":[{\"index\":0,\"text\":\"\"}],\"usage\":{\"prompt_tokens\":0}}\n\n";
        assert_eq!(observer.frame(frame), FrameKind::Content);
    }

    #[test]
    fn text_beyond_the_bound_is_counted_but_not_kept() {
        let mut observer = Observer::new(Operation::OpenAiChat).with_max_text_bytes(6);
        for text in ["abcd", "efgh", "i"] {
            observer.frame(&chunk(text));
        }
        let seen = observer.state();
        assert!(seen.overflowed);
        assert_eq!((seen.text.as_str(), seen.content_frames), ("abcd", 3));
    }

    #[test]
    fn errors_and_ends_are_told_apart() {
        let mut observer = Observer::new(Operation::OllamaChat);
        assert_eq!(observer.frame(b"{\"error\":\"gone\"}\n"), FrameKind::Error);
        let mut observer = Observer::new(Operation::OllamaGenerate);
        assert_eq!(
            observer.frame(b"{\"response\":\"\",\"done\":true,\"eval_count\":1}\n"),
            FrameKind::End
        );
    }

    #[test]
    fn whole_bodies_tell_their_usage() {
        let chat = br#"{"id":"c","model":"m","choices":[{"index":0,"message":{"content":"long"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
        let seen = Observer::whole(Operation::OpenAiChat, chat);
        assert_eq!(
            (seen.usage.unwrap().completion_tokens, seen.text.as_str()),
            (2, "")
        );
        assert_eq!(seen.finish, Some(FinishReason::Stop));
        let embed = br#"{"model":"m","embeddings":[[1,2]],"prompt_eval_count":5}"#;
        assert_eq!(
            Observer::whole(Operation::OllamaEmbed, embed)
                .usage
                .unwrap()
                .prompt_tokens,
            5
        );
    }
}
