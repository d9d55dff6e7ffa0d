//! `POST /api/v1/nodes`.

use axum::extract::State;
use http::StatusCode;
use identity::Admin;
use web::{JsonBody, Problem};

use super::body::ChangedNodeBody;
use crate::registry::Registry;
use crate::spec::NodeSpec;

/// Adds a node. Its address is asked first: the answer tells what was found there. A server that does not answer yet is added
/// with a warning; something that is no usable model server is refused with the reason.
#[utoipa::path(post, path = "/api/v1/nodes", operation_id = "add_node", tag = "nodes", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = NodeSpec,
    responses(
        (status = 201, description = "The node, with what was found at its address.", body = ChangedNodeBody),
        (status = 400, description = "The description is not valid, or the address is no model server.", body = Problem),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 409, description = "The name or the address is taken, or there are too many nodes.", body = Problem),
    ))]
pub(super) async fn add_node(
    admin: Admin,
    State(registry): State<Registry>,
    JsonBody(spec): JsonBody<NodeSpec>,
) -> Result<(StatusCode, JsonBody<ChangedNodeBody>), Problem> {
    let added = registry.add_node(spec, &admin.actor()).await?;
    let body = ChangedNodeBody::new(&added.node, added.warning);
    Ok((StatusCode::CREATED, JsonBody(body)))
}
