//! `GET /api/v1/me`.

use primitives::OrgId;
use serde::Serialize;
use utoipa::ToSchema;
use web::{JsonBody, Problem};

use crate::extract::Caller;
use crate::model::Role;
use crate::permission::Permission;

/// The caller as the gateway knows them.
#[derive(Serialize, ToSchema)]
pub(crate) struct MeBody {
    /// By what the caller is known: `anonymous`, `key` or `user`.
    #[schema(example = "user")]
    kind: &'static str,
    /// The id of the key or the person; absent for anonymous callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The key's or the person's name.
    name: String,
    /// The caller's organisation.
    #[schema(value_type = String, format = Uuid)]
    org_id: OrgId,
    /// What the caller may do in it.
    role: Role,
    /// What the caller may do within it, in small pieces.
    permissions: Vec<Permission>,
    /// Whether the caller administers the platform: nodes, models and all organisations.
    platform_admin: bool,
    /// The models the caller may use; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<String>>,
}

/// Shows who calls
#[utoipa::path(
    get,
    path = "/api/v1/me",
    operation_id = "show_me",
    tag = "identity",
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The caller.", body = MeBody),
        (status = 401, description = "No valid credential was presented.", body = Problem),
    )
)]
pub(crate) async fn show_me(caller: Caller) -> JsonBody<MeBody> {
    let principal = caller.principal();
    JsonBody(MeBody {
        kind: principal.kind.as_str(),
        id: principal.id(),
        name: principal.name.to_string(),
        org_id: principal.org,
        role: principal.role,
        permissions: principal.permissions.iter().collect(),
        platform_admin: principal.is_platform_admin(),
        models: principal.models.as_deref().map(<[String]>::to_vec),
    })
}
