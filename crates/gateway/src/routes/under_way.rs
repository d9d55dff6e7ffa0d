//! `GET /api/v1/inference/active` and `POST /api/v1/inference/requests/{id}/cancel`: what is under way, and its end from outside.

use axum::Extension;
use dialects::ApiError;
use http::StatusCode;
use identity::Admin;
use primitives::{Classify, ErrorKind, RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{JsonBody, PathParam, Problem, QueryParams};

use super::QueueWindow;
use crate::exchange::clip;
use crate::under_way::{Stop, UnderWay};

/// Why a request could not be cancelled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CancelRequestError {
    #[error("no request {0} is under way")]
    Unknown(String),
    #[error("{}", .0.message)]
    Journal(ApiError),
}

impl Classify for CancelRequestError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::Journal(error) => error.kind,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Unknown(id) => format!(
                "no request {id} is under way: it has ended, see /api/v1/inference/requests/{id}, or another replica serves it"
            ),
            Self::Journal(error) => error.message.clone(),
        }
    }
}

/// Which requests to show.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActiveQuery {
    /// Requests to show, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "web::page_limit")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// Only this model, by its normalised name.
    model: Option<String>,
    /// Only requests at this node, by name.
    node: Option<String>,
}

/// The requests that this process serves now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActiveBody {
    /// How many there are that match, shown or not.
    total: usize,
    /// The earliest first.
    items: Vec<ActiveRequestBody>,
}

/// A request under way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActiveRequestBody {
    /// The id, as the client gets it in `x-request-id`.
    #[schema(value_type = String)]
    id: RequestId,
    /// When it arrived.
    #[schema(value_type = String)]
    received_at: Timestamp,
    /// `queued` (waits for a node), `waiting` (for the first token) or `answering`.
    state: &'static str,
    /// `interactive`, `default` or `batch`.
    class: &'static str,
    /// The organisation's id.
    organisation: String,
    /// The name of the key or person.
    caller: String,
    /// The client's dialect.
    dialect: &'static str,
    /// The operation.
    operation: &'static str,
    /// The model.
    model: String,
    /// The node that was asked last.
    node: Option<String>,
    /// Whether a stream was asked for.
    stream: bool,
    /// Milliseconds that it has waited in the queue so far.
    queue_ms: u64,
    /// Milliseconds since it arrived.
    age_ms: u64,
}

/// Lists the requests under way.
#[utoipa::path(get, path = "/api/v1/inference/active", operation_id = "list_active_requests", tag = "inference",
    params(ActiveQuery), security(("bearer" = [])),
    responses((status = 200, body = ActiveBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub(crate) async fn list_active_requests(
    _admin: Admin,
    Extension(QueueWindow(shared)): Extension<QueueWindow>,
    QueryParams(query): QueryParams<ActiveQuery>,
) -> JsonBody<ActiveBody> {
    let limit = query.limit.unwrap_or(100) as usize;
    let model = query.model.as_deref().map(cluster::model_key);
    let now = (shared.clock.now(), shared.clock.monotonic());
    let mut total = 0;
    let mut items = Vec::new();
    for request in shared.under_way.all() {
        let shown = shown(&request, now);
        if model.as_ref().is_some_and(|model| *model != shown.model)
            || (query.node.is_some() && query.node != shown.node)
        {
            continue;
        }
        total += 1;
        if items.len() < limit {
            items.push(shown);
        }
    }
    JsonBody(ActiveBody { total, items })
}

/// Cancels a request: its node is told to end, and its client hears that an administrator has cancelled it.
#[utoipa::path(post, path = "/api/v1/inference/requests/{id}/cancel", operation_id = "cancel_request", tag = "inference",
    params(("id" = String, Path, description = "The request's id")), security(("bearer" = [])),
    responses((status = 204, description = "It was told to end"), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub(crate) async fn cancel_request(
    admin: Admin,
    Extension(QueueWindow(shared)): Extension<QueueWindow>,
    PathParam(id): PathParam<String>,
) -> Result<StatusCode, Problem> {
    let request = id
        .parse::<RequestId>()
        .ok()
        .and_then(|id| shared.under_way.find(id))
        .ok_or_else(|| CancelRequestError::Unknown(clip(&id, 64)))?;
    shared
        .journal
        .record_cancel(admin.actor(), &request.facts)
        .await
        .map_err(CancelRequestError::Journal)?;
    request.stop(Stop::Administrator);
    Ok(StatusCode::NO_CONTENT)
}

fn shown(
    request: &UnderWay,
    (now, monotonic): (Timestamp, primitives::MonotonicTime),
) -> ActiveRequestBody {
    let facts = &request.facts;
    let standing = request.standing();
    let waits = standing.queued.is_some_and(|queued| queued.waits.is_some());
    let age_us = now
        .as_micros()
        .saturating_sub(facts.received_at.as_micros());
    ActiveRequestBody {
        id: facts.id,
        received_at: facts.received_at,
        state: match (waits, request.has_begun()) {
            (true, _) => "queued",
            (false, false) => "waiting",
            (false, true) => "answering",
        },
        class: facts.class.as_str(),
        organisation: facts.organisation.to_string(),
        caller: facts.caller.to_string(),
        dialect: facts.dialect.as_str(),
        operation: facts.operation,
        model: facts.model.to_string(),
        node: standing.node.map(|node| node.to_string()),
        stream: facts.stream,
        queue_ms: standing
            .queued
            .map_or(0, |queued| queued.time(monotonic).as_millis() as u64),
        age_ms: u64::try_from(age_us / 1_000).unwrap_or(0),
    }
}
