//! `GET` and `POST /api/v1/roles`, `GET`, `PATCH` and `DELETE /api/v1/roles/{name}`.

use axum::extract::State;
use http::StatusCode;
use primitives::{OrgId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{IfMatch, JsonBody, PathParam, Problem, QueryParams, SMALL_BODY, Tagged};

use crate::extract::{Allowed, ManageRoles, ReadUsers};
use crate::identity::Identity;
use crate::model::Role;
use crate::permission::{Permission, Permissions};
use crate::roles::{CustomRole, RoleEdit};

/// Whose roles.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolesQuery {
    /// The organisation; the caller's own when absent.
    #[param(value_type = Option<String>, format = Uuid)]
    org_id: Option<OrgId>,
}

/// A new role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateRoleBody {
    /// Its name: lower-case letters, digits or `-` `_`; none of `admin`, `operator`, `user`, `viewer`.
    #[schema(min_length = 1, max_length = 50, example = "key-keeper")]
    name: String,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 200)]
    description: Option<String>,
    /// What who has it may do. Nobody gives what they do not have.
    #[schema(max_items = 20)]
    permissions: Vec<Permission>,
    /// The organisation; the caller's own when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    org_id: Option<OrgId>,
}

/// What to change of a role. What is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditRoleBody {
    /// What it is for; an empty text removes it.
    #[serde(default)]
    #[schema(max_length = 200)]
    description: Option<String>,
    /// What who has it may do, in place of all the present ones.
    #[serde(default)]
    #[schema(max_items = 20)]
    permissions: Option<Vec<Permission>>,
}

/// A role.
#[derive(Serialize, ToSchema)]
pub(crate) struct RoleBody {
    /// Its name.
    #[schema(example = "key-keeper")]
    name: String,
    /// Whether every organisation has it; such roles cannot be changed.
    built_in: bool,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// What who has it may do within the organisation.
    permissions: Vec<Permission>,
    /// Whose it is; absent for built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    org_id: Option<OrgId>,
    /// When it was made; absent for built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
}

/// The roles of an organisation.
#[derive(Serialize, ToSchema)]
pub(crate) struct RolesBody {
    /// The built-in ones first.
    items: Vec<RoleBody>,
}

impl From<CustomRole> for RoleBody {
    fn from(role: CustomRole) -> Self {
        Self {
            name: role.name,
            built_in: false,
            description: role.description,
            permissions: role.permissions.iter().collect(),
            org_id: Some(role.org_id),
            created_at: Some(role.created_at),
        }
    }
}

impl From<Role> for RoleBody {
    fn from(role: Role) -> Self {
        Self {
            name: role.as_str().to_owned(),
            built_in: true,
            description: None,
            permissions: role.permissions().iter().collect(),
            org_id: None,
            created_at: None,
        }
    }
}

/// Lists roles
///
/// The built-in ones, and those of the organisation's own.
#[utoipa::path(
    get,
    path = "/api/v1/roles",
    operation_id = "list_roles",
    tag = "identity",
    security(("bearer" = [])),
    params(RolesQuery),
    responses(
        (status = 200, description = "The roles.", body = RolesBody),
        (status = 400, description = "A parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not permitted.", body = Problem),
        (status = 404, description = "There is no such organisation.", body = Problem),
    )
)]
pub(crate) async fn list_roles(
    caller: Allowed<ReadUsers>,
    State(identity): State<Identity>,
    query: QueryParams<RolesQuery>,
) -> Result<JsonBody<RolesBody>, Problem> {
    let QueryParams(query) = query;
    let own = identity.list_roles(&caller, query.org_id).await?;
    let items = Role::ALL
        .into_iter()
        .map(RoleBody::from)
        .chain(own.into_iter().map(RoleBody::from))
        .collect();
    Ok(JsonBody(RolesBody { items }))
}

/// Makes a role
#[utoipa::path(
    post,
    path = "/api/v1/roles",
    operation_id = "create_role",
    tag = "identity",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = CreateRoleBody,
    responses(
        (status = 201, description = "The role can be given.", body = RoleBody),
        (status = 400, description = "The name, the description or a permission cannot be used.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not permitted, or it would give more than the caller has.", body = Problem),
        (status = 404, description = "There is no such organisation.", body = Problem),
        (status = 409, description = "The name is taken, or there are too many roles.", body = Problem),
    )
)]
pub(crate) async fn create_role(
    caller: Allowed<ManageRoles>,
    State(identity): State<Identity>,
    body: JsonBody<CreateRoleBody, SMALL_BODY>,
) -> Result<(StatusCode, JsonBody<RoleBody>), Problem> {
    let JsonBody(body) = body;
    let edit = RoleEdit {
        description: body.description,
        permissions: Some(Permissions::of(body.permissions)),
    };
    let role = identity
        .create_role(&caller, body.org_id, &body.name, edit)
        .await?;
    Ok((StatusCode::CREATED, JsonBody(role.into())))
}

/// Shows a role of the organisation's own
#[utoipa::path(
    get,
    path = "/api/v1/roles/{name}",
    operation_id = "show_role",
    tag = "identity",
    security(("bearer" = [])),
    params(("name" = String, Path, description = "The role's name."), RolesQuery),
    responses(
        (status = 200, description = "The role.", body = RoleBody, headers(("ETag" = String, description = "Its version."))),
        (status = 400, description = "A parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not permitted.", body = Problem),
        (status = 404, description = "There is no such role.", body = Problem),
    )
)]
pub(crate) async fn show_role(
    caller: Allowed<ReadUsers>,
    State(identity): State<Identity>,
    name: PathParam<String>,
    query: QueryParams<RolesQuery>,
) -> Result<Tagged<JsonBody<RoleBody>>, Problem> {
    let (PathParam(name), QueryParams(query)) = (name, query);
    let role = identity.load_role(&caller, query.org_id, &name).await?;
    Ok(Tagged(role.version(), JsonBody(role.into())))
}

/// Changes a role
///
/// Takes effect for everybody who has it before the answer is sent, and on every other replica within a second.
#[utoipa::path(
    patch,
    path = "/api/v1/roles/{name}",
    operation_id = "edit_role",
    tag = "identity",
    security(("bearer" = [])),
    params(
        ("name" = String, Path, description = "The role's name."),
        RolesQuery,
        ("If-Match" = Option<String>, Header),
    ),
    request_body = EditRoleBody,
    responses(
        (status = 200, description = "The role as it is now.", body = RoleBody, headers(("ETag" = String, description = "Its version."))),
        (status = 400, description = "The description or a permission cannot be used.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not permitted, or it gives more than the caller has.", body = Problem),
        (status = 404, description = "There is no such role.", body = Problem),
    )
)]
pub(crate) async fn edit_role(
    caller: Allowed<ManageRoles>,
    State(identity): State<Identity>,
    name: PathParam<String>,
    query: QueryParams<RolesQuery>,
    expected: IfMatch,
    body: JsonBody<EditRoleBody, SMALL_BODY>,
) -> Result<Tagged<JsonBody<RoleBody>>, Problem> {
    let (PathParam(name), QueryParams(query), JsonBody(body)) = (name, query, body);
    let edit = RoleEdit {
        description: body.description,
        permissions: body.permissions.map(Permissions::of),
    };
    let role = identity
        .edit_role(&caller, query.org_id, &name, edit, &expected)
        .await?;
    Ok(Tagged(role.version(), JsonBody(role.into())))
}

/// Removes a role
#[utoipa::path(
    delete,
    path = "/api/v1/roles/{name}",
    operation_id = "delete_role",
    tag = "identity",
    security(("bearer" = [])),
    params(("name" = String, Path, description = "The role's name."), RolesQuery),
    responses(
        (status = 204, description = "The role is gone."),
        (status = 400, description = "A parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not permitted, or it gives more than the caller has.", body = Problem),
        (status = 404, description = "There is no such role.", body = Problem),
        (status = 409, description = "People have it.", body = Problem),
    )
)]
pub(crate) async fn delete_role(
    caller: Allowed<ManageRoles>,
    State(identity): State<Identity>,
    name: PathParam<String>,
    query: QueryParams<RolesQuery>,
) -> Result<StatusCode, Problem> {
    let (PathParam(name), QueryParams(query)) = (name, query);
    identity.delete_role(&caller, query.org_id, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
