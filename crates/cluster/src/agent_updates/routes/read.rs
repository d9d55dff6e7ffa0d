//! `GET /api/v1/agent-rollouts` and `/api/v1/agent-rollouts/{rollout}`.

use axum::extract::State;
use identity::Admin;
use primitives::PageRequest;
use serde::Deserialize;
use utoipa::IntoParams;
use web::{JsonBody, PageBody, PathParam, Problem, QueryParams, Tagged, page_limit, page_offset};

use super::super::AgentUpdates;
use super::body::AgentRolloutBody;

/// Which roll-outs to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentRolloutsQuery {
    /// Items on the page, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Items to leave out at the start.
    #[serde(default, deserialize_with = "page_offset")]
    #[param(minimum = 0, maximum = 100_000)]
    offset: Option<u32>,
}

/// Lists roll-outs to agents, the newest first
#[utoipa::path(get, path = "/api/v1/agent-rollouts", operation_id = "list_agent_rollouts", tag = "nodes",
    params(AgentRolloutsQuery), security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of roll-outs.", body = PageBody<AgentRolloutBody>),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn list_agent_rollouts(
    _: Admin,
    State(updates): State<AgentUpdates>,
    QueryParams(query): QueryParams<AgentRolloutsQuery>,
) -> Result<JsonBody<PageBody<AgentRolloutBody>>, Problem> {
    let page = PageRequest {
        limit: query.limit,
        cursor: query.cursor,
        offset: query.offset,
    };
    let found = updates.list(&page).await?;
    Ok(JsonBody(PageBody::from(found).map(AgentRolloutBody::from)))
}

/// Shows a roll-out to agents: its stage, how each agent stands, and what it waits for
#[utoipa::path(get, path = "/api/v1/agent-rollouts/{rollout}", operation_id = "show_agent_rollout", tag = "nodes",
    params(("rollout" = String, Path, description = "Its id, or `latest` for the newest one.")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The roll-out.", body = AgentRolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such roll-out.", body = Problem),
    ))]
pub(super) async fn show_agent_rollout(
    _: Admin,
    State(updates): State<AgentUpdates>,
    PathParam(rollout): PathParam<String>,
) -> Result<Tagged<JsonBody<AgentRolloutBody>>, Problem> {
    let looked = updates.find(&rollout).await?;
    Ok(Tagged(looked.rollout.etag(), JsonBody(looked.into())))
}
