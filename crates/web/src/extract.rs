//! Extractors that answer bad input with a [`Problem`] and never read more than their limit.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use primitives::ErrorKind;
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Deserializer, Serialize};
use tokio::time::timeout;

use crate::problem::shortened;
use crate::{Problem, read_capped};

/// The most bytes of a management request's JSON body.
pub const JSON_LIMIT: usize = 256 * 1024;
/// The most bytes of a body that has only names and secrets in it.
pub const SMALL_BODY: usize = 16 * 1024;
/// The longest time that the whole of such a body may take to arrive.
const JSON_PATIENCE: Duration = Duration::from_secs(30);

/// Where the request comes from. The listener puts it into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// What must hold once more when the body has arrived, which may be long after the head: an extractor that lets a caller in by the
/// head puts it into the request's extensions, and [`JsonBody`] asks it.
#[derive(Clone)]
pub struct AfterBody(Arc<dyn Fn() -> Option<Problem> + Send + Sync>);

impl AfterBody {
    /// Makes the question; what it answers, if anything, is a refusal that the client reads.
    pub fn new(ask: impl Fn() -> Option<Problem> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Asks now, for bodies that [`JsonBody`] does not read.
    pub fn ask(&self) -> Option<Problem> {
        (self.0)()
    }
}

impl fmt::Debug for AfterBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AfterBody")
    }
}

/// A JSON body of at most `LIMIT` bytes (256 KiB unless the route says otherwise) that arrives within 30 s. As an answer: the value
/// as JSON.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T, const LIMIT: usize = JSON_LIMIT>(pub T);

impl<T: DeserializeOwned, S: Send + Sync, const LIMIT: usize> FromRequest<S>
    for JsonBody<T, LIMIT>
{
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        if !is_json(&request) {
            return Err(Problem::new(
                ErrorKind::UnsupportedMedia,
                "the body must be JSON: send it with the header `content-type: application/json`",
            ));
        }
        let again = request.extensions().get::<AfterBody>().cloned();
        let body = timeout(JSON_PATIENCE, read_capped(request.into_body(), LIMIT))
            .await
            .map_err(|_| {
                let detail = format!(
                    "the body did not arrive within {} s: send it again",
                    JSON_PATIENCE.as_secs()
                );
                Problem::new(ErrorKind::Timeout, detail)
            })??;
        if let Some(problem) = again.and_then(|AfterBody(ask)| ask()) {
            return Err(problem);
        }
        // Read as a struct, a list would give its fields by their order.
        if body.trim_ascii_start().first() == Some(&b'[') {
            return Err(Problem::new(
                ErrorKind::Invalid,
                "the body does not have the expected fields: it must be a JSON object",
            ));
        }
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            let problem = match error.classify() {
                serde_json::error::Category::Data => "the body does not have the expected fields",
                _ => "the body is not valid JSON",
            };
            Problem::new(ErrorKind::Invalid, told(problem, &error.to_string()))
        })
    }
}

impl<T: Serialize> IntoResponse for JsonBody<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Reads a field that is an object, which a list is not: `#[serde(deserialize_with = "web::json_object")]`.
///
/// # Errors
/// When it is no object, or not the expected one.
pub fn json_object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let fields = serde_json::Map::deserialize(deserializer)?;
    T::deserialize(serde_json::Value::Object(fields)).map_err(serde::de::Error::custom)
}

/// Parameters in the path.
#[derive(Clone, Copy, Debug)]
pub struct PathParam<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParam<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::from_request_parts(parts, state)
            .await
            .map(|Path(value)| Self(value))
            .map_err(|error| {
                let detail = told("the path is not valid", &error.body_text());
                Problem::new(ErrorKind::Invalid, detail)
            })
    }
}

/// Parameters in the query string.
#[derive(Clone, Copy, Debug)]
pub struct QueryParams<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::from_request_parts(parts, state)
            .await
            .map(|Query(value)| Self(value))
            .map_err(|error| {
                let detail = told("the query is not valid", &error.body_text());
                Problem::new(ErrorKind::Invalid, detail)
            })
    }
}

/// Adds the parser's reason, which may repeat the client's own text and so is cut.
fn told(problem: &str, reason: &str) -> String {
    format!("{problem}: {}", shortened(reason))
}

fn is_json(request: &Request) -> bool {
    let Some(value) = request.headers().get(CONTENT_TYPE) else {
        return false;
    };
    let essence = value
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}
