//! `GET /api/v1/placement/actions` and `POST /api/v1/placement/actions/{id}/cancel`.

use axum::extract::State;
use identity::Admin;
use primitives::PageRequest;
use serde::Deserialize;
use utoipa::IntoParams;
use web::{JsonBody, PageBody, PathParam, Problem, QueryParams, page_limit, page_offset};

use super::super::Placement;
use super::super::action::Status;
use super::super::store::ActionFilter;
use super::body::PlacementActionBody;
use crate::name::model_key;

/// Which actions to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ActionsQuery {
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
    /// Only those that have come so far.
    #[param(inline)]
    status: Option<Status>,
    /// Only those with this model.
    model: Option<String>,
}

/// Lists what is done about the plan, and was, the newest first
#[utoipa::path(get, path = "/api/v1/placement/actions", operation_id = "list_placement_actions", tag = "models",
    params(ActionsQuery), security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of actions.", body = PageBody<PlacementActionBody>),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn list_placement_actions(
    _: Admin,
    State(placement): State<Placement>,
    QueryParams(query): QueryParams<ActionsQuery>,
) -> Result<JsonBody<PageBody<PlacementActionBody>>, Problem> {
    let filter = ActionFilter {
        status: query.status,
        model: query.model.map(|model| model_key(&model).into_owned()),
    };
    let page = PageRequest {
        limit: query.limit,
        cursor: query.cursor,
        offset: query.offset,
    };
    let found = placement.list_actions(&filter, &page).await?;
    Ok(JsonBody(
        PageBody::from(found).map(PlacementActionBody::from),
    ))
}

/// Calls an action off, also while it is carried out
///
/// What a node has fetched until then stays with it, and fetching goes on from there should it be planned again.
#[utoipa::path(post, path = "/api/v1/placement/actions/{id}/cancel", operation_id = "cancel_placement_action", tag = "models",
    params(("id" = String, Path, description = "The action's id.")), security(("bearer" = [])),
    responses(
        (status = 200, description = "It is called off.", body = PlacementActionBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such action.", body = Problem),
        (status = 409, description = "It has ended.", body = Problem),
    ))]
pub(super) async fn cancel_placement_action(
    admin: Admin,
    State(placement): State<Placement>,
    PathParam(id): PathParam<String>,
) -> Result<JsonBody<PlacementActionBody>, Problem> {
    let cancelled = placement.cancel(&id, &admin.actor()).await?;
    Ok(JsonBody(cancelled.into()))
}
