//! How a streamed answer ends: complete, given up, or lost by its node, after which another one goes on if that can be.

use bytes::BytesMut;
use dialects::{
    ApiError, Continuation, Event, Observer, ResponseEncoder, ResponseMeta, Usage, continuation,
    response_id,
};
use http::{HeaderMap, HeaderValue};
use primitives::ErrorKind;

use super::{Phase, Relay, opening};
use crate::exchange::Exchange;
use crate::record::Outcome;
use crate::upstream::attempt::{self, Failure, Retry};
use crate::upstream::prepare::Wanted;

impl Relay {
    /// The node was lost: go on elsewhere if that can be.
    pub(super) fn lost(&mut self, failure: Failure) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended(None));
        let (Phase::Streaming(stream), Some(mut exchange)) = (phase, self.exchange.take()) else {
            return;
        };
        let mut opened = stream.opened;
        attempt::note_failure(&mut exchange, &mut opened.chosen, &failure);
        // The lease, and the connection with it: the node must not go on for nobody.
        drop(opened);
        if failure.retry == Retry::Never {
            self.exchange = Some(exchange);
            self.give_up(failure.error);
            return;
        }
        if !self.sent {
            if attempt::may_retry(&mut exchange, failure.reason) {
                self.open_again(exchange);
            } else {
                self.exchange = Some(exchange);
                self.give_up(failure.error);
            }
            return;
        }
        self.continue_elsewhere(exchange, failure.error);
    }

    /// Part of an answer has gone out: make another node go on where it broke off.
    fn continue_elsewhere(&mut self, mut exchange: Box<Exchange>, error: ApiError) {
        let limit = exchange.shared().config().max_continuations;
        let next = match exchange.canonical() {
            Ok(request) => continuation(request, self.observer.state()),
            Err(_) => Continuation::Impossible("the request cannot be read again"),
        };
        match next {
            Continuation::Request(request) if (exchange.continued as usize) < limit => {
                exchange.continued += 1;
                exchange.shared().metrics.continuations.inc();
                self.base_tokens = self.observer.state().content_frames;
                exchange.begin_continuation(self.base_tokens);
                // From here on we write: the next node's frames cannot join those of the first.
                if let Some(encoder) = self.encoder.as_mut() {
                    encoder.continued(self.base_tokens);
                }
                self.phase = Phase::Opening(opening(exchange, Wanted::Instead(Box::new(request))));
            }
            Continuation::Finished(reason) => {
                let mut out = BytesMut::new();
                let written =
                    write_ourselves(&mut exchange, &mut self.encoder, &self.observer, true);
                let now = exchange.shared().clock.now();
                if let (Ok(()), Some(encoder)) = (written, self.encoder.as_mut()) {
                    encoder.event(&Event::Finish(reason), now, &mut out);
                    encoder.finish(now, &mut out);
                }
                self.append(out);
                let usage = self.usage(&exchange);
                exchange.end(Outcome::Ok, 200, usage, None);
                self.exchange = Some(exchange);
                self.end();
            }
            Continuation::Request(_) => {
                self.exchange = Some(exchange);
                self.give_up(error);
            }
            Continuation::Impossible(why) => {
                exchange.note_failure(&error.message);
                let error = ApiError::new(
                    error.kind,
                    format!(
                        "{}; the answer cannot go on elsewhere: {why}",
                        error.message
                    ),
                );
                self.exchange = Some(exchange);
                self.give_up(error);
            }
        }
    }

    /// No node can go on: an error in the head if it is still open, in the stream otherwise.
    pub(super) fn give_up(&mut self, error: ApiError) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let usage = self.usage(&exchange);
        let headers_sent = self.sent || self.pace.kept_alive();
        if !headers_sent {
            let (outcome, status) = (outcome_of(&error), error.kind.status());
            exchange.end(outcome, status, Usage::default(), Some(&error));
            self.exchange = Some(exchange);
            self.phase = Phase::Failed(Box::new(error));
            return;
        }
        let mut out = BytesMut::new();
        if write_ourselves(&mut exchange, &mut self.encoder, &self.observer, self.sent).is_ok()
            && let Some(encoder) = self.encoder.as_mut()
        {
            encoder.error(&error, &mut out);
        }
        self.append(out);
        let outcome = if self.sent && error.kind != ErrorKind::Cancelled {
            Outcome::Truncated
        } else {
            outcome_of(&error)
        };
        exchange.end(outcome, 200, usage, Some(&error));
        self.exchange = Some(exchange);
        self.end();
    }

    pub(super) fn complete(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended(None));
        let (Phase::Streaming(mut stream), Some(exchange)) = (phase, self.exchange.as_mut()) else {
            return;
        };
        exchange.note_first_token();
        let observed = self.observer.state();
        let usage = usage_of(observed, exchange, self.base_tokens);
        exchange.note_success(&mut stream.opened, &usage, self.base_tokens);
        exchange.end(Outcome::Ok, 200, usage, None);
        stream.release();
        self.end();
    }

    fn end(&mut self) {
        let continued = self.exchange.as_ref().map_or(0, |e| e.continued);
        let trailers = (self.trailers && continued > 0).then(|| {
            let mut trailers = Box::new(HeaderMap::new());
            trailers.insert("x-remuda-continued", HeaderValue::from(continued));
            trailers
        });
        self.phase = Phase::Ended(trailers);
    }

    pub(super) fn usage(&self, exchange: &Exchange) -> Usage {
        usage_of(self.observer.state(), exchange, self.base_tokens)
    }
}

/// Returns the usage of the whole answer: the node's count where there is one, our count of frames otherwise.
fn usage_of(observed: &dialects::Observed, exchange: &Exchange, base_tokens: u64) -> Usage {
    match observed.usage {
        Some(usage) if base_tokens > 0 => usage.continued_after(base_tokens),
        Some(usage) => usage,
        None => Usage {
            prompt_tokens: u64::from(exchange.asked.prompt_tokens),
            completion_tokens: observed.content_frames,
            ..Usage::default()
        },
    }
}

/// Makes sure that there is an encoder that fits what was sent.
pub(super) fn write_ourselves(
    exchange: &mut Exchange,
    encoder: &mut Option<Box<ResponseEncoder>>,
    observer: &Observer,
    sent: bool,
) -> Result<(), ApiError> {
    if encoder.is_some() {
        return Ok(());
    }
    let operation = exchange.operation;
    let (id, created) = (
        response_id(operation, &exchange.id.to_string()),
        exchange.received_at(),
    );
    let meta = ResponseMeta::for_request(exchange.canonical()?, id, created);
    *encoder = Some(Box::new(if sent {
        ResponseEncoder::resume(operation, meta, observer.state())
    } else {
        ResponseEncoder::new(operation, meta)
    }));
    Ok(())
}

/// Books an error that the client hears.
pub(crate) fn outcome_of(error: &ApiError) -> Outcome {
    match error.kind {
        ErrorKind::Invalid
        | ErrorKind::TooLarge
        | ErrorKind::Unauthenticated
        | ErrorKind::Forbidden
        | ErrorKind::NotFound
        | ErrorKind::MethodNotAllowed
        | ErrorKind::Conflict
        | ErrorKind::UnsupportedMedia
        | ErrorKind::Unprocessable
        | ErrorKind::PreconditionFailed
        | ErrorKind::Unsupported => Outcome::ClientError,
        ErrorKind::TooMany => Outcome::Rejected,
        ErrorKind::Cancelled => Outcome::Cancelled,
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Upstream | ErrorKind::Bug => {
            Outcome::Failed
        }
    }
}
