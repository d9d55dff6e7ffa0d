//! `POST /rpc/add_widget`, `/rpc/remove_widget`, `/rpc/associate_widgets`, `/rpc/remove_association`: one call each, in the words of `PostgREST`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use identity::{AuthError, Permission, Principal, presented_credential};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use web::{ReadBodyError, read_capped};

use super::rpc_arguments::{self, Asked, NullPair};
use super::rpc_error::RpcError;
use crate::access::{FOREIGN_PAGE, is_foreign_page, may};
use crate::model::{OperationKind, Port};
use crate::refusal::{CallError, Refusal};
use crate::surface::Inventory;
use crate::tray::Tray;

/// The most bytes of a call.
const BODY: usize = 64 * 1024;
/// The longest time that the whole of it may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// A widget to be made.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "describes what is read by hand, for its errors")]
pub(super) struct AddWidgetBody {
    /// Its serial number, which no other widget has.
    #[schema(min_length = 1, max_length = 200, example = "NIC-0001")]
    widget_sn: String,
    /// Its name; `name` is another spelling of this field.
    #[schema(max_length = 1000, example = "25 GbE network card")]
    widget_name: String,
    /// The port of each of its slots, at most three; `null` for none.
    #[schema(max_items = 3)]
    slots: Option<Vec<Port>>,
}

/// A widget to be removed.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "describes what is read by hand, for its errors")]
pub(super) struct RemoveWidgetBody {
    /// Its serial number; no widget has `null`.
    #[schema(example = "NIC-0001")]
    widget_sn: Option<String>,
}

/// Two widgets and the port that joins them.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "describes what is read by hand, for its errors")]
pub(super) struct PairBody {
    /// The serial number of one.
    #[schema(example = "NIC-0001")]
    widget1_sn: String,
    /// The serial number of the other.
    #[schema(example = "CHASSIS-07")]
    widget2_sn: String,
    /// The type of port.
    port: Port,
}

/// Makes a widget
///
/// Its ports are fixed from then on.
#[utoipa::path(post, path = "/rpc/add_widget", operation_id = "add_widget", tag = "inventory", security(("bearer" = [])),
    request_body = AddWidgetBody,
    responses(
        (status = 204, description = "It is made, and lasts."),
        (status = 400, description = "The arguments break a rule.", body = RpcError),
        (status = 401, description = "A key is required.", body = RpcError),
        (status = 403, description = "The caller may not change the inventory.", body = RpcError),
        (status = 404, description = "The names of the arguments are not those of the function.", body = RpcError),
        (status = 409, description = "Another widget has the serial number.", body = RpcError),
        (status = 413, description = "The body is larger than 64 KiB.", body = RpcError),
        (status = 415, description = "The body is not sent as `application/json`.", body = RpcError),
        (status = 503, description = "Too many calls wait, or the database is not available.", body = RpcError),
    ))]
pub(super) async fn add_widget(
    State(inventory): State<Inventory>,
    request: Request,
) -> impl IntoResponse {
    respond(&inventory, None, request).await.map(Body::from)
}

/// Removes a widget, and frees those that it is joined with
///
/// One that is not there is no mistake.
#[utoipa::path(post, path = "/rpc/remove_widget", operation_id = "remove_widget", tag = "inventory", security(("bearer" = [])),
    request_body = RemoveWidgetBody,
    responses(
        (status = 204, description = "There is no widget of that serial number any more."),
        (status = 400, description = "The arguments break a rule.", body = RpcError),
        (status = 401, description = "A key is required.", body = RpcError),
        (status = 403, description = "The caller may not change the inventory.", body = RpcError),
        (status = 404, description = "The names of the arguments are not those of the function.", body = RpcError),
        (status = 413, description = "The body is larger than 64 KiB.", body = RpcError),
        (status = 415, description = "The body is not sent as `application/json`.", body = RpcError),
        (status = 503, description = "Too many calls wait, or the database is not available.", body = RpcError),
    ))]
pub(super) async fn remove_widget(
    State(inventory): State<Inventory>,
    request: Request,
) -> impl IntoResponse {
    respond(&inventory, None, request).await.map(Body::from)
}

/// Joins a free slot of each of two widgets
///
/// Two widgets can be joined several times, on each port once.
#[utoipa::path(post, path = "/rpc/associate_widgets", operation_id = "associate_widgets", tag = "inventory", security(("bearer" = [])),
    request_body = PairBody,
    responses(
        (status = 204, description = "They are joined, and stay so."),
        (status = 400, description = "One of them does not exist or has no free slot of the port, or both are the same.", body = RpcError),
        (status = 401, description = "A key is required.", body = RpcError),
        (status = 403, description = "The caller may not change the inventory.", body = RpcError),
        (status = 404, description = "The names of the arguments are not those of the function.", body = RpcError),
        (status = 409, description = "They are joined on that port already.", body = RpcError),
        (status = 413, description = "The body is larger than 64 KiB.", body = RpcError),
        (status = 415, description = "The body is not sent as `application/json`.", body = RpcError),
        (status = 503, description = "Too many calls wait, or the database is not available.", body = RpcError),
    ))]
pub(super) async fn associate_widgets(
    State(inventory): State<Inventory>,
    request: Request,
) -> impl IntoResponse {
    respond(&inventory, None, request).await.map(Body::from)
}

/// Parts two widgets that are joined on a port
#[utoipa::path(post, path = "/rpc/remove_association", operation_id = "remove_association", tag = "inventory", security(("bearer" = [])),
    request_body = PairBody,
    responses(
        (status = 204, description = "They are parted."),
        (status = 400, description = "One of them does not exist, they are not joined on the port, or both are the same.", body = RpcError),
        (status = 401, description = "A key is required.", body = RpcError),
        (status = 403, description = "The caller may not change the inventory.", body = RpcError),
        (status = 404, description = "The names of the arguments are not those of the function.", body = RpcError),
        (status = 413, description = "The body is larger than 64 KiB.", body = RpcError),
        (status = 415, description = "The body is not sent as `application/json`.", body = RpcError),
        (status = 503, description = "Too many calls wait, or the database is not available.", body = RpcError),
    ))]
pub(super) async fn remove_association(
    State(inventory): State<Inventory>,
    request: Request,
) -> impl IntoResponse {
    respond(&inventory, None, request).await.map(Body::from)
}

/// Answers other methods on a function.
pub(super) async fn other_method(State(inventory): State<Inventory>, request: Request) -> RpcError {
    let kind = call_of(request.uri().path()).unwrap_or(OperationKind::Add);
    match authorise(&inventory, request.headers()) {
        Err(error) => RpcError::denied(kind, error),
        Ok(_) => RpcError::method(kind, request.method()),
    }
}

/// Answers the names of functions that there are not.
pub(super) async fn unknown_function(Path(name): Path<String>, request: Request) -> RpcError {
    if *request.method() != Method::POST || !is_json(request.headers()) {
        return RpcError::no_function(&name, None, &[]);
    }
    match read(request.into_body()).await {
        Ok(body) => rpc_arguments::of_no_function(&name, &body),
        Err(error) => error,
    }
}

/// Finds the function that a path calls.
pub(crate) fn call_of(path: &str) -> Option<OperationKind> {
    let name = path.strip_prefix("/rpc/")?;
    OperationKind::ALL
        .into_iter()
        .find(|kind| kind.function() == name)
}

/// Answers a call, whose caller's thread may have a tray for answers.
pub(crate) async fn respond(
    inventory: &Inventory,
    tray: Option<&Arc<Tray>>,
    request: Request,
) -> Response<Bytes> {
    let path = request.uri().path();
    let Some(kind) = call_of(path) else {
        let name = path.rsplit('/').next().unwrap_or_default();
        return RpcError::no_function(name, None, &[]).into_whole();
    };
    match call(inventory, tray, kind, request).await {
        Ok(()) => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
                .headers_mut()
                .insert(CONTENT_RANGE, HeaderValue::from_static("0-0/*"));
            response
        }
        Err(error) => error.into_whole(),
    }
}

/// Makes the answer to a call that is refused.
pub(crate) fn refusal(error: CallError) -> Response<Bytes> {
    RpcError::from(error).into_whole()
}

fn authorise(inventory: &Inventory, headers: &HeaderMap) -> Result<Option<Principal>, AuthError> {
    let inner = &inventory.inner;
    let presented = presented_credential(headers);
    let principal = inner
        .identity
        .snapshot()
        .authenticate(presented.as_deref(), inner.clock.now());
    may(
        inventory,
        principal,
        presented.is_some(),
        Permission::InventoryWrite,
    )
}

async fn call(
    inventory: &Inventory,
    tray: Option<&Arc<Tray>>,
    kind: OperationKind,
    request: Request,
) -> Result<(), RpcError> {
    let (parts, body) = request.into_parts();
    let denied = |error| RpcError::denied(kind, error);
    let caller = authorise(inventory, &parts.headers).map_err(denied)?;
    if is_foreign_page(inventory, caller.as_ref(), &parts.headers) {
        return Err(RpcError::not_permitted(kind).hint(FOREIGN_PAGE));
    }
    if !is_json(&parts.headers) {
        return Err(RpcError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "PGRST102",
            "Content-Type not acceptable",
        )
        .hint("Send the header Content-Type: application/json"));
    }
    let body = read(body).await?;
    inventory.look_for_room(kind, tray)?;
    let asked = rpc_arguments::read(kind, &body)?;
    // The body may have been long in coming.
    authorise(inventory, &parts.headers).map_err(denied)?;
    match asked {
        Asked::Operation(operation) => {
            let outcome = inventory.call_from(operation, tray.cloned()).await;
            outcome.map_err(|error| RpcError::of_call(kind, error))
        }
        Asked::NullSlot(serial) => Err(null_slot(inventory, serial).await?),
        Asked::NullPair(pair) => Err(null_pair(inventory, kind, pair).await?),
    }
}

/// Returns why a widget with a slot that is `null` is not made: the original makes the widget first, and its slots afterwards.
async fn null_slot(inventory: &Inventory, serial: Arc<str>) -> Result<RpcError, CallError> {
    Ok(if inventory.is_there(&serial).await? {
        CallError::from(Refusal::Taken(serial)).into()
    } else {
        RpcError::null("slot", "slots")
    })
}

/// Returns why two widgets, or a port, of which something is `null` are neither joined nor parted.
async fn null_pair(
    inventory: &Inventory,
    kind: OperationKind,
    pair: NullPair,
) -> Result<RpcError, CallError> {
    for serial in [&pair.first, &pair.second] {
        let there = match serial {
            Some(serial) => inventory.is_there(serial).await?,
            None => false,
        };
        if !there {
            let serial = serial.clone().unwrap_or_else(|| "<NULL>".into());
            return Ok(CallError::from(Refusal::Unknown(serial)).into());
        }
    }
    let name = |serial: Option<Arc<str>>| serial.unwrap_or_default();
    let (first, second) = (name(pair.first), name(pair.second));
    // Both are there, so that it is the port.
    Ok(RpcError::raised(match kind {
        OperationKind::Disassociate => format!(
            "Widgets with serial numbers {first} and {second} are not associated on port <NULL>"
        ),
        _ => format!(
            "Widget with serial number {first} does not not have available slots on port <NULL>"
        ),
    }))
}

async fn read(body: Body) -> Result<Bytes, RpcError> {
    timeout(PATIENCE, read_capped(body, BODY))
        .await
        .map_err(|_| {
            RpcError::new(
                StatusCode::REQUEST_TIMEOUT,
                "PGRST102",
                "The body did not arrive in time",
            )
        })?
        .map_err(|error| match error {
            ReadBodyError::TooLarge { .. } => RpcError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "PGRST102",
                "The body is larger than 64 KiB",
            ),
            ReadBodyError::Broken(_) => RpcError::unreadable(),
        })
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
