//! Errors of `/rpc` as `PostgREST` words them: `code`, `message`, `details`, `hint`.
//! Codes and statuses: <https://docs.postgrest.org/en/v12/references/errors.html>.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use identity::AuthError;
use primitives::{Classify as _, ErrorKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{OperationKind, UnknownPort};
use crate::refusal::{CallError, Refusal};

/// An error answer of `/rpc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct RpcError {
    /// What it is: an SQLSTATE, or a code of the interface's own.
    #[schema(value_type = String, example = "23505")]
    code: Cow<'static, str>,
    /// More about it.
    details: Option<String>,
    /// What to do about it.
    hint: Option<String>,
    /// What went wrong.
    #[schema(
        example = "duplicate key value violates unique constraint \"widgets_serial_number_key\""
    )]
    message: String,
    #[serde(skip)]
    status: u16,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

impl RpcError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: Cow::Borrowed(code),
            details: None,
            hint: None,
            message: message.into(),
            status: status.as_u16(),
            retry_after_s: None,
        }
    }

    fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What a function raises by itself.
    pub(super) fn raised(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "P0001", message)
    }

    /// The body is not what can be read.
    pub(super) fn unreadable() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "PGRST102", "Empty or invalid json")
    }

    /// No function takes these arguments.
    pub(super) fn no_function(name: &str, kind: Option<OperationKind>, given: &[&str]) -> Self {
        let name = shortened(name);
        let mut given: Vec<&str> = given.iter().map(|name| shortened(name)).collect();
        given.sort_unstable();
        given.truncate(20);
        let (called, searched) = if given.is_empty() {
            (
                format!("widgets.{name} without parameters"),
                format!("widgets.{name} without parameters"),
            )
        } else {
            let list = given.join(", ");
            (
                format!("widgets.{name}({list})"),
                format!("widgets.{name} with parameters {list}"),
            )
        };
        let error = Self::new(
            StatusCode::NOT_FOUND,
            "PGRST202",
            format!("Could not find the function {called} in the schema cache"),
        )
        .details(format!(
            "Searched for the function {searched} or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache."
        ));
        match kind {
            Some(kind) => error.hint(format!(
                "Perhaps you meant to call the function widgets.{}({})",
                kind.function(),
                arguments_of(kind)
            )),
            None => error,
        }
    }

    /// An argument is `null` that must not be.
    pub(super) fn null(column: &str, table: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "23502",
            format!(
                "null value in column \"{column}\" of relation \"{table}\" violates not-null constraint"
            ),
        )
    }

    /// What kept a call from being carried out, or from being known to be.
    pub(super) fn of_call(kind: OperationKind, error: CallError) -> Self {
        let is_unsure = matches!(error, CallError::Unsure);
        let answer = Self::from(error);
        if is_unsure {
            answer.hint(asked_again(kind))
        } else {
            answer
        }
    }

    /// A method that no function answers.
    pub(super) fn method(kind: OperationKind, method: &Method) -> Self {
        if matches!(*method, Method::GET | Method::HEAD) {
            let statement = match kind {
                OperationKind::Add => "INSERT",
                OperationKind::Remove => "DELETE",
                OperationKind::Associate | OperationKind::Disassociate => "SELECT FOR UPDATE",
            };
            return Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "25006",
                format!("cannot execute {statement} in a read-only transaction"),
            )
            .hint("Send the arguments with POST");
        }
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "PGRST101",
            format!(
                "Cannot use the {} method on RPC",
                shortened(method.as_str())
            ),
        )
    }

    /// The caller may not.
    pub(super) fn denied(kind: OperationKind, error: AuthError) -> Self {
        let status = match error.kind() {
            ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        };
        let mut denied = Self::not_permitted(kind).hint(error.public_message());
        denied.status = status.as_u16();
        denied
    }

    /// Nobody may who calls so.
    pub(super) fn not_permitted(kind: OperationKind) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "42501",
            format!("permission denied for function {}", kind.function()),
        )
    }
}

/// Returns the arguments of a function, sorted.
fn arguments_of(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Add => "slots, widget_name, widget_sn",
        OperationKind::Remove => "widget_sn",
        OperationKind::Associate | OperationKind::Disassociate => "port, widget1_sn, widget2_sn",
    }
}

/// Says what a call tells that is made again because nobody knows whether it was carried out.
fn asked_again(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Add => {
            "Send it again: 409 with the code 23505 means that the widget is there"
        }
        OperationKind::Remove => "Send it again: a widget that is not there is no mistake",
        OperationKind::Associate => {
            "Send it again: two widgets are joined on a port once at most. If that is refused for want of a free slot or with 409, \
             GET /api/v1/inventory/widgets/{serial} shows whether they are joined"
        }
        OperationKind::Disassociate => {
            "Send it again: 400 with \"are not associated\" means that they are parted"
        }
    }
}

/// Returns at most the first 64 characters.
pub(super) fn shortened(text: &str) -> &str {
    text.char_indices()
        .nth(64)
        .map_or(text, |(end, _)| &text[..end])
}

impl From<UnknownPort> for RpcError {
    fn from(UnknownPort(text): UnknownPort) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "22P02",
            format!("invalid input value for enum widgets.port_type: \"{text}\""),
        )
    }
}

impl From<CallError> for RpcError {
    fn from(error: CallError) -> Self {
        let wait = error.retry_after().map(|wait| wait.as_secs().max(1));
        let text = error.public_message();
        let mut answer = match error {
            CallError::Refused(refusal) => refused(refusal),
            CallError::Overloaded => Self::new(StatusCode::SERVICE_UNAVAILABLE, "53400", text),
            CallError::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, "57P01", text),
            CallError::Unsure => Self::new(StatusCode::SERVICE_UNAVAILABLE, "08007", text),
            CallError::Failed {
                kind: ErrorKind::Unavailable,
                ..
            } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "08006", text),
            CallError::Failed { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "XX000", text),
        };
        answer.retry_after_s = wait;
        answer
    }
}

fn refused(refusal: Refusal) -> RpcError {
    match refusal {
        Refusal::Taken(serial) => RpcError::new(
            StatusCode::CONFLICT,
            "23505",
            "duplicate key value violates unique constraint \"widgets_serial_number_key\"",
        )
        .details(format!("Key (serial_number)=({serial}) already exists.")),
        Refusal::WithItself => RpcError::raised("Widgets cannot self-associate"),
        Refusal::Unknown(serial) => RpcError::raised(format!(
            "Widget with serial number {serial} does not exist"
        )),
        // The doubled word is the original's, whose texts clients compare.
        Refusal::NoFreeSlot { serial, port } => RpcError::raised(format!(
            "Widget with serial number {serial} does not not have available slots on port {port}"
        )),
        Refusal::Associated { first, second, port } => RpcError::new(
            StatusCode::CONFLICT,
            "23505",
            "duplicate key value violates unique constraint \"idx_unique_widget_slot_assoc_except_null_assoc\"",
        )
        .details(format!(
            "Key (widget, slot, association)=({first}, {port}, {second}) already exists."
        )),
        Refusal::NotAssociated {
            first,
            second,
            port,
        } => RpcError::raised(format!(
            "Widgets with serial numbers {first} and {second} are not associated on port {port}"
        )),
    }
}

impl IntoResponse for RpcError {
    fn into_response(self) -> Response<Body> {
        self.into_whole().map(Body::from)
    }
}

impl RpcError {
    /// Makes the answer, all of it.
    pub(super) fn into_whole(self) -> Response<Bytes> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}
