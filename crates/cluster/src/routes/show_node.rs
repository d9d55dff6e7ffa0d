//! `GET /api/v1/nodes/{node}`.

use axum::extract::State;
use identity::Admin;
use web::{JsonBody, PathParam, Problem};

use super::body::NodeDetailBody;
use crate::registry::Registry;

/// Shows a node with its models, when it was last heard of and why the last probe failed.
#[utoipa::path(get, path = "/api/v1/nodes/{node}", operation_id = "show_node", tag = "nodes", security(("bearer" = [])),
    params(("node" = String, Path, description = "The node's id or name.")),
    responses(
        (status = 200, description = "The node.", body = NodeDetailBody),
        (status = 404, description = "There is no such node.", body = Problem),
    ))]
pub(super) async fn show_node(
    _: Admin,
    State(registry): State<Registry>,
    PathParam(node): PathParam<String>,
) -> Result<JsonBody<NodeDetailBody>, Problem> {
    let node = registry.load_node(&node)?;
    Ok(JsonBody(NodeDetailBody::from(&*node)))
}
