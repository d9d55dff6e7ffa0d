//! `POST /api/v1/nodes/{node}/drain` and its opposite.

use axum::extract::State;
use identity::Admin;
use web::{JsonBody, PathParam, Problem};

use super::body::NodeBody;
use crate::registry::Registry;

/// Lets a node finish what it has and gives it nothing new. Also for nodes of the configuration file; lasts until undone.
#[utoipa::path(post, path = "/api/v1/nodes/{node}/drain", operation_id = "drain_node", tag = "nodes", security(("bearer" = [])),
    params(("node" = String, Path, description = "The node's id or name.")),
    responses(
        (status = 200, description = "The node, draining. `in_flight` tells what it still has.", body = NodeBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such node.", body = Problem),
        (status = 409, description = "The node is the embedded engine.", body = Problem),
    ))]
pub(super) async fn drain_node(
    admin: Admin,
    State(registry): State<Registry>,
    PathParam(node): PathParam<String>,
) -> Result<JsonBody<NodeBody>, Problem> {
    let node = registry.drain_node_by(&node, &admin.actor()).await?;
    Ok(JsonBody(NodeBody::from(&*node)))
}

/// Gives a drained node new work again.
#[utoipa::path(post, path = "/api/v1/nodes/{node}/undrain", operation_id = "undrain_node", tag = "nodes", security(("bearer" = [])),
    params(("node" = String, Path, description = "The node's id or name.")),
    responses(
        (status = 200, description = "The node.", body = NodeBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such node.", body = Problem),
        (status = 409, description = "The node is the embedded engine.", body = Problem),
    ))]
pub(super) async fn undrain_node(
    admin: Admin,
    State(registry): State<Registry>,
    PathParam(node): PathParam<String>,
) -> Result<JsonBody<NodeBody>, Problem> {
    let node = registry.undrain_node(&node, &admin.actor()).await?;
    Ok(JsonBody(NodeBody::from(&*node)))
}
