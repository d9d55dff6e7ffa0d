//! `PUT /api/v1/nodes/{node}`.

use axum::extract::State;
use identity::Admin;
use web::{JsonBody, PathParam, Problem};

use super::body::ChangedNodeBody;
use crate::registry::Registry;
use crate::spec::NodeEdit;

/// Changes a node. Fields that are absent stay as they are; `null` takes a value away.
#[utoipa::path(put, path = "/api/v1/nodes/{node}", operation_id = "edit_node", tag = "nodes", security(("bearer" = [])),
    params(("node" = String, Path, description = "The node's id or name.")),
    request_body = NodeEdit,
    responses(
        (status = 200, description = "The node as it is now.", body = ChangedNodeBody),
        (status = 409, description = "The node stands in the configuration file, or the name or address is taken.", body = Problem),
        (status = "4XX", description = "The change is not valid, or there is no such node.", body = Problem),
    ))]
pub(super) async fn edit_node(
    _: Admin,
    State(registry): State<Registry>,
    PathParam(node): PathParam<String>,
    JsonBody(edit): JsonBody<NodeEdit>,
) -> Result<JsonBody<ChangedNodeBody>, Problem> {
    let edited = registry.edit_node(&node, edit).await?;
    Ok(JsonBody(ChangedNodeBody::new(&edited.node, edited.warning)))
}
