//! `GET /api/v1/nodes/{node}`.

use axum::extract::State;
use identity::Admin;
use web::{JsonBody, PathParam, Problem, Versioned};

use super::body::NodeDetailBody;
use crate::registry::Registry;

/// Shows a node with its models, when it was last heard of and why the last probe failed.
#[utoipa::path(get, path = "/api/v1/nodes/{node}", operation_id = "show_node", tag = "nodes", security(("bearer" = [])),
    params(("node" = String, Path, description = "The node's id or name.")),
    responses(
        (status = 200, description = "The node.", body = NodeDetailBody, headers(("ETag" = String, description = "The version of what can be changed of it; absent for the embedded engine."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such node.", body = Problem),
    ))]
pub(super) async fn show_node(
    _: Admin,
    State(registry): State<Registry>,
    PathParam(node): PathParam<String>,
) -> Result<Versioned<JsonBody<NodeDetailBody>>, Problem> {
    let node = registry.load_node(&node)?;
    let version = registry.node_version(node.id);
    Ok(Versioned(version, JsonBody(NodeDetailBody::from(&*node))))
}
