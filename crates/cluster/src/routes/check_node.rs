//! `POST /api/v1/nodes/check`.

use axum::extract::State;
use identity::Admin;
use serde::Serialize;
use utoipa::ToSchema;
use web::{JsonBody, Problem};

use super::body::NodeModelBody;
use crate::model::{NodeKind, ServerFlavour};
use crate::registry::{CheckedNode, Registry};
use crate::spec::NodeAddress;

/// What stands at an address.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CheckedNodeBody {
    /// The address as it would be kept.
    #[schema(example = "http://10.0.0.7:11434")]
    url: String,
    /// Which API it speaks; `unknown` where nothing answers.
    kind: NodeKind,
    /// Which program answers there.
    server: ServerFlavour,
    /// The program's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Requests it works on at the same time, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<u32>,
    /// Its models, by name.
    models: Vec<NodeModelBody>,
    /// The node of the fleet that has this address already.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_as: Option<String>,
    /// Why nothing was found there. It could be added all the same, and would be used as soon as it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

impl From<CheckedNode> for CheckedNodeBody {
    fn from(checked: CheckedNode) -> Self {
        Self {
            url: checked.url.to_string(),
            kind: checked.kind,
            server: checked.server,
            version: checked.version.as_deref().map(str::to_owned),
            slots: checked.slots,
            models: checked.models.iter().map(NodeModelBody::from).collect(),
            known_as: checked.known_as.as_deref().map(str::to_owned),
            warning: checked.warning,
        }
    }
}

/// Asks what answers at an address, and changes nothing. Something that is no usable model server is refused with the reason.
#[utoipa::path(post, path = "/api/v1/nodes/check", operation_id = "check_node", tag = "nodes", security(("bearer" = [])),
    request_body = NodeAddress,
    responses(
        (status = 200, description = "What was found there, or why nothing was.", body = CheckedNodeBody),
        (status = 400, description = "The address is not valid, or is no model server.", body = Problem),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn check_node(
    _: Admin,
    State(registry): State<Registry>,
    JsonBody(address): JsonBody<NodeAddress>,
) -> Result<JsonBody<CheckedNodeBody>, Problem> {
    Ok(JsonBody(registry.check_node(address).await?.into()))
}
