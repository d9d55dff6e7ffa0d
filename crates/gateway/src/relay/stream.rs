//! One node's part of an answer: reads its body, lets frames pass or translates them, and notices how it ends.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialects::{
    ApiError, Event, FrameKind, FrameSplitter, Observer, Operation, ResponseDecoder,
    ResponseEncoder, decode_whole,
};
use primitives::{Clock, Timestamp};

use crate::upstream::UpstreamBody;
use crate::upstream::attempt::{Failure, Opened, Source};
use crate::upstream::engine_call;
use crate::upstream::prepare::{Answer, Rename};

/// Largest answer that is read whole although a stream was asked for.
const WHOLE_ANSWER: usize = 64 << 20;
/// How long the rest of a complete answer may take to arrive before its connection is given up.
const TAIL: Duration = Duration::from_secs(2);

/// What one poll brought.
pub(super) enum Progress {
    /// Something to send.
    Send(Bytes),
    /// Nothing to send yet.
    Nothing,
    /// The rest of a complete answer.
    Complete(Bytes),
    /// The node was lost; what it had sent before goes out first.
    Lost(Bytes, Failure),
}

/// One node's part of an answer.
pub(super) struct Stream {
    pub(super) opened: Opened,
    /// Whether the node has produced any content; before that, frames are held back so that another node can still
    /// begin anew.
    pub(super) has_content: bool,
    held: BytesMut,
    reader: Reader,
}

/// What a source had.
enum Arrived {
    Chunk(Bytes),
    Events { events: Vec<Event>, complete: bool },
    Broken(std::io::Error),
    End,
}

enum Reader {
    Pass {
        splitter: FrameSplitter,
        rename: Option<Box<Rename>>,
        strip_usage: bool,
    },
    Frames {
        splitter: FrameSplitter,
        decoder: Box<ResponseDecoder>,
    },
    Whole {
        operation: Operation,
        buffer: BytesMut,
    },
    Events,
}

impl Stream {
    /// Prepares to read an opened answer.
    pub(super) fn new(opened: Opened) -> Self {
        let reader = match &opened.source {
            Source::Http {
                operation,
                streamed: false,
                ..
            } => Reader::Whole {
                operation: *operation,
                buffer: BytesMut::new(),
            },
            Source::Http {
                operation,
                answer:
                    Answer::Pass {
                        rename,
                        strip_usage,
                    },
                ..
            } => Reader::Pass {
                splitter: FrameSplitter::new(operation.framing()),
                rename: rename.clone(),
                strip_usage: *strip_usage,
            },
            Source::Http {
                operation,
                answer: Answer::Translate,
                ..
            } => Reader::Frames {
                splitter: FrameSplitter::new(operation.framing()),
                decoder: Box::new(ResponseDecoder::new(*operation)),
            },
            Source::Engine(_) | Source::Ready(_) => Reader::Events,
        };
        Self {
            opened,
            has_content: false,
            held: BytesMut::new(),
            reader,
        }
    }

    /// Tells whether a node's socket has something to read. If not, the task is woken when it has.
    pub(super) fn is_readable(&self, cx: &mut Context<'_>) -> bool {
        matches!(&self.opened.source, Source::Http { body, .. } if body.is_readable(cx))
    }

    /// Reads on. `encoder` is there whenever the answer does not pass.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        observer: &mut Observer,
        encoder: Option<&mut ResponseEncoder>,
        clock: &dyn Clock,
    ) -> Poll<Progress> {
        let arrived = match &mut self.opened.source {
            Source::Http { body, .. } => match std::task::ready!(body.poll_data(cx)) {
                Some(Ok(chunk)) => Arrived::Chunk(chunk),
                Some(Err(error)) => Arrived::Broken(error),
                None => Arrived::End,
            },
            Source::Engine(generation) => match std::task::ready!(pin!(generation.next()).poll(cx))
            {
                Some(event) => {
                    let complete = matches!(event, engine::GenerationEvent::Done { .. });
                    let mut events = Vec::with_capacity(2);
                    engine_call::events(event, &mut events);
                    Arrived::Events { events, complete }
                }
                None => Arrived::End,
            },
            Source::Ready(events) => Arrived::Events {
                events: std::mem::take(events),
                complete: true,
            },
        };
        Poll::Ready(match arrived {
            Arrived::Chunk(chunk) => self.on_chunk(chunk, observer, encoder, clock.now()),
            Arrived::Events { events, complete } => {
                self.on_events(&events, complete, observer, encoder, clock.now())
            }
            Arrived::End => self.on_end(observer, encoder, clock.now()),
            Arrived::Broken(error) => {
                tracing::debug!(%error, "a node broke its answer off");
                self.broke_off("broke the connection during its answer")
            }
        })
    }

    /// Gives the connection of a complete answer back once its last bytes have come.
    pub(super) fn release(self) {
        if let Source::Http { body, .. } = self.opened.source {
            tokio::spawn(tokio::time::timeout(TAIL, drain(body)));
        }
    }

    fn broke_off(&self, how: &str) -> Progress {
        let node = &self.opened.chosen.replica.node.view.name;
        let error = ApiError::upstream(format!("node {node} {how}"));
        Progress::Lost(Bytes::new(), Failure::node("broke_off", error))
    }

    /// Ends with an error that came after `before`. Without content so far, what was held back is not worth sending:
    /// another node can begin anew.
    fn failed_after(&mut self, before: Bytes, observer: &Observer, failure: Failure) -> Progress {
        match self.pass_on(before, false, observer) {
            Progress::Send(bytes) => Progress::Lost(bytes, failure),
            _ => Progress::Lost(Bytes::new(), failure),
        }
    }

    fn on_chunk(
        &mut self,
        chunk: Bytes,
        observer: &mut Observer,
        encoder: Option<&mut ResponseEncoder>,
        now: Timestamp,
    ) -> Progress {
        match &mut self.reader {
            Reader::Pass { splitter, .. } => {
                splitter.push(chunk);
                self.pass(observer)
            }
            Reader::Frames { splitter, decoder } => {
                splitter.push(chunk);
                let mut events = Vec::new();
                loop {
                    match splitter.next_frame() {
                        Ok(Some(frame)) => decoder.push(&frame, &mut events),
                        Ok(None) => break,
                        Err(error) => {
                            events.push(Event::Error(ApiError::upstream(error.to_string())));
                            break;
                        }
                    }
                }
                let complete = decoder.is_complete();
                self.on_events(&events, complete, observer, encoder, now)
            }
            Reader::Whole { buffer, .. } => {
                if buffer.len() + chunk.len() > WHOLE_ANSWER {
                    let error = ApiError::upstream(format!(
                        "the node's answer is larger than {WHOLE_ANSWER} bytes"
                    ));
                    return Progress::Lost(Bytes::new(), Failure::node("malformed", error));
                }
                buffer.extend_from_slice(&chunk);
                Progress::Nothing
            }
            Reader::Events => Progress::Nothing,
        }
    }

    /// Lets all complete frames pass, joined to one piece.
    fn pass(&mut self, observer: &mut Observer) -> Progress {
        let Reader::Pass {
            splitter,
            rename,
            strip_usage,
        } = &mut self.reader
        else {
            return Progress::Nothing;
        };
        let mut joined = Joined::default();
        let failure = loop {
            let frame = match splitter.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break None,
                Err(error) => {
                    break Some(Failure::node(
                        "malformed",
                        ApiError::upstream(error.to_string()),
                    ));
                }
            };
            match observer.frame(&frame) {
                FrameKind::UsageOnly if *strip_usage => continue,
                FrameKind::KeepAlive => continue,
                FrameKind::Error => {
                    let error = observer.state().error.clone();
                    break Some(Failure::node(
                        "error",
                        error.map_or_else(
                            || ApiError::upstream("the node reported an error"),
                            |error| *error,
                        ),
                    ));
                }
                FrameKind::Content | FrameKind::UsageOnly | FrameKind::End => {}
            }
            joined.push(match rename {
                Some(rename) => rename.apply(frame),
                None => frame,
            });
        };
        let bytes = joined.finish();
        match failure {
            Some(failure) => self.failed_after(bytes, observer, failure),
            None => self.pass_on(bytes, observer.state().complete, observer),
        }
    }

    /// Holds pieces back until the node has produced content, then gives them all.
    fn pass_on(&mut self, bytes: Bytes, complete: bool, observer: &Observer) -> Progress {
        if !self.has_content {
            let seen = observer.state();
            self.has_content = seen.content_frames > 0
                || seen.tool_calls_seen
                || seen.thinking_seen
                || seen.finish.is_some();
            if !self.has_content && !complete {
                self.held.extend_from_slice(&bytes);
                return Progress::Nothing;
            }
        }
        let bytes = if self.held.is_empty() {
            bytes
        } else {
            self.held.extend_from_slice(&bytes);
            // Taken whole: nothing is held back any more, and streams are many.
            std::mem::take(&mut self.held).freeze()
        };
        if complete {
            Progress::Complete(bytes)
        } else if bytes.is_empty() {
            Progress::Nothing
        } else {
            Progress::Send(bytes)
        }
    }

    fn on_events(
        &mut self,
        events: &[Event],
        complete: bool,
        observer: &mut Observer,
        encoder: Option<&mut ResponseEncoder>,
        now: Timestamp,
    ) -> Progress {
        let Some(encoder) = encoder else {
            let error = ApiError::new(primitives::ErrorKind::Bug, "no encoder: please report this");
            return Progress::Lost(Bytes::new(), Failure::node("bug", error));
        };
        let mut out = BytesMut::new();
        for event in events {
            if let Event::Error(error) = event {
                let failure = Failure::node("error", error.clone());
                return self.failed_after(out.freeze(), observer, failure);
            }
            observer.event(event);
            encoder.event(event, now, &mut out);
        }
        if complete {
            encoder.finish(now, &mut out);
        }
        self.pass_on(out.freeze(), complete, observer)
    }

    fn on_end(
        &mut self,
        observer: &mut Observer,
        encoder: Option<&mut ResponseEncoder>,
        now: Timestamp,
    ) -> Progress {
        match &mut self.reader {
            Reader::Whole { operation, buffer } => {
                let (operation, body) = (*operation, buffer.split().freeze());
                match decode_whole(operation, 200, &body) {
                    Ok(events) => self.on_events(&events, true, observer, encoder, now),
                    Err(error) => Progress::Lost(Bytes::new(), Failure::node("malformed", error)),
                }
            }
            // A last frame without its line end still counts if it says that the answer is complete.
            Reader::Pass { splitter, .. } => {
                if let Some(rest) = splitter.take_rest() {
                    observer.frame(&rest);
                    if observer.state().complete {
                        return self.pass_on(rest, true, observer);
                    }
                }
                self.broke_off("ended its answer early")
            }
            Reader::Frames { splitter, decoder } => {
                if let Some(rest) = splitter.take_rest() {
                    let mut events = Vec::new();
                    decoder.push(&rest, &mut events);
                    if decoder.is_complete() {
                        return self.on_events(&events, true, observer, encoder, now);
                    }
                }
                self.broke_off("ended its answer early")
            }
            Reader::Events => self.broke_off("ended its answer early"),
        }
    }
}

/// Frames joined to one piece; a single frame is not copied.
#[derive(Default)]
struct Joined {
    first: Option<Bytes>,
    rest: BytesMut,
}

impl Joined {
    fn push(&mut self, frame: Bytes) {
        match self.first.take() {
            None if self.rest.is_empty() => self.first = Some(frame),
            None => self.rest.extend_from_slice(&frame),
            Some(first) => {
                self.rest.reserve(first.len() + frame.len());
                self.rest.extend_from_slice(&first);
                self.rest.extend_from_slice(&frame);
            }
        }
    }

    fn finish(self) -> Bytes {
        self.first.unwrap_or_else(|| self.rest.freeze())
    }
}

async fn drain(mut body: UpstreamBody) {
    while let Some(Ok(_)) = std::future::poll_fn(|cx| body.poll_data(cx)).await {}
}
