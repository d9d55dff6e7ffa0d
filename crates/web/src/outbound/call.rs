//! One call: what is sent and how long each part may take.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use primitives::Secret;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::client::Inner;
use super::{Answer, OutboundError, Refusal};

/// The body of a call: bytes, or a stream that is sent as it comes.
pub type CallBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// A call that has not been sent. By default: 30 s to the answer's head, 60 s in total.
#[must_use = "nothing is sent before `send`"]
#[derive(Debug)]
pub struct Call {
    client: Arc<Inner>,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: CallBody,
    invalid: Option<&'static str>,
    head_timeout: Duration,
    idle_timeout: Option<Duration>,
    total_timeout: Option<Duration>,
}

impl Call {
    pub(super) fn new(client: Arc<Inner>, method: Method, url: &Url) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("remuda/", env!("CARGO_PKG_VERSION"))),
        );
        Self {
            client,
            method,
            url: url.clone(),
            headers,
            body: boxed(Full::default()),
            invalid: None,
            head_timeout: Duration::from_secs(30),
            idle_timeout: None,
            total_timeout: Some(Duration::from_mins(1)),
        }
    }

    /// Sets a header, replacing an earlier value.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Presents a secret as `Authorization: Bearer`. The header is marked sensitive.
    pub fn bearer(mut self, secret: &Secret<String>) -> Self {
        match HeaderValue::try_from(format!("Bearer {}", secret.expose())) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(AUTHORIZATION, value);
            }
            Err(_) => self.invalid = Some("the credential has characters that no header can carry"),
        }
        self
    }

    /// Sends a value as a JSON body.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(text) => {
                self.headers
                    .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                self.body = boxed(Full::new(Bytes::from(text)));
            }
            Err(_) => self.invalid = Some("the body cannot be written as JSON"),
        }
        self
    }

    /// Sends bytes as the body.
    pub fn bytes(mut self, body: Bytes) -> Self {
        self.body = boxed(Full::new(body));
        self
    }

    /// Sends a body piece by piece as it becomes ready.
    pub fn stream<B>(mut self, body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.body = boxed(body);
        self
    }

    /// Bounds the wait for the head of the answer, connecting and sending included. 30 s unless set.
    pub fn head_timeout(mut self, limit: Duration) -> Self {
        self.head_timeout = limit;
        self
    }

    /// Bounds the wait for each next piece of the answer's body. No bound unless set.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = Some(limit);
        self
    }

    /// Bounds the whole call including reading the body; `None` for streams of unknown length. 60 s unless set.
    pub fn total_timeout(mut self, limit: Option<Duration>) -> Self {
        self.total_timeout = limit;
        self
    }

    /// Sends the call and waits for the head of the answer. Any status is an answer; redirects are not followed.
    pub async fn send(self) -> Result<Answer, OutboundError> {
        let target = target(&self.url);
        if !matches!(self.url.scheme(), "http" | "https") {
            return Err(OutboundError::Refused {
                target,
                refusal: Refusal::Scheme,
            });
        }
        if let Some(reason) = self.invalid {
            return Err(OutboundError::Request {
                target,
                reason: reason.to_owned(),
            });
        }
        let request = match request(self.method, &self.url, self.headers, self.body) {
            Ok(request) => request,
            Err(error) => {
                return Err(OutboundError::Request {
                    target,
                    reason: error.to_string(),
                });
            }
        };
        let started = Instant::now();
        let total = self.total_timeout.map(|limit| (started + limit, limit));
        let (head_deadline, head_limit) = match total {
            Some((deadline, limit)) if limit < self.head_timeout => (deadline, limit),
            _ => (started + self.head_timeout, self.head_timeout),
        };
        match timeout_at(head_deadline, self.client.pool.request(request)).await {
            Err(_) => Err(OutboundError::Timeout {
                target,
                wait: "answer",
                limit: head_limit,
            }),
            Ok(Err(error)) => Err(OutboundError::from_legacy(
                &error,
                &target,
                self.client.config.connect_timeout,
            )),
            Ok(Ok(response)) => Ok(Answer::new(response, target, self.idle_timeout, total)),
        }
    }
}

fn request(
    method: Method,
    url: &Url,
    headers: HeaderMap,
    body: CallBody,
) -> Result<Request<CallBody>, http::Error> {
    // A fragment is for the caller only, and user names in the address are sent nowhere by accident.
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let uri = Uri::builder()
        .scheme(url.scheme())
        .authority(&url[url::Position::BeforeHost..url::Position::AfterPort])
        .path_and_query(path)
        .build()?;
    let mut request = Request::builder().method(method).uri(uri).body(body)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Names the server without credentials or path, for messages.
fn target(url: &Url) -> String {
    url[url::Position::BeforeHost..url::Position::AfterPort].to_owned()
}

fn boxed<B>(body: B) -> CallBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    body.map_err(Into::into).boxed_unsync()
}
