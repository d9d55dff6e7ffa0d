//! `DELETE /api/v1/nodes/{node}`.

use axum::extract::State;
use http::StatusCode;
use identity::Admin;
use web::{PathParam, Problem};

use crate::registry::Registry;

/// Removes a node. Requests in flight there finish.
#[utoipa::path(delete, path = "/api/v1/nodes/{node}", operation_id = "remove_node", tag = "nodes", security(("bearer" = [])),
    params(("node" = String, Path, description = "The node's id or name.")),
    responses(
        (status = 204, description = "The node is removed."),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such node.", body = Problem),
        (status = 409, description = "The node stands in the configuration file.", body = Problem),
    ))]
pub(super) async fn remove_node(
    admin: Admin,
    State(registry): State<Registry>,
    PathParam(node): PathParam<String>,
) -> Result<StatusCode, Problem> {
    registry.remove_node(&node, &admin.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
