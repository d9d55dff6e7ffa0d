//! `GET /api/v1/statistics/requests`.

use axum::extract::State;
use identity::Admin;
use primitives::Timestamp;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{JsonBody, Problem, QueryParams};

use super::times::time;
use crate::request_statistics::{StatisticsQuery, StatisticsRow};
use crate::span::Span;
use crate::surface::Fleet;

/// What to count, and what to tell apart.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatisticsParams {
    /// What is counted together: `hour`, `day` (unless given) or `week`, in UTC.
    #[param(value_type = Option<String>, example = "day")]
    span: Option<Span>,
    /// What is told apart: any of `model`, `node` and `operation`, with commas between; nothing unless given.
    #[serde(default, deserialize_with = "parts")]
    #[param(value_type = Option<String>, example = "model,node")]
    by: Parts,
    /// From the span on that this time (RFC 3339) lies in; the last 48 hours, 30 days or 12 weeks unless given.
    #[serde(default, deserialize_with = "time")]
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before this time (RFC 3339); now unless given.
    #[serde(default, deserialize_with = "time")]
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Only this model, by its normalised name.
    model: Option<String>,
    /// Only this node, by name.
    node: Option<String>,
    /// Only this operation, as request records name them.
    operation: Option<String>,
}

/// What is told apart.
#[derive(Debug, Default)]
struct Parts {
    model: bool,
    node: bool,
    operation: bool,
}

fn parts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Parts, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut parts = Parts::default();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        match part {
            "model" => parts.model = true,
            "node" => parts.node = true,
            "operation" => parts.operation = true,
            _ => {
                return Err(D::Error::custom(
                    "`by` takes model, node and operation, with commas between",
                ));
            }
        }
    }
    Ok(parts)
}

/// What came of requests.
#[derive(Serialize, ToSchema)]
pub(crate) struct RequestStatisticsBody {
    /// One for each time and whatever is told apart, the oldest first; at most 5,000. Times without requests are left out.
    items: Vec<StatisticsRow>,
}

/// Shows what came of requests by the hour, day or week
///
/// Counted from the request records, and kept longer than those. The present hour is some seconds behind, or minutes where it has millions.
#[utoipa::path(get, path = "/api/v1/statistics/requests", operation_id = "show_request_statistics", tag = "inference",
    params(StatisticsParams), security(("bearer" = [])),
    responses(
        (status = 200, description = "The counts.", body = RequestStatisticsBody),
        (status = 400, description = "What is asked for cannot be so, or is too much.", body = Problem),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn show_request_statistics(
    _: Admin,
    State(fleet): State<Fleet>,
    QueryParams(params): QueryParams<StatisticsParams>,
) -> Result<JsonBody<RequestStatisticsBody>, Problem> {
    let query = StatisticsQuery {
        span: params.span.unwrap_or(Span::Day),
        by_model: params.by.model,
        by_node: params.by.node,
        by_operation: params.by.operation,
        since: params.since,
        until: params.until,
        model: params.model,
        node: params.node,
        operation: params.operation,
    };
    let items = fleet.request_statistics(query).await?;
    Ok(JsonBody(RequestStatisticsBody { items }))
}
