//! `GET` and `PUT /api/v1/nodes/{id}/hardware`: what a node is made of.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{JsonBody, PathParam, Problem};

use super::caller::{Reader, Recorded};
use crate::hardware::HardwareBody;
use crate::surface::Inventory;

/// What a node is made of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PartsBody {
    /// The serial numbers of its parts, in place of those before.
    #[schema(max_items = 1000)]
    parts: Vec<String>,
}

/// Shows what a node is made of
#[utoipa::path(get, path = "/api/v1/nodes/{id}/hardware", operation_id = "show_hardware", tag = "inventory",
    params(("id" = String, Path, description = "The node's id.")), security(("bearer" = [])),
    responses((status = 200, description = "Its parts.", body = HardwareBody),
        (status = 404, description = "There is no such node.", body = Problem)))]
pub(super) async fn show_hardware(
    _: Reader,
    State(inventory): State<Inventory>,
    PathParam(id): PathParam<String>,
) -> Result<JsonBody<HardwareBody>, Problem> {
    Ok(JsonBody(inventory.hardware(&id).await?))
}

/// Says what a node is made of
#[utoipa::path(put, path = "/api/v1/nodes/{id}/hardware", operation_id = "set_hardware", tag = "inventory",
    params(("id" = String, Path, description = "The node's id.")), security(("bearer" = [])),
    request_body = PartsBody,
    responses((status = 200, description = "Its parts now.", body = HardwareBody),
        (status = 404, description = "There is no such node, or no such widget.", body = Problem)))]
pub(super) async fn set_hardware(
    Recorded(by): Recorded,
    State(inventory): State<Inventory>,
    PathParam(id): PathParam<String>,
    body: JsonBody<PartsBody>,
) -> Result<JsonBody<HardwareBody>, Problem> {
    let JsonBody(body) = body;
    let hardware = inventory.set_hardware(&id, body.parts, &by).await?;
    Ok(JsonBody(hardware))
}
