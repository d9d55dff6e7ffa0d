//! `PUT /api/v1/nodes/{node}`.

use axum::extract::State;
use identity::Admin;
use web::{IfMatch, JsonBody, PathParam, Problem, Versioned};

use super::body::ChangedNodeBody;
use crate::registry::Registry;
use crate::spec::NodeEdit;

/// Changes a node. Fields that are absent stay as they are; `null` takes a value away.
#[utoipa::path(put, path = "/api/v1/nodes/{node}", operation_id = "edit_node", tag = "nodes", security(("bearer" = [])),
    params(
        ("node" = String, Path, description = "The node's id or name."),
        ("If-Match" = Option<String>, Header),
    ),
    request_body = NodeEdit,
    responses(
        (status = 200, description = "The node as it is now.", body = ChangedNodeBody, headers(("ETag" = String, description = "Its version."))),
        (status = 400, description = "The change is not valid, or the new address is no model server.", body = Problem),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such node.", body = Problem),
        (status = 409, description = "The node stands in the configuration file, or the name or address is taken.", body = Problem),
    ))]
pub(super) async fn edit_node(
    admin: Admin,
    State(registry): State<Registry>,
    PathParam(node): PathParam<String>,
    expected: IfMatch,
    JsonBody(edit): JsonBody<NodeEdit>,
) -> Result<Versioned<JsonBody<ChangedNodeBody>>, Problem> {
    let edited = registry
        .edit_node(&node, edit, &expected, &admin.actor())
        .await?;
    let version = registry.node_version(edited.node.id);
    let body = ChangedNodeBody::new(&edited.node, edited.warning);
    Ok(Versioned(version, JsonBody(body)))
}
