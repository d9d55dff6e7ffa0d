//! `GET /`: what the official clients look for, the dashboard for browsers, the API's description for tools.

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use primitives::ErrorKind;

use super::reply::Reply;
use super::{LingeringBody, Visit};
use crate::body::ReplyBody;
use dialects::ApiError;

/// Where the control plane serves the OpenAPI document.
const OPENAPI: &str = "/api/v1/openapi.json";

/// Answers the root path.
pub(super) async fn answer(
    visit: &Visit<'_>,
    request: Request<LingeringBody>,
) -> Response<ReplyBody> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let error = ApiError::new(
            ErrorKind::MethodNotAllowed,
            "only GET and HEAD are methods of this path",
        );
        return visit.refuse(&error);
    }
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    if accept.contains("application/openapi+json") {
        let mut description = Request::new(axum::body::Body::empty());
        *description.uri_mut() = http::Uri::from_static(OPENAPI);
        let mut response = visit
            .worker
            .shared
            .control
            .call_with_body(visit.peer, description)
            .await;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/openapi+json"),
        );
        return response;
    }
    if accept.contains("text/html") {
        let mut response = Response::new(ReplyBody::empty());
        *response.status_mut() = StatusCode::FOUND;
        response
            .headers_mut()
            .insert(header::LOCATION, HeaderValue::from_static("/ui/"));
        return response;
    }
    Reply::new(visit.id).whole("text/plain; charset=utf-8", "Ollama is running".into())
}
