//! One client's view of a shared execution: its place in the answer, and its own record.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use dialects::{ApiError, Usage};
use http_body::Frame;
use primitives::ErrorKind;

use super::run::{End, Next, Seat};
use crate::admission::Standing;
use crate::body::BrokenBody;
use crate::exchange::Exchange;
use crate::record::Outcome;
use crate::relay::outcome_of;

/// The body of an answer that several clients share. Dropping it early books the request as cancelled and touches nobody else.
pub(crate) struct SharedBody {
    exchange: Box<Exchange>,
    seat: Seat,
    /// Whether the client reads trailers.
    trailers: bool,
    ended: bool,
}

impl SharedBody {
    pub(super) const fn new(exchange: Box<Exchange>, seat: Seat, trailers: bool) -> Self {
        Self {
            exchange,
            seat,
            trailers,
            ended: false,
        }
    }

    /// Returns where the execution stands.
    pub(super) fn standing(&self) -> Standing {
        self.seat.standing()
    }

    /// Tells whether the execution was another request's.
    pub(super) const fn joined_another(&self) -> bool {
        self.seat.joined_another
    }

    /// Waits until there is something to send; an error came in place of an answer.
    pub(super) async fn ready(&mut self) -> Result<(), ApiError> {
        let end = poll_fn(|cx| self.seat.poll_begun(cx)).await;
        match end.and_then(|end| Some((end.failed.clone()?, end))) {
            Some((error, end)) => {
                self.exchange.follow(&end.report, self.seat.joined_another);
                self.exchange.refuse(&error);
                self.ended = true;
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Waits for an answer that comes in one piece.
    pub(super) async fn whole(&mut self) -> Result<Bytes, ApiError> {
        self.ready().await?;
        let mut whole = BytesMut::new();
        loop {
            match poll_fn(|cx| self.seat.poll_next(cx)).await {
                Next::Piece(piece) if whole.is_empty() => whole = piece.into(),
                Next::Piece(piece) => whole.extend_from_slice(&piece),
                Next::End(end) => {
                    self.exchange.note_first_token();
                    self.book(&end);
                    return Ok(whole.freeze());
                }
                Next::Missed => {
                    let error = missed();
                    self.exchange.refuse(&error);
                    return Err(error);
                }
            }
        }
    }

    /// Ends the request before anything was sent, because somebody has stopped it.
    pub(super) fn stopped(&mut self, error: ApiError) -> ApiError {
        self.ended = true;
        self.exchange.refuse(&error);
        error
    }

    /// Gives the connection the next piece.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(error) = self.exchange.standing.poll_stopped(cx) {
            self.ended = true;
            let outcome = outcome_of(&error);
            self.exchange
                .end(outcome, 200, Usage::default(), Some(&error));
            return Poll::Ready(Some(Err(BrokenBody)));
        }
        match ready!(self.seat.poll_next(cx)) {
            Next::Piece(piece) => {
                // Comments keep the connection alive and are no part of the answer.
                if !piece.starts_with(b":") {
                    self.exchange.note_first_token();
                }
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Next::End(end) => {
                self.book(&end);
                let trailers = end.trailers.filter(|_| self.trailers);
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Next::Missed => {
                self.ended = true;
                let error = missed();
                self.exchange
                    .end(Outcome::Truncated, 200, Usage::default(), Some(&error));
                Poll::Ready(Some(Err(BrokenBody)))
            }
        }
    }

    /// Ends the request as the execution has ended.
    fn book(&mut self, end: &End) {
        self.ended = true;
        self.exchange.follow(&end.report, self.seat.joined_another);
        if let Some(closing) = &end.report.closing {
            self.exchange.end(
                closing.outcome,
                closing.status,
                closing.usage,
                closing.error.as_ref(),
            );
        }
    }
}

fn missed() -> ApiError {
    ApiError::new(
        ErrorKind::Timeout,
        "the answer was read too slowly to be shared with identical requests: read faster, or use a key that does not share",
    )
}
