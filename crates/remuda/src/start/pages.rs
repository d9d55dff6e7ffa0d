//! What a browser is shown: how to use this address, and the management API. All of it comes from here, nothing from elsewhere.

use axum::Router;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

/// Scripts, styles and data of this address only.
const OWN_ONLY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// Files change only with the program.
const AN_HOUR: HeaderValue = HeaderValue::from_static("max-age=3600");

/// Returns the pages.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/ui", get(async || Redirect::permanent("/ui/")))
        .route(
            "/ui/",
            get(async || page(include_str!("../../assets/index.html"))),
        )
        .route(
            "/ui/page.css",
            get(async || css(include_str!("../../assets/page.css"))),
        )
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route(
            "/docs/",
            get(async || page(include_str!("../../assets/docs.html"))),
        )
        .route(
            "/docs/docs.css",
            get(async || css(include_str!("../../assets/docs.css"))),
        )
        .route(
            "/docs/docs.js",
            get(async || script(include_str!("../../assets/docs.js"))),
        )
}

fn page(html: &'static str) -> Response {
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, OWN_ONLY);
    headers.insert(CACHE_CONTROL, AN_HOUR);
    response
}

fn css(text: &'static str) -> Response {
    file("text/css; charset=utf-8", text)
}

fn script(text: &'static str) -> Response {
    file("text/javascript; charset=utf-8", text)
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, AN_HOUR);
    response
}
