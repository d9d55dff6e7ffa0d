//! Finishes a router into a surface: every request has an id, every answer the headers that browsers keep to, and what no route
//! answers is a [`Problem`] too.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, Uri};
use primitives::{Clock, ErrorKind, RequestId};

use crate::Problem;
use crate::problem::shortened;
use crate::request_id::{REQUEST_ID_HEADER, with_request_id};
use crate::security_headers::{SecureTransport, harden};

/// Adds request ids, security headers and problem answers for unknown paths and wrong methods to the merged routers of the domains.
///
/// A request that already carries an id from the listener (as a [`RequestId`] extension) keeps it.
pub fn api_surface(router: Router, clock: Arc<dyn Clock>) -> Router {
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(move |request: Request, next: Next| {
            let clock = Arc::clone(&clock);
            async move {
                let id = request
                    .extensions()
                    .get::<RequestId>()
                    .copied()
                    .unwrap_or_else(|| RequestId::generate(clock.now()));
                let transport = request.extensions().get::<SecureTransport>().copied();
                let mut response = with_request_id(id.to_string(), next.run(request)).await;
                stamp(response.headers_mut(), id, transport);
                response
            }
        }))
}

/// Puts on an answer what every answer of the surface has: its request's id, and the headers that browsers keep to.
///
/// For answers that are made beside [`api_surface`].
pub fn stamp(headers: &mut HeaderMap, id: RequestId, transport: Option<SecureTransport>) {
    harden(headers, transport);
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert(REQUEST_ID_HEADER, id);
    }
}

async fn unknown_path(uri: Uri) -> Response {
    Problem::new(
        ErrorKind::NotFound,
        format!(
            "there is no {}: GET /api/v1/openapi.json lists the paths",
            shortened(uri.path())
        ),
    )
    .into_response()
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    Problem::new(
        ErrorKind::MethodNotAllowed,
        format!(
            "{} does not answer {}: the `allow` header lists the methods",
            shortened(uri.path()),
            shortened(method.as_str())
        ),
    )
    .into_response()
}
