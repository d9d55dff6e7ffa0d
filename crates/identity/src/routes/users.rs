//! `GET` and `POST /api/v1/users`, `GET` and `PATCH /api/v1/users/{id}`.

use axum::extract::State;
use http::StatusCode;
use primitives::{ErrorKind, OrgId, PageRequest, Secret, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{
    IfMatch, JsonBody, PageBody, PathParam, Problem, QueryParams, SMALL_BODY, Tagged, page_limit,
    page_offset, search_text,
};

use crate::extract::{Allowed, ManageUsers, ReadUsers};
use crate::identity::Identity;
use crate::listing::{Listing, Sort};
use crate::model::Role;
use crate::user_list::UserFilter;
use crate::users::{User, UserEdit, UserRequest, WantedRole};

/// Whom to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateUserBody {
    /// The name to sign in with: 1 to 100 letters, digits or `.` `_` `-` `@`.
    #[schema(max_length = 100, example = "ann")]
    username: String,
    /// The first password: at least 8 characters.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 1024)]
    password: Secret<String>,
    /// What they may do in their organisation; `user` when absent.
    #[serde(default)]
    role: Option<Role>,
    /// A role of the organisation's own, in place of `role`.
    #[serde(default)]
    #[schema(max_length = 50)]
    custom_role: Option<String>,
    /// Their organisation; the caller's own when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    org_id: Option<OrgId>,
}

/// What to change of a person. What is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditUserBody {
    /// Another role.
    #[serde(default)]
    role: Option<Role>,
    /// A role of the organisation's own, in place of `role`.
    #[serde(default)]
    #[schema(max_length = 50)]
    custom_role: Option<String>,
    /// Whether they may not sign in. Disabling ends their sessions and stops their keys.
    #[serde(default)]
    disabled: Option<bool>,
    /// Another password, for who has lost theirs. Ends all their sessions.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password, min_length = 8, max_length = 1024)]
    password: Option<Secret<String>>,
}

/// A person.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserBody {
    /// Their id.
    #[schema(value_type = String, format = Uuid)]
    id: UserId,
    /// Their organisation.
    #[schema(value_type = String, format = Uuid)]
    org_id: OrgId,
    /// The name they sign in with.
    username: String,
    /// Where they are reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// What they are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    /// What they may do in their organisation; `viewer` where they have a role of its own.
    role: Role,
    /// The role of the organisation's own that they have: it says what they may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_role: Option<String>,
    /// When they were made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Since when they may not sign in any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    disabled_at: Option<Timestamp>,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            org_id: user.org_id,
            username: user.username,
            email: user.email,
            display_name: user.display_name,
            role: user.role,
            custom_role: user.custom_role,
            created_at: user.created_at,
            disabled_at: user.disabled_at,
        }
    }
}

/// Whom to show.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsersQuery {
    /// Items on the page, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Items to leave out at the start.
    #[serde(default, deserialize_with = "page_offset")]
    #[param(minimum = 0, maximum = 100_000)]
    offset: Option<u32>,
    /// The order; `created_at` when absent.
    #[serde(default)]
    #[param(inline)]
    sort: Sort,
    /// Only what has this in its name; case makes no difference.
    #[serde(default, deserialize_with = "search_text")]
    #[param(max_length = 100)]
    q: Option<String>,
    /// Only what belongs to this organisation; everything that the caller may see when absent.
    #[param(value_type = Option<String>, format = Uuid)]
    org_id: Option<OrgId>,
    /// Only people with this role.
    #[param(inline)]
    role: Option<Role>,
    /// Only those who are disabled, or only those who are not.
    disabled: Option<bool>,
}

impl UsersQuery {
    fn split(self) -> (UserFilter, Listing) {
        let filter = UserFilter {
            org_id: self.org_id,
            role: self.role,
            disabled: self.disabled,
        };
        let listing = Listing {
            page: PageRequest {
                limit: self.limit,
                cursor: self.cursor,
                offset: self.offset,
            },
            sort: self.sort,
            contains: self.q,
        };
        (filter, listing)
    }
}

/// Lists people
///
/// Administrators of the platform see all, others those of their organisation.
#[utoipa::path(
    get,
    path = "/api/v1/users",
    operation_id = "list_users",
    tag = "identity",
    security(("bearer" = [])),
    params(UsersQuery),
    responses(
        (status = 200, description = "A page of people.", body = PageBody<UserBody>),
        (status = 400, description = "The cursor or another parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such organisation.", body = Problem),
    )
)]
pub(crate) async fn list_users(
    admin: Allowed<ReadUsers>,
    State(identity): State<Identity>,
    query: QueryParams<UsersQuery>,
) -> Result<JsonBody<PageBody<UserBody>>, Problem> {
    let QueryParams(query) = query;
    let (filter, listing) = query.split();
    let users = identity.list_users(&admin, filter, &listing).await?;
    Ok(JsonBody(PageBody::from(users).map(UserBody::from)))
}

/// Makes a user
///
/// They can sign in at once with the given password.
#[utoipa::path(
    post,
    path = "/api/v1/users",
    operation_id = "create_user",
    tag = "identity",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = CreateUserBody,
    responses(
        (status = 201, description = "The user exists.", body = UserBody),
        (status = 400, description = "The name or the password cannot be used.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such organisation.", body = Problem),
        (status = 409, description = "The name is taken, or there are too many people.", body = Problem),
    )
)]
pub(crate) async fn create_user(
    admin: Allowed<ManageUsers>,
    State(identity): State<Identity>,
    body: JsonBody<CreateUserBody, SMALL_BODY>,
) -> Result<(StatusCode, JsonBody<UserBody>), Problem> {
    let JsonBody(body) = body;
    let request = UserRequest {
        username: body.username,
        password: body.password,
        role: wanted(body.role, body.custom_role)?.unwrap_or(WantedRole::BuiltIn(Role::User)),
        org_id: body.org_id,
    };
    let user = identity.create_user(&admin, request).await?;
    Ok((StatusCode::CREATED, JsonBody(user.into())))
}

/// Shows a user
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}",
    operation_id = "show_user",
    tag = "identity",
    security(("bearer" = [])),
    params(("id" = String, Path, format = Uuid, description = "The user's id.")),
    responses(
        (status = 200, description = "The user.", body = UserBody, headers(("ETag" = String, description = "Their version."))),
        (status = 400, description = "Not an id.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such user.", body = Problem),
    )
)]
pub(crate) async fn show_user(
    admin: Allowed<ReadUsers>,
    State(identity): State<Identity>,
    id: PathParam<UserId>,
) -> Result<Tagged<JsonBody<UserBody>>, Problem> {
    let PathParam(id) = id;
    let user = identity.load_user(&admin, id).await?;
    Ok(Tagged(user.version(), JsonBody(user.into())))
}

/// Changes a user
///
/// Gives another role or password, disables or enables. Takes effect before the answer is sent. One's own password is changed with
/// `PUT /api/v1/me/password`, and an organisation keeps at least one administrator who can sign in.
#[utoipa::path(
    patch,
    path = "/api/v1/users/{id}",
    operation_id = "edit_user",
    tag = "identity",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, format = Uuid, description = "The user's id."),
        ("If-Match" = Option<String>, Header),
    ),
    request_body = EditUserBody,
    responses(
        (status = 200, description = "The user as they are now.", body = UserBody, headers(("ETag" = String, description = "Their version."))),
        (status = 400, description = "Not an id, or the body is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such user.", body = Problem),
        (status = 409, description = "It is one's own role, state or password, or the last administrator's.", body = Problem),
    )
)]
pub(crate) async fn edit_user(
    admin: Allowed<ManageUsers>,
    State(identity): State<Identity>,
    id: PathParam<UserId>,
    expected: IfMatch,
    body: JsonBody<EditUserBody, SMALL_BODY>,
) -> Result<Tagged<JsonBody<UserBody>>, Problem> {
    let (PathParam(id), JsonBody(body)) = (id, body);
    let edit = UserEdit {
        role: wanted(body.role, body.custom_role)?,
        disabled: body.disabled,
        password: body.password,
    };
    let user = identity.edit_user(&admin, id, edit, &expected).await?;
    Ok(Tagged(user.version(), JsonBody(user.into())))
}

/// Returns the role that somebody shall have, when one is named: a built-in one or one of the organisation's own, not both.
fn wanted(role: Option<Role>, custom: Option<String>) -> Result<Option<WantedRole>, Problem> {
    match (role, custom) {
        (Some(_), Some(_)) => Err(Problem::new(
            ErrorKind::Invalid,
            "`role` and `custom_role` exclude each other: give one of them",
        )),
        (Some(role), None) => Ok(Some(WantedRole::BuiltIn(role))),
        (None, Some(name)) => Ok(Some(WantedRole::Custom(name))),
        (None, None) => Ok(None),
    }
}
