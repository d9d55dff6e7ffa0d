//! The answer to a call, read whole up to a limit or piece by piece.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep, sleep_until};

use super::OutboundError;
use crate::{ReadBodyError, read_capped};

/// The head of an answer; its body is still to be read.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    target: String,
    body: AnswerBody,
}

impl Answer {
    pub(super) fn new(
        response: Response<Incoming>,
        target: String,
        idle_limit: Option<Duration>,
        total: Option<(Instant, Duration)>,
    ) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: AnswerBody::new(body, target.clone(), idle_limit, total),
            target,
        }
    }

    /// Returns the status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Reads the whole body, at most `limit_bytes`.
    pub async fn bytes(self, limit_bytes: usize) -> Result<Bytes, OutboundError> {
        let target = self.target;
        read_capped(self.body, limit_bytes)
            .await
            .map_err(|error| match error {
                ReadBodyError::TooLarge { limit } => OutboundError::TooLarge {
                    target,
                    limit_bytes: limit,
                },
                ReadBodyError::Broken(cause) => match cause.downcast::<OutboundError>() {
                    Ok(error) => *error,
                    Err(cause) => OutboundError::Broken {
                        target,
                        reason: cause.to_string(),
                    },
                },
            })
    }

    /// Reads the whole body, at most `limit_bytes`, as JSON.
    pub async fn json<T: DeserializeOwned>(self, limit_bytes: usize) -> Result<T, OutboundError> {
        let target = self.target.clone();
        let body = self.bytes(limit_bytes).await?;
        serde_json::from_slice(&body).map_err(|source| OutboundError::Json { target, source })
    }

    /// Returns the next piece of the body, or `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, OutboundError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Returns the body as a stream; its limits on waiting stay in force.
    pub fn into_body(self) -> AnswerBody {
        self.body
    }
}

/// The body of an answer with its limits on waiting. Dropping it cancels the call.
#[derive(Debug)]
pub struct AnswerBody {
    body: Incoming,
    target: String,
    idle_limit: Option<Duration>,
    total: Option<(Instant, Duration)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl AnswerBody {
    fn new(
        body: Incoming,
        target: String,
        idle_limit: Option<Duration>,
        total: Option<(Instant, Duration)>,
    ) -> Self {
        let mut answer = Self {
            body,
            target,
            idle_limit,
            total,
            timer: None,
        };
        if let Some((deadline, _)) = answer.next_deadline() {
            answer.timer = Some(Box::pin(sleep_until(deadline)));
        }
        answer
    }

    fn next_deadline(&self) -> Option<(Instant, Duration)> {
        let idle = self.idle_limit.map(|limit| (Instant::now() + limit, limit));
        match (idle, self.total) {
            (Some(idle), Some(total)) => Some(if idle.0 < total.0 { idle } else { total }),
            (idle, total) => idle.or(total),
        }
    }

    fn timeout(&self) -> OutboundError {
        let passed = |(deadline, _): &(Instant, Duration)| Instant::now() >= *deadline;
        let (wait, limit) = match (self.total.filter(passed), self.idle_limit) {
            (None, Some(limit)) => ("send more", limit),
            (total, _) => ("finish", total.map(|(_, limit)| limit).unwrap_or_default()),
        };
        OutboundError::Timeout {
            target: self.target.clone(),
            wait,
            limit,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = OutboundError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OutboundError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if self.idle_limit.is_some()
                    && let Some((deadline, _)) = self.next_deadline()
                    && let Some(timer) = &mut self.timer
                {
                    timer.as_mut().reset(deadline);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(OutboundError::Broken {
                target: self.target.clone(),
                reason: deepest(&error),
            }))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let waited_out = self
                    .timer
                    .as_mut()
                    .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
                if waited_out {
                    Poll::Ready(Some(Err(self.timeout())))
                } else {
                    Poll::Pending
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn deepest(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
