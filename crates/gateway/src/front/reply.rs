//! Builds the head of every answer of the data plane: request id, node, errors in the client's dialect.

use std::time::Duration;

use bytes::Bytes;
use dialects::{ApiError, Dialect, error_response};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use primitives::{ErrorKind, MonotonicTime, RequestId};

use crate::admission::{Queued, Standing};
use crate::body::ReplyBody;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const NODE: HeaderName = HeaderName::from_static("x-remuda-node");
const MODEL: HeaderName = HeaderName::from_static("x-remuda-model");
const QUEUE_WAIT: HeaderName = HeaderName::from_static("x-remuda-queue-wait-ms");
const QUEUE_POSITION: HeaderName = HeaderName::from_static("x-remuda-queue-position");
const QUEUE_EXPECTED: HeaderName = HeaderName::from_static("x-remuda-queue-expected-ms");
const JOINED: HeaderName = HeaderName::from_static("x-remuda-joined");
const PARTS: HeaderName = HeaderName::from_static("x-remuda-parts");
const SHARED: HeaderName = HeaderName::from_static("x-remuda-shared");
const NUM_CTX: HeaderName = HeaderName::from_static("x-remuda-num-ctx");
const CONTINUED: HeaderName = HeaderName::from_static("x-remuda-continued");

/// An answer in the making.
pub(crate) struct Reply {
    id: RequestId,
    node: Option<HeaderValue>,
    model: Option<HeaderValue>,
    /// The time in the queue, with what it has come to in milliseconds.
    queued: Option<(Queued, u64)>,
    num_ctx: Option<u32>,
    /// Requests that one call served.
    joined: u32,
    /// Parts that one request was divided into.
    parts: u32,
    shared: bool,
}

impl Reply {
    /// Starts the answer to a request.
    pub(crate) const fn new(id: RequestId) -> Self {
        Self {
            id,
            node: None,
            model: None,
            queued: None,
            num_ctx: None,
            joined: 0,
            parts: 0,
            shared: false,
        }
    }

    /// Names the node that answers.
    pub(crate) fn node(mut self, name: Option<&str>) -> Self {
        self.node = name.and_then(|n| HeaderValue::try_from(n).ok());
        self
    }

    /// Names the node that answers, and tells how long the request has waited for it.
    pub(crate) fn standing(mut self, standing: &Standing, now: MonotonicTime) -> Self {
        self.queued = standing
            .queued
            .map(|queued| (queued, queued.time(now).as_millis() as u64));
        self.num_ctx = standing.num_ctx;
        self.node(standing.node.as_deref())
    }

    /// Tells how many requests the call has served, and in how many parts this one went to nodes.
    pub(crate) const fn joined(mut self, requests: u32, parts: u32) -> Self {
        (self.joined, self.parts) = (requests, parts);
        self
    }

    /// Tells whether the answer was made for an identical request.
    pub(crate) const fn shares(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// Names the model that answers, where it is not the one asked for.
    pub(crate) fn model(mut self, name: Option<&str>) -> Self {
        self.model = name.and_then(|n| HeaderValue::try_from(n).ok());
        self
    }

    /// Finishes with a status and nothing else.
    pub(crate) fn empty(self, status: StatusCode) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::empty());
        *response.status_mut() = status;
        self.stamp(&mut response, None);
        response
    }

    /// Finishes with a whole body.
    pub(crate) fn whole(self, content_type: &'static str, body: Bytes) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::whole(body));
        self.stamp(&mut response, Some(content_type));
        response
    }

    /// Finishes with a stream. `trailers` announces that one may follow.
    pub(crate) fn stream(
        self,
        content_type: &'static str,
        body: ReplyBody,
        trailers: bool,
    ) -> Response<ReplyBody> {
        let mut response = Response::new(body);
        self.stamp(&mut response, Some(content_type));
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // Reverse proxies that buffer would hold tokens back.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        if trailers {
            headers.insert(header::TRAILER, HeaderValue::from(CONTINUED));
        }
        response
    }

    /// Finishes with an error in the client's dialect.
    pub(crate) fn error(self, dialect: Dialect, error: &ApiError) -> Response<ReplyBody> {
        let (status, content_type, body) = error_response(dialect, error, &self.id.to_string());
        let mut response = Response::new(ReplyBody::whole(body));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.stamp(&mut response, Some(content_type));
        let headers = response.headers_mut();
        if let Some(wait) = error.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait)));
        }
        if error.kind == ErrorKind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if error.kind == ErrorKind::TooLarge {
            // The rest of the body is not read, so the connection cannot be used again.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn stamp(self, response: &mut Response<ReplyBody>, content_type: Option<&'static str>) {
        let headers = response.headers_mut();
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Ok(id) = HeaderValue::try_from(self.id.to_string()) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(node) = self.node {
            headers.insert(NODE, node);
        }
        if let Some((queued, wait)) = self.queued {
            headers.insert(QUEUE_WAIT, HeaderValue::from(wait));
            headers.insert(QUEUE_POSITION, HeaderValue::from(queued.position));
            if let Some(expected) = queued.expected {
                let expected = expected.as_millis() as u64;
                headers.insert(QUEUE_EXPECTED, HeaderValue::from(expected));
            }
        }
        for (name, count) in [(JOINED, self.joined), (PARTS, self.parts)] {
            if count > 1 {
                headers.insert(name, HeaderValue::from(count));
            }
        }
        if let Some(num_ctx) = self.num_ctx {
            headers.insert(NUM_CTX, HeaderValue::from(num_ctx));
        }
        if self.shared {
            headers.insert(SHARED, HeaderValue::from_static("true"));
        }
        if let Some(model) = self.model {
            headers.insert(MODEL, model);
        }
    }
}

/// Retry-After counts whole seconds; a fraction is rounded up so that nobody comes too early.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
