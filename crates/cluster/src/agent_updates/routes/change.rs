//! `POST /api/v1/agent-rollouts/{rollout}/pause`, `resume` and `abort`.

use axum::extract::State;
use identity::Admin;
use web::{IfMatch, JsonBody, PathParam, Problem, Tagged};

use super::super::AgentUpdates;
use super::super::operations::Step;
use super::body::AgentRolloutBody;
use super::by;

type Answer = Result<Tagged<JsonBody<AgentRolloutBody>>, Problem>;

async fn step(
    admin: &Admin,
    updates: &AgentUpdates,
    (named, step): (&str, Step),
    expected: &IfMatch,
) -> Answer {
    let looked = updates.step(named, step, expected, &by(admin)).await?;
    Ok(Tagged(looked.rollout.etag(), JsonBody(looked.into())))
}

/// Has a roll-out ask no further agents until it is resumed
///
/// Agents that were asked go on.
#[utoipa::path(post, path = "/api/v1/agent-rollouts/{rollout}/pause", operation_id = "pause_agent_rollout", tag = "nodes",
    params(
        ("rollout" = String, Path, description = "Its id, or `latest` for the newest one."),
        ("If-Match" = Option<String>, Header),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It is paused.", body = AgentRolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such roll-out.", body = Problem),
        (status = 409, description = "It is paused already, or has ended.", body = Problem),
    ))]
pub(super) async fn pause_agent_rollout(
    admin: Admin,
    State(updates): State<AgentUpdates>,
    PathParam(rollout): PathParam<String>,
    expected: IfMatch,
) -> Answer {
    step(&admin, &updates, (&rollout, Step::Pause), &expected).await
}

/// Lets a roll-out to agents that is paused go on
#[utoipa::path(post, path = "/api/v1/agent-rollouts/{rollout}/resume", operation_id = "resume_agent_rollout", tag = "nodes",
    params(
        ("rollout" = String, Path, description = "Its id, or `latest` for the newest one."),
        ("If-Match" = Option<String>, Header),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It goes on.", body = AgentRolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such roll-out.", body = Problem),
        (status = 409, description = "It is not paused.", body = Problem),
    ))]
pub(super) async fn resume_agent_rollout(
    admin: Admin,
    State(updates): State<AgentUpdates>,
    PathParam(rollout): PathParam<String>,
    expected: IfMatch,
) -> Answer {
    step(&admin, &updates, (&rollout, Step::Resume), &expected).await
}

/// Ends a roll-out to agents: nobody else is asked
///
/// Agents that have the version keep it, and those that try it go on trying.
#[utoipa::path(post, path = "/api/v1/agent-rollouts/{rollout}/abort", operation_id = "abort_agent_rollout", tag = "nodes",
    params(
        ("rollout" = String, Path, description = "Its id, or `latest` for the newest one."),
        ("If-Match" = Option<String>, Header),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It has ended.", body = AgentRolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such roll-out.", body = Problem),
        (status = 409, description = "It has ended already.", body = Problem),
    ))]
pub(super) async fn abort_agent_rollout(
    admin: Admin,
    State(updates): State<AgentUpdates>,
    PathParam(rollout): PathParam<String>,
    expected: IfMatch,
) -> Answer {
    step(&admin, &updates, (&rollout, Step::Abort), &expected).await
}
