//! `/api/v1/placement/policies` and `/api/v1/placement/policies/{model}`.

use axum::extract::State;
use http::StatusCode;
use identity::Admin;
use serde::Serialize;
use utoipa::ToSchema;
use web::{JsonBody, PathParam, Problem};

use super::super::Placement;
use super::body::{PolicyBody, PolicyRequest};

/// What is wanted of all models.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PoliciesBody {
    /// By model.
    items: Vec<PolicyBody>,
}

/// Lists what is wanted of models
#[utoipa::path(get, path = "/api/v1/placement/policies", operation_id = "list_placement_policies", tag = "models",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "All of it: at most 2,000 models.", body = PoliciesBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn list_placement_policies(
    _: Admin,
    State(placement): State<Placement>,
) -> Result<JsonBody<PoliciesBody>, Problem> {
    let found = placement.list_policies().await?;
    let registry = placement.registry();
    let items = found
        .into_iter()
        .map(|policy| PolicyBody::new(policy, registry));
    Ok(JsonBody(PoliciesBody {
        items: items.collect(),
    }))
}

/// Shows what is wanted of a model
#[utoipa::path(get, path = "/api/v1/placement/policies/{model}", operation_id = "show_placement_policy", tag = "models",
    params(("model" = String, Path, description = "The model's name; `/` is written as `%2F`.")), security(("bearer" = [])),
    responses(
        (status = 200, description = "What is wanted.", body = PolicyBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "Nothing is wanted of it.", body = Problem),
    ))]
pub(super) async fn show_placement_policy(
    _: Admin,
    State(placement): State<Placement>,
    PathParam(model): PathParam<String>,
) -> Result<JsonBody<PolicyBody>, Problem> {
    let policy = placement.load_policy(&model).await?;
    Ok(JsonBody(PolicyBody::new(policy, placement.registry())))
}

/// Says what is wanted of a model, in place of what was
///
/// What is to be done for it is then in the plan; with the mode `auto` it is done without asking.
#[utoipa::path(put, path = "/api/v1/placement/policies/{model}", operation_id = "put_placement_policy", tag = "models",
    params(("model" = String, Path, description = "The model's name, as nodes are asked for it; `/` is written as `%2F`.")),
    request_body = PolicyRequest, security(("bearer" = [])),
    responses(
        (status = 200, description = "What is wanted now.", body = PolicyBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "A pinned node is not there.", body = Problem),
        (status = 409, description = "Something is wanted of too many models.", body = Problem),
    ))]
pub(super) async fn put_placement_policy(
    admin: Admin,
    State(placement): State<Placement>,
    PathParam(model): PathParam<String>,
    JsonBody(request): JsonBody<PolicyRequest>,
) -> Result<JsonBody<PolicyBody>, Problem> {
    let mode = request.mode.into();
    let wanted = request.wanted(placement.registry())?;
    let policy = placement
        .put_policy(&model, mode, wanted, &admin.actor())
        .await?;
    Ok(JsonBody(PolicyBody::new(policy, placement.registry())))
}

/// Wants nothing of a model any more
///
/// What is there stays as it is.
#[utoipa::path(delete, path = "/api/v1/placement/policies/{model}", operation_id = "remove_placement_policy", tag = "models",
    params(("model" = String, Path, description = "The model's name; `/` is written as `%2F`.")), security(("bearer" = [])),
    responses(
        (status = 204, description = "Nothing is wanted of it."),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "Nothing was wanted of it.", body = Problem),
    ))]
pub(super) async fn remove_placement_policy(
    admin: Admin,
    State(placement): State<Placement>,
    PathParam(model): PathParam<String>,
) -> Result<StatusCode, Problem> {
    placement.remove_policy(&model, &admin.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
