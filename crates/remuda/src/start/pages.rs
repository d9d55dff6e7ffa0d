//! What a browser is shown: the dashboard below `/ui/`, and the management API at `/docs/`. All of it comes from here, nothing from elsewhere.
//!
//! The build packs `assets/` into two folders of files. A page is asked for anew each time and answered with 304 while it is the same; its
//! files have addresses that change with their content, and may be kept for good.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

/// Scripts, styles and data of this address only, and no way for a script to make markup out of text.
const OWN_ONLY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; manifest-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_ANEW: HeaderValue = HeaderValue::from_static("no-cache");

/// A file that the build has packed.
struct File {
    /// The path below its folder.
    path: &'static str,
    plain: &'static [u8],
    /// The same, compressed by gzip.
    packed: &'static [u8],
}

/// The files of one page.
struct Folder {
    /// Another one whenever a file is another.
    version: &'static str,
    files: &'static [File],
}

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Returns the pages.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/ui", get(async || Redirect::permanent("/ui/")))
        .route("/ui/", get(async |headers: HeaderMap| UI.page(&headers)))
        // Addresses inside the dashboard: the script reads the rest.
        .route(
            "/ui/{*path}",
            get(async |headers: HeaderMap| UI.page(&headers)),
        )
        .route(
            "/ui/files/{version}/{*path}",
            get(async |path, headers: HeaderMap| UI.file(path, &headers)),
        )
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route(
            "/docs/",
            get(async |headers: HeaderMap| DOCS.page(&headers)),
        )
        .route(
            "/docs/files/{version}/{*path}",
            get(async |path, headers: HeaderMap| DOCS.file(path, &headers)),
        )
}

impl Folder {
    fn find(&self, path: &str) -> Option<&'static File> {
        self.files.iter().find(|file| file.path == path)
    }

    fn page(&self, asked: &HeaderMap) -> Response {
        match self.find("index.html") {
            Some(file) => file.answer(asked, self.version, ASK_ANEW),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    /// Answers with a file. One that a page of another build asks for is not kept.
    fn file(&self, Path((version, path)): Path<(String, String)>, asked: &HeaderMap) -> Response {
        match self.find(&path) {
            Some(file) if version == self.version => file.answer(asked, self.version, FOR_GOOD),
            Some(file) => file.answer(asked, self.version, ASK_ANEW),
            None => (
                StatusCode::NOT_FOUND,
                "There is no such file in this version: load the page again.",
            )
                .into_response(),
        }
    }
}

impl File {
    fn answer(&self, asked: &HeaderMap, version: &str, cache: HeaderValue) -> Response {
        let has = |name, value: &str| {
            let mut given = asked.get_all(name).iter();
            given.any(|given| given.to_str().is_ok_and(|given| given.contains(value)))
        };
        let tag = format!("W/\"{version}\"");
        let (status, body, packed) = if has(IF_NONE_MATCH, &tag) {
            (StatusCode::NOT_MODIFIED, Body::empty(), false)
        } else if has(ACCEPT_ENCODING, "gzip") {
            (StatusCode::OK, Body::from(self.packed), true)
        } else {
            (StatusCode::OK, Body::from(self.plain), false)
        };
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, cache);
        headers.insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
        if let Ok(tag) = tag.parse() {
            headers.insert(ETAG, tag);
        }
        headers.insert(CONTENT_TYPE, self.content_type());
        if packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if self.path == "index.html" {
            headers.insert(CONTENT_SECURITY_POLICY, OWN_ONLY);
        }
        response
    }

    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static(match self.path.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("webmanifest") => "application/manifest+json",
            _ => "application/octet-stream",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most that the dashboard may weigh on the wire.
    const BUDGET: usize = 300 * 1024;

    #[test]
    fn the_dashboard_stays_within_its_budget() {
        let packed: usize = UI.files.iter().map(|file| file.packed.len()).sum();
        assert!(packed < BUDGET, "{packed} bytes compressed");
    }

    #[test]
    fn every_file_has_a_type_and_the_page_names_only_files_that_are_there() {
        for folder in [&UI, &DOCS] {
            for file in folder.files {
                let kind = file.content_type();
                assert_ne!(kind, "application/octet-stream", "{}", file.path);
            }
            let page = folder.find("index.html").unwrap();
            let page = std::str::from_utf8(page.plain).unwrap();
            let base = format!("/files/{}/", folder.version);
            let named = page.split(&base).skip(1);
            let named: Vec<&str> = named.filter_map(|rest| rest.split('"').next()).collect();
            assert!(!named.is_empty());
            for path in named {
                assert!(folder.find(path).is_some(), "{path}");
            }
            assert!(!page.contains("{base}"), "{page}");
        }
    }
}
