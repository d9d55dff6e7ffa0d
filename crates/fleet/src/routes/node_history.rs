//! `GET /api/v1/nodes/{node}/history`.

use std::time::Duration;

use axum::extract::State;
use identity::Admin;
use primitives::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{JsonBody, PathParam, Problem, QueryParams};

use super::times::time;
use crate::history::NodePoint;
use crate::surface::Fleet;

/// The time that is shown unless something else is asked for.
const USUAL: Duration = Duration::from_hours(6);

/// Which time to show.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryParams {
    /// From this time on (RFC 3339); 6 hours before the end unless given.
    #[serde(default, deserialize_with = "time")]
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before this time (RFC 3339); now unless given.
    #[serde(default, deserialize_with = "time")]
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// How a node was.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodeHistoryBody {
    /// How long each point's time is, in seconds: a minute, an hour or a day, or several of them.
    step_seconds: u64,
    /// The points, the oldest first. None stands for times of which nothing is known.
    items: Vec<NodePoint>,
}

/// Shows how a node was: whether it could be used, how busy it was, and its machine
///
/// In about 400 points at most. Machines are told of by agents; the present minute is not there yet.
#[utoipa::path(get, path = "/api/v1/nodes/{node}/history", operation_id = "show_node_history", tag = "nodes", security(("bearer" = [])),
    params(("node" = String, Path, description = "The node's id or name."), HistoryParams),
    responses(
        (status = 200, description = "The history.", body = NodeHistoryBody),
        (status = 400, description = "Not such a time.", body = Problem),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such node.", body = Problem),
    ))]
pub(super) async fn show_node_history(
    _: Admin,
    State(fleet): State<Fleet>,
    PathParam(node): PathParam<String>,
    QueryParams(params): QueryParams<HistoryParams>,
) -> Result<JsonBody<NodeHistoryBody>, Problem> {
    let now = fleet.inner.clock.now();
    let until = params.until.unwrap_or(now);
    let since = params.since.unwrap_or_else(|| until.before(USUAL));
    let (step, items) = fleet.node_history(&node, since, until).await?;
    Ok(JsonBody(NodeHistoryBody {
        step_seconds: step.as_secs(),
        items,
    }))
}
