//! The one table from error kinds to HTTP answers: `application/problem+json` as in RFC 9457.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use primitives::{Classify, ErrorKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::request_id::current_request_id;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error answer. Every 4xx and 5xx of the management API has this body, sent as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Identifies the kind of problem: `urn:remuda:problem:` and the error kind.
    #[serde(rename = "type")]
    #[schema(example = "urn:remuda:problem:not_found")]
    type_uri: String,
    /// The kind of problem in words; the same for every problem of the type.
    #[schema(example = "Not found")]
    title: &'static str,
    /// The HTTP status code.
    #[schema(example = 404)]
    status: u16,
    /// What went wrong this time, and what to do next.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// A name for programs, where the kind alone does not tell what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "code_required")]
    reason: Option<&'static str>,
    /// The request's id, also sent as `x-request-id` and written to the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    request_id: Option<Box<str>>,
    #[serde(skip)]
    kind: ErrorKind,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

impl Problem {
    /// Makes a problem of the given kind. `detail` is shown to the client.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("urn:remuda:problem:{}", kind.as_str()),
            title: title(kind),
            status: kind.status(),
            detail: detail.into().into_boxed_str(),
            reason: None,
            request_id: None,
            kind,
            retry_after: None,
        }
    }

    /// Asks the client to wait before it tries again; sent as `Retry-After` in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Names what to do next, for programs.
    #[must_use]
    pub fn reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns what the client reads.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// Turns a classified error into its answer. Server-side faults are logged here, once, with all their causes.
impl<E: Classify + Error> From<E> for Problem {
    fn from(error: E) -> Self {
        let kind = error.kind();
        if kind.status() >= 500 {
            tracing::error!(
                kind = kind.as_str(),
                request_id = current_request_id().as_deref(),
                error = causes(&error),
                "request failed"
            );
        }
        Self::new(kind, error.public_message())
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        self.request_id = current_request_id().map(String::into_boxed_str);
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.kind == ErrorKind::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

const fn title(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "Invalid request",
        ErrorKind::TooLarge => "Too large",
        ErrorKind::UnsupportedMedia => "Unsupported content type",
        ErrorKind::Unprocessable => "Contradicts an earlier request",
        ErrorKind::PreconditionFailed => "Changed meanwhile",
        ErrorKind::Unauthenticated => "Not signed in",
        ErrorKind::Forbidden => "Not allowed",
        ErrorKind::NotFound => "Not found",
        ErrorKind::MethodNotAllowed => "Method not allowed",
        ErrorKind::Conflict => "Conflict",
        ErrorKind::TooMany => "Too many requests",
        ErrorKind::Unavailable => "Not available now",
        ErrorKind::Timeout => "Took too long",
        ErrorKind::Upstream => "Bad answer from a node",
        ErrorKind::Unsupported => "Not supported",
        ErrorKind::Cancelled => "Cancelled",
        ErrorKind::Bug => "Internal error",
    }
}

/// Returns at most the first 300 characters, so that a client cannot make us echo a huge text.
pub(crate) fn shortened(text: &str) -> &str {
    text.char_indices()
        .nth(300)
        .map_or(text, |(end, _)| &text[..end])
}

fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if write!(text, ": {cause}").is_err() {
            break;
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the secret reason")]
    struct Broken;

    impl Classify for Broken {
        fn kind(&self) -> ErrorKind {
            ErrorKind::Unavailable
        }

        fn public_message(&self) -> String {
            "try again".to_owned()
        }
    }

    #[test]
    fn an_error_shows_its_public_text_only() {
        let problem = Problem::from(Broken);
        let body = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            body,
            r#"{"type":"urn:remuda:problem:unavailable","title":"Not available now","status":503,"detail":"try again"}"#
        );
    }

    #[test]
    fn waiting_time_is_rounded_up_to_whole_seconds() {
        let response = Problem::new(ErrorKind::TooMany, "slow down")
            .retry_after(Duration::from_millis(1200))
            .into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn a_missing_credential_is_told_the_scheme() {
        let response = Problem::new(ErrorKind::Unauthenticated, "sign in").into_response();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    }
}
