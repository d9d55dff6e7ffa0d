//! Lets pages of allowed origins call the API from a browser (Fetch standard, CORS protocol).
//!
//! Pages of this machine and of installed applications are always allowed, as Ollama does; others by `server.allowed_origins`.
//! The control plane is left out: its pages come from here.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use primitives::RequestId;
use web::AllowedOrigins;

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
