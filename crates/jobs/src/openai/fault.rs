//! Errors in the envelope that clients of the OpenAI API read, and the caller of these routes.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use identity::Caller;
use primitives::{Classify, ErrorKind};
use serde_json::json;
use web::Problem;

use crate::batches::BatchError;
use crate::surface::Jobs;

/// An error answer.
#[derive(Debug)]
pub(super) struct Fault {
    kind: ErrorKind,
    message: String,
    param: Option<&'static str>,
}

impl Fault {
    pub(super) fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            message: message.into(),
            param: Some(param),
        }
    }

    pub(super) fn batch(error: BatchError) -> Self {
        let param = match &error {
            BatchError::Invalid { param, .. } => Some(*param),
            _ => None,
        };
        Self {
            param,
            ..Self::from(error)
        }
    }
}

/// Faults of ours are logged here, once, with all their causes.
impl<E: Classify + std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        let problem = Problem::from(error);
        Self {
            kind: problem.kind(),
            message: problem.detail().to_owned(),
            param: None,
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let of = match self.kind {
            ErrorKind::TooMany => "rate_limit_error",
            ErrorKind::Forbidden => "permission_error",
            _ if status >= 500 => "server_error",
            _ => "invalid_request_error",
        };
        let code = match self.kind {
            ErrorKind::Unauthenticated => Some("invalid_api_key"),
            _ => None,
        };
        let body = json!({"error": {
            "message": self.message, "type": of, "param": self.param, "code": code,
        }});
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(body)).into_response();
        match self.kind {
            ErrorKind::Unauthenticated => {
                let scheme = http::HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
            ErrorKind::TooMany => {
                let wait = http::HeaderValue::from_static("10");
                response.headers_mut().insert(RETRY_AFTER, wait);
            }
            _ => {}
        }
        response
    }
}

/// A caller who may use models.
#[derive(Clone, Debug)]
pub(super) struct Client(pub(super) Caller);

impl FromRequestParts<Jobs> for Client {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, jobs: &Jobs) -> Result<Self, Fault> {
        let refused = |problem: Problem| Fault {
            kind: problem.kind(),
            message: problem.detail().to_owned(),
            param: None,
        };
        let caller = Caller::from_request_parts(parts, jobs)
            .await
            .map_err(refused)?;
        if !caller.principal().may_infer() {
            return Err(Fault {
                kind: ErrorKind::Forbidden,
                message:
                    "you may not use models: ask an administrator for the permission inference:run"
                        .to_owned(),
                param: None,
            });
        }
        Ok(Self(caller))
    }
}
