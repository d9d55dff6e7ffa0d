//! `POST /api/v1/rollouts/{rollout}/promote`, `pause`, `resume`, `abort` and `close`.

use axum::extract::State;
use identity::Admin;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{IfMatch, JsonBody, PathParam, Problem, Tagged};

use super::super::Rollouts;
use super::super::operations::Step;
use super::body::RolloutBody;
use super::by;

/// How far to push a roll-out on.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PromoteRequest {
    /// Whether to go to the last stage at once.
    #[serde(default)]
    all: bool,
}

type Answer = Result<Tagged<JsonBody<RolloutBody>>, Problem>;

async fn step(
    admin: &Admin,
    rollouts: &Rollouts,
    (named, step): (&str, Step),
    expected: &IfMatch,
) -> Answer {
    let looked = rollouts.step(named, step, expected, &by(admin)).await?;
    let version = looked.rollout.etag();
    let body = RolloutBody::new(looked, rollouts);
    Ok(Tagged(version, JsonBody(body)))
}

/// Pushes a roll-out on to its next stage, whatever was seen in the present one
///
/// In the last stage it is done then. It is still taken back by itself where the new version fails.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/promote", operation_id = "promote_rollout", tag = "models",
    params(
        ("rollout" = String, Path, description = "Its id, or the model's name for the newest one of it; `/` is written as `%2F`."),
        ("If-Match" = Option<String>, Header),
    ),
    request_body = PromoteRequest, security(("bearer" = [])),
    responses(
        (status = 200, description = "It is in its next stage.", body = RolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such roll-out.", body = Problem),
        (status = 409, description = "It has ended, or no node has the new version.", body = Problem),
    ))]
pub(super) async fn promote_rollout(
    admin: Admin,
    State(rollouts): State<Rollouts>,
    PathParam(rollout): PathParam<String>,
    expected: IfMatch,
    JsonBody(request): JsonBody<PromoteRequest>,
) -> Answer {
    let chosen = if request.all {
        Step::PromoteToAll
    } else {
        Step::Promote
    };
    step(&admin, &rollouts, (&rollout, chosen), &expected).await
}

/// Keeps a roll-out in its stage until it is resumed
///
/// It is still taken back by itself where the new version fails.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/pause", operation_id = "pause_rollout", tag = "models",
    params(
        ("rollout" = String, Path, description = "Its id, or the model's name for the newest one of it; `/` is written as `%2F`."),
        ("If-Match" = Option<String>, Header),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It is paused.", body = RolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such roll-out.", body = Problem),
        (status = 409, description = "It is paused already, or has ended.", body = Problem),
    ))]
pub(super) async fn pause_rollout(
    admin: Admin,
    State(rollouts): State<Rollouts>,
    PathParam(rollout): PathParam<String>,
    expected: IfMatch,
) -> Answer {
    step(&admin, &rollouts, (&rollout, Step::Pause), &expected).await
}

/// Lets a roll-out that is paused go on
///
/// The time of its stage has gone on meanwhile.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/resume", operation_id = "resume_rollout", tag = "models",
    params(
        ("rollout" = String, Path, description = "Its id, or the model's name for the newest one of it; `/` is written as `%2F`."),
        ("If-Match" = Option<String>, Header),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It goes on.", body = RolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such roll-out.", body = Problem),
        (status = 409, description = "It is not paused.", body = Problem),
    ))]
pub(super) async fn resume_rollout(
    admin: Admin,
    State(rollouts): State<Rollouts>,
    PathParam(rollout): PathParam<String>,
    expected: IfMatch,
) -> Answer {
    step(&admin, &rollouts, (&rollout, Step::Resume), &expected).await
}

/// Takes a roll-out back: all callers get the old version at once
///
/// Nothing is deleted.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/abort", operation_id = "abort_rollout", tag = "models",
    params(
        ("rollout" = String, Path, description = "Its id, or the model's name for the newest one of it; `/` is written as `%2F`."),
        ("If-Match" = Option<String>, Header),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It is taken back.", body = RolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such roll-out.", body = Problem),
        (status = 409, description = "It has ended.", body = Problem),
    ))]
pub(super) async fn abort_rollout(
    admin: Admin,
    State(rollouts): State<Rollouts>,
    PathParam(rollout): PathParam<String>,
    expected: IfMatch,
) -> Answer {
    step(&admin, &rollouts, (&rollout, Step::Abort), &expected).await
}

/// Has a roll-out that has ended decide no more: callers get what they ask for, or what the configuration says
///
/// After one that is done, say first in the configuration that the name stands for the new version.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/close", operation_id = "close_rollout", tag = "models",
    params(
        ("rollout" = String, Path, description = "Its id, or the model's name for the newest one of it; `/` is written as `%2F`."),
        ("If-Match" = Option<String>, Header),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It decides nothing any more.", body = RolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such roll-out.", body = Problem),
        (status = 409, description = "It is under way, or decides nothing.", body = Problem),
    ))]
pub(super) async fn close_rollout(
    admin: Admin,
    State(rollouts): State<Rollouts>,
    PathParam(rollout): PathParam<String>,
    expected: IfMatch,
) -> Answer {
    step(&admin, &rollouts, (&rollout, Step::Close), &expected).await
}
