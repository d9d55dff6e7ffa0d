//! Finishes a router into a surface: every request has an id, every answer the headers that browsers keep to, and what no route
//! answers is a [`Problem`] too.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, Uri};
use primitives::{Clock, ErrorKind, RequestId};

use crate::problem::shortened;
use crate::request_id::{REQUEST_ID_HEADER, with_request_id};
use crate::security_headers::{SecureTransport, harden};
use crate::{Problem, current_request_id};

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
                with_request_id(id.to_string(), stamped(request, next)).await
            }
        }))
}

async fn stamped(request: Request, next: Next) -> Response {
    let transport = request.extensions().get::<SecureTransport>().copied();
    let mut response = next.run(request).await;
    harden(response.headers_mut(), transport);
    if let Some(id) = current_request_id().and_then(|id| HeaderValue::try_from(id).ok()) {
        response.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
    response
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
