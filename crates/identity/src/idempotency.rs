//! Requests that a client may send again without a second effect: the first answer is kept for a day and given again.
//!
//! A request is known by its caller and the name that they gave it in `Idempotency-Key`. Only answers that tell of a success are
//! kept; after any other one the same request may be tried anew. Kept answers may hold secrets and are sealed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ::store::{SealError, StoreError};
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use primitives::{Classify, ErrorKind, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use web::{IDEMPOTENCY_KEY, JSON_LIMIT, Problem, current_request_id, read_capped, with_request_id};

use crate::credential::{SecretHash, presented_credential};
use crate::identity::Identity;
use crate::store;

/// How long an answer is kept.
pub(crate) const KEPT: Duration = Duration::from_hours(24);
/// The most requests of one caller that are remembered at the same time.
const MOST_OF_ONE: u64 = 1_000;
/// The most characters of a name.
const LONGEST_NAME: usize = 255;
/// The most bytes of an answer that is kept.
const LONGEST_ANSWER: usize = 64 * 1024;
/// After this time a request without an answer was interrupted.
const INTERRUPTED_AFTER: Duration = Duration::from_mins(2);
/// How long the body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    content_type: Option<String>,
    etag: Option<String>,
    body: String,
}

/// What is known of a request.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    pub(crate) request_hash: Vec<u8>,
    pub(crate) begun_at: Timestamp,
    pub(crate) answer_sealed: Option<Vec<u8>>,
}

/// Why a request that has a name was not carried out.
#[derive(Debug, thiserror::Error)]
enum RepeatError {
    #[error("`{IDEMPOTENCY_KEY}` has 1 to {LONGEST_NAME} visible ASCII characters")]
    Name,
    #[error("the idempotency key was used with another request")]
    OtherRequest,
    #[error("a request with this idempotency key is under way")]
    UnderWay,
    #[error(
        "a request with this idempotency key was interrupted, and may or may not have had its effect"
    )]
    Interrupted,
    #[error("{MOST_OF_ONE} requests with idempotency keys are remembered already")]
    TooMany,
    #[error("the body did not arrive within {} s", PATIENCE.as_secs())]
    TooSlow,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for RepeatError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Name => ErrorKind::Invalid,
            Self::OtherRequest => ErrorKind::Unprocessable,
            Self::UnderWay | Self::Interrupted => ErrorKind::Conflict,
            Self::TooMany => ErrorKind::TooMany,
            Self::TooSlow => ErrorKind::Timeout,
            Self::Seal(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Name => format!("{self}: a UUID does well"),
            Self::OtherRequest => format!("{self}: give each request a key of its own"),
            Self::UnderWay => format!("{self}: send it again in a moment"),
            Self::Interrupted => {
                format!("{self}: look whether it had, and send it with another key if not")
            }
            Self::TooMany => format!("{self}: send requests without keys, or wait a day"),
            Self::TooSlow => format!("{self}: send it again"),
            Self::Seal(_) => {
                "the first answer cannot be read any more: look whether the request had its effect"
                    .to_owned()
            }
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Names a request.
#[derive(Clone)]
struct Repeatable {
    caller: String,
    name: String,
    hash: SecretHash,
}

impl Repeatable {
    fn place(&self) -> String {
        place(&self.caller, &self.name)
    }
}

/// Names the place that an answer is sealed for.
pub(crate) fn place(caller: &str, name: &str) -> String {
    format!("idempotency_keys|answer|{caller}|{name}")
}

/// What is to be done with a request.
enum Verdict {
    CarryOut,
    Answer(Box<Kept>),
}

impl Identity {
    /// Lets the POST requests of these paths (as they stand in the router) be sent again without a second effect.
    pub fn repeatable(&self, router: Router, paths: HashSet<String>) -> Router {
        let (identity, paths) = (self.clone(), Arc::new(paths));
        router.layer(from_fn(move |request: Request, next: Next| {
            let (identity, paths) = (identity.clone(), Arc::clone(&paths));
            async move {
                let path = request.extensions().get::<MatchedPath>();
                let takes_part = request.method() == Method::POST
                    && request.headers().contains_key(IDEMPOTENCY_KEY)
                    && path.is_some_and(|path| paths.contains(path.as_str()));
                if takes_part {
                    match Box::pin(identity.once(request, next)).await {
                        Ok(response) => response,
                        Err(problem) => problem.into_response(),
                    }
                } else {
                    next.run(request).await
                }
            }
        }))
    }

    async fn once(&self, request: Request, next: Next) -> Result<Response, Problem> {
        let presented = presented_credential(request.headers());
        let now = self.inner.clock.now();
        let caller = self.snapshot().authenticate(presented.as_deref(), now);
        let Some(caller) = caller.ok().and_then(|principal| principal.id()) else {
            // The handler refuses who may not; what nobody did is not remembered.
            return Ok(next.run(request).await);
        };
        let name = name_of(&request).ok_or(RepeatError::Name)?;
        let (parts, body) = request.into_parts();
        let body = timeout(PATIENCE, read_capped(body, JSON_LIMIT))
            .await
            .map_err(|_| RepeatError::TooSlow)??;
        let mut text = parts.uri.to_string().into_bytes();
        text.push(b'\n');
        text.extend_from_slice(&body);
        let request = Repeatable {
            caller,
            name,
            hash: SecretHash::of_bytes(&text),
        };
        match self.recall(&request).await? {
            Verdict::Answer(kept) => Ok(replay(*kept)),
            Verdict::CarryOut => {
                let identity = self.clone();
                let work = async move {
                    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
                    identity.keep(&request, response).await
                };
                let id = current_request_id().unwrap_or_default();
                // A client that goes away must not leave open whether its request had its effect.
                let outcome = tokio::spawn(with_request_id(id, work)).await;
                outcome.map_err(|error| {
                    tracing::error!(%error, "a handler ended abnormally");
                    Problem::new(
                        ErrorKind::Bug,
                        "the request could not be finished: see the server's log",
                    )
                })
            }
        }
    }

    /// Looks whether the request was sent before, and remembers it otherwise.
    async fn recall(&self, request: &Repeatable) -> Result<Verdict, RepeatError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.write().await?;
        store::forget_requests(&mut tx, now.before(KEPT)).await?;
        let (caller, name) = (request.caller.as_str(), request.name.as_str());
        let first =
            store::remember_request(&mut tx, caller, name, request.hash.as_bytes(), now).await?;
        if first {
            if store::count_remembered(&mut tx, caller).await? > MOST_OF_ONE {
                return Err(RepeatError::TooMany);
            }
            tx.commit().await?;
            return Ok(Verdict::CarryOut);
        }
        let found = store::find_remembered(&mut tx, caller, name).await?;
        tx.commit().await?;
        let Some(found) = found else {
            return Err(RepeatError::UnderWay);
        };
        if found.request_hash != request.hash.as_bytes() {
            return Err(RepeatError::OtherRequest);
        }
        let Some(sealed) = found.answer_sealed else {
            return Err(if now.since(found.begun_at) < INTERRUPTED_AFTER {
                RepeatError::UnderWay
            } else {
                RepeatError::Interrupted
            });
        };
        let plain = self.inner.sealer.open(&request.place(), &sealed)?;
        let kept = serde_json::from_slice(plain.expose()).map_err(|_| SealError::Damaged)?;
        Ok(Verdict::Answer(Box::new(kept)))
    }

    /// Keeps the answer, or forgets the request where it had no effect.
    async fn keep(&self, request: &Repeatable, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let (kept, body) = if parts.status.is_success() {
            match read_capped(body, LONGEST_ANSWER).await {
                Ok(bytes) => {
                    let header = |name| {
                        let value: Option<&HeaderValue> = parts.headers.get(name);
                        value
                            .and_then(|value| value.to_str().ok())
                            .map(str::to_owned)
                    };
                    let kept = Kept {
                        status: parts.status.as_u16(),
                        content_type: header(CONTENT_TYPE),
                        etag: header(ETAG),
                        body: String::from_utf8_lossy(&bytes).into_owned(),
                    };
                    (Some(kept), Body::from(bytes))
                }
                Err(error) => return Problem::from(error).into_response(),
            }
        } else {
            (None, body)
        };
        let outcome = match &kept {
            Some(kept) => self.store_answer(request, kept).await,
            None => self.forget(request).await,
        };
        if let Err(error) = outcome {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the answer to a request with an idempotency key was not kept: sent again, it is answered with a conflict"
            );
        }
        Response::from_parts(parts, body)
    }

    async fn store_answer(&self, request: &Repeatable, kept: &Kept) -> Result<(), RepeatError> {
        let plain = serde_json::to_vec(kept).map_err(|_| SealError::Damaged)?;
        let sealed = self.inner.sealer.seal(&request.place(), &plain)?;
        let mut tx = self.inner.db.write().await?;
        store::put_answer(&mut tx, &request.caller, &request.name, sealed).await?;
        Ok(tx.commit().await?)
    }

    async fn forget(&self, request: &Repeatable) -> Result<(), RepeatError> {
        let mut tx = self.inner.db.write().await?;
        store::forget_request(&mut tx, &request.caller, &request.name).await?;
        Ok(tx.commit().await?)
    }
}

fn name_of(request: &Request) -> Option<String> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let name = values.next()?.to_str().ok()?;
    let visible = name.bytes().all(|byte| byte.is_ascii_graphic());
    let fits = (1..=LONGEST_NAME).contains(&name.len()) && visible && values.next().is_none();
    fits.then(|| name.to_owned())
}

fn replay(kept: Kept) -> Response {
    let mut response = Response::new(Body::from(kept.body));
    *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    for (name, value) in [(CONTENT_TYPE, kept.content_type), (ETAG, kept.etag)] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
