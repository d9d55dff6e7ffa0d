//! `GET /api/v1/rollouts` and `/api/v1/rollouts/{rollout}`.

use axum::extract::State;
use identity::Admin;
use primitives::PageRequest;
use serde::Deserialize;
use utoipa::IntoParams;
use web::{JsonBody, PageBody, PathParam, Problem, QueryParams, Tagged, page_limit, page_offset};

use super::super::Rollouts;
use super::body::RolloutBody;
use crate::name::model_key;

/// Which roll-outs to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct RolloutsQuery {
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
    /// Only those of this model.
    model: Option<String>,
}

/// Lists roll-outs, the newest first
#[utoipa::path(get, path = "/api/v1/rollouts", operation_id = "list_rollouts", tag = "models",
    params(RolloutsQuery), security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of roll-outs.", body = PageBody<RolloutBody>),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn list_rollouts(
    _: Admin,
    State(rollouts): State<Rollouts>,
    QueryParams(query): QueryParams<RolloutsQuery>,
) -> Result<JsonBody<PageBody<RolloutBody>>, Problem> {
    let page = PageRequest {
        limit: query.limit,
        cursor: query.cursor,
        offset: query.offset,
    };
    let model = query.model.map(|model| model_key(&model).into_owned());
    let found = rollouts.list(model.as_deref(), &page).await?;
    let body = |looked| RolloutBody::new(looked, &rollouts);
    Ok(JsonBody(PageBody::from(found).map(body)))
}

/// Shows a roll-out: its stage, what was seen of both versions in it, and what it waits for
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}", operation_id = "show_rollout", tag = "models",
    params(("rollout" = String, Path, description = "Its id, or the model's name for the newest one of it; `/` is written as `%2F`.")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The roll-out.", body = RolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such roll-out.", body = Problem),
    ))]
pub(super) async fn show_rollout(
    _: Admin,
    State(rollouts): State<Rollouts>,
    PathParam(rollout): PathParam<String>,
) -> Result<Tagged<JsonBody<RolloutBody>>, Problem> {
    let looked = rollouts.find(&rollout).await?;
    let version = looked.rollout.etag();
    let body = RolloutBody::new(looked, &rollouts);
    Ok(Tagged(version, JsonBody(body)))
}
