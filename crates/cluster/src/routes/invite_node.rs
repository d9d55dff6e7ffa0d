//! `POST /api/v1/nodes/invite`.

use axum::extract::State;
use http::StatusCode;
use identity::Admin;
use primitives::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{JsonBody, Problem};

use crate::registry::Registry;

/// Whom to invite.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InviteNodeBody {
    /// The name of the node that the machine will be: 1 to 64 letters, digits, `.`, `_` or `-`; unique in the fleet.
    #[schema(example = "gpu1", min_length = 1, max_length = 64)]
    name: String,
}

/// An invitation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct InvitedNodeBody {
    /// The name of the node that the machine will be.
    name: String,
    /// What the machine shows to join. Works once, and is not shown again.
    token: String,
    /// Where agents reach this Remuda, where that is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://remuda.lan:11441")]
    url: Option<String>,
    /// The port that it listens on for agents.
    port: u16,
    /// Until when the token works.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Invites a machine to join as a node that is reached through its agent. The token works once, within 15 minutes:
/// `remuda agent --join URL --token TOKEN` on that machine.
#[utoipa::path(post, path = "/api/v1/nodes/invite", operation_id = "invite_node", tag = "nodes", security(("bearer" = [])),
    request_body = InviteNodeBody,
    responses(
        (status = 201, description = "The invitation.", body = InvitedNodeBody),
        (status = 400, description = "The name is not valid.", body = Problem),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 409, description = "The name is taken, or this Remuda does not listen for agents.", body = Problem),
        (status = 429, description = "Too many invitations stand.", body = Problem),
    ))]
pub(super) async fn invite_node(
    admin: Admin,
    State(registry): State<Registry>,
    JsonBody(body): JsonBody<InviteNodeBody>,
) -> Result<(StatusCode, JsonBody<InvitedNodeBody>), Problem> {
    let invited = registry.invite_agent(&body.name, &admin.actor()).await?;
    let agents = registry.inner.agents_config();
    let body = InvitedNodeBody {
        name: invited.name,
        token: invited.invitation.to_string(),
        url: agents.url.clone(),
        port: agents
            .listen
            .map(|listen| listen.port())
            .unwrap_or_default(),
        expires_at: invited.expires_at,
    };
    Ok((StatusCode::CREATED, JsonBody(body)))
}
