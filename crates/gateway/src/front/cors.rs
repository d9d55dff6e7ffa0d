//! Lets pages of allowed origins call the API from a browser (Fetch standard, CORS protocol).
//!
//! Pages of this machine and of installed applications are always allowed, as Ollama does; others by `server.allowed_origins`.
//! The control plane is left out: its pages come from here.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use primitives::RequestId;

use super::origin;
use super::reply::Reply;
use crate::body::ReplyBody;

const METHODS: HeaderValue =
    HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS");
/// What a page may read of an answer beside its content type.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-remuda-node, x-remuda-model, x-remuda-continued, retry-after, x-remuda-queue-wait-ms, \
     x-remuda-queue-position, x-remuda-queue-expected-ms",
);
/// Seconds that a browser may remember the permission.
const REMEMBERED: HeaderValue = HeaderValue::from_static("43200");
/// Longest list of header names that a permission repeats.
const NAMES_LIMIT: usize = 2048;

/// The origins that an operator allows: `*`, `https://app.example.org`, or `https://*.example.org`.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(Vec<String>);

impl AllowedOrigins {
    /// Takes the patterns of the configuration.
    pub fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|p| p.to_ascii_lowercase()).collect())
    }

    /// Tells whether pages of `origin` may call.
    pub fn allows(&self, origin: &str) -> bool {
        origin::is_local_origin(origin) || {
            let origin = origin.to_ascii_lowercase();
            self.0.iter().any(|pattern| matches(pattern, &origin))
        }
    }
}

fn matches(pattern: &str, origin: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == origin,
        Some(("", "")) => true,
        Some((before, after)) => {
            origin.len() > before.len() + after.len()
                && origin.starts_with(before)
                && origin.ends_with(after)
                // The star stands for a part of the host's name, not for another host before it.
                && !origin[before.len()..].contains('/')
                && !origin[before.len()..origin.len() - after.len()].contains(['@', ':'])
        }
    }
}

/// Returns the origin of a page that may read the answer.
pub(super) fn allowed_origin(headers: &HeaderMap, allowed: &AllowedOrigins) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    allowed
        .allows(origin.to_str().ok()?)
        .then(|| origin.clone())
}

/// Tells whether a browser asks for permission before the call itself.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Gives the permission.
pub(super) fn permission(
    id: RequestId,
    asked: &HeaderMap,
    origin: HeaderValue,
) -> Response<ReplyBody> {
    let mut response = Reply::new(id).empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        && names.len() <= NAMES_LIMIT
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    if asked.contains_key("access-control-request-private-network") {
        headers.insert(
            "access-control-allow-private-network",
            HeaderValue::from_static("true"),
        );
    }
    let_read(&mut response, origin);
    response
}

/// Lets a page of `origin` read an answer.
pub(super) fn let_read(response: &mut Response<ReplyBody>, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(patterns: &[&str], origin: &str) -> bool {
        let patterns: Vec<_> = patterns.iter().map(|p| (*p).to_owned()).collect();
        AllowedOrigins::new(&patterns).allows(origin)
    }

    #[test]
    fn local_pages_and_configured_origins_may_call() {
        assert!(allows(&[], "http://localhost:3000"));
        assert!(allows(&[], "app://anything"));
        assert!(!allows(&[], "https://example.org"));
        assert!(allows(&["https://Example.org"], "https://example.org"));
        assert!(!allows(&["https://example.org"], "http://example.org"));
        assert!(!allows(
            &["https://example.org"],
            "https://example.org.evil.com"
        ));
        assert!(allows(&["*"], "https://example.org"));
        assert!(allows(
            &["https://*.example.org"],
            "https://a.b.example.org"
        ));
        assert!(!allows(&["https://*.example.org"], "https://example.org"));
        assert!(!allows(&["https://*.example.org"], "https://.example.org"));
        assert!(!allows(
            &["https://*.example.org"],
            "https://evil.com/.example.org"
        ));
    }
}
