//! `GET /api/v1/inference/queue`: who waits.

use std::sync::Arc;

use axum::Extension;
use identity::Admin;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{JsonBody, Problem, QueryParams};

use crate::admission::Waiter;
use crate::shared::Shared;

/// The data plane whose queue is shown; comes with every request that the data plane hands over.
#[derive(Clone)]
pub(crate) struct QueueWindow(pub(crate) Arc<Shared>);

/// How much to show.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueQuery {
    /// Requests to show, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "web::page_limit")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// The queue as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueBody {
    /// Requests that wait.
    waiting: usize,
    /// Requests that have their turn: on a node, or between two.
    running: usize,
    /// Those who wait, the first to come first.
    items: Vec<WaitingBody>,
}

/// One request that waits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WaitingBody {
    /// `interactive`, `default` or `batch`.
    class: &'static str,
    /// The organisation's id.
    organisation: String,
    /// The name of the key or person.
    tenant: String,
    /// The model it waits for.
    model: String,
    /// Its position among those who wait for the same, 1 for the next one; an estimate from above.
    position: Option<u32>,
    /// How long it will probably wait still, in milliseconds; absent while nothing moves.
    expected_wait_ms: Option<u64>,
    /// Since when it waits.
    #[schema(value_type = String)]
    since: primitives::Timestamp,
}

/// Lists who waits for a node.
#[utoipa::path(get, path = "/api/v1/inference/queue", operation_id = "show_queue", tag = "inference",
    params(QueueQuery), security(("bearer" = [])),
    responses((status = 200, body = QueueBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub(crate) async fn show_queue(
    _admin: Admin,
    Extension(QueueWindow(shared)): Extension<QueueWindow>,
    query: QueryParams<QueueQuery>,
) -> JsonBody<QueueBody> {
    let limit = query.0.limit.unwrap_or(100) as usize;
    let (waiters, waiting, running) = shared.live.admission.list(limit, shared.clock.monotonic());
    let now = shared.clock.now().as_micros();
    let items = waiters.iter().map(|waiter| shown(waiter, now)).collect();
    JsonBody(QueueBody {
        waiting,
        running,
        items,
    })
}

pub(super) fn shown(waiter: &Waiter, now_us: i64) -> WaitingBody {
    let age = i64::try_from(waiter.age.as_micros()).unwrap_or(i64::MAX);
    let organisation = uuid::Uuid::from_u128(waiter.tenant.organisation);
    WaitingBody {
        class: waiter.class.as_str(),
        organisation: primitives::OrgId::from_uuid(organisation).to_string(),
        tenant: waiter.caller.to_string(),
        model: waiter.model.to_string(),
        position: waiter.place.map(|place| place.position),
        expected_wait_ms: waiter
            .place
            .and_then(|place| Some(place.expected_wait?.as_millis() as u64)),
        since: primitives::Timestamp::from_micros(now_us.saturating_sub(age)),
    }
}
