//! `GET` and `PATCH /api/v1/me/profile`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{IfMatch, JsonBody, Problem, SMALL_BODY, Tagged};

use super::users::UserBody;
use crate::extract::Caller;
use crate::identity::Identity;
use crate::profile::ProfileEdit;

/// What to change of one's profile. What is absent stays, what is empty is removed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditProfileBody {
    /// Where one is reached.
    #[serde(default)]
    #[schema(max_length = 254, example = "ann@example.org")]
    email: Option<String>,
    /// What one is called.
    #[serde(default)]
    #[schema(max_length = 100, example = "Ann")]
    display_name: Option<String>,
}

/// Shows one's own record
#[utoipa::path(
    get,
    path = "/api/v1/me/profile",
    operation_id = "show_profile",
    tag = "identity",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The record.", body = UserBody, headers(("ETag" = String, description = "Its version."))),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The caller is no person.", body = Problem),
    )
)]
pub(crate) async fn show_profile(
    caller: Caller,
    State(identity): State<Identity>,
) -> Result<Tagged<JsonBody<UserBody>>, Problem> {
    let user = identity.profile(&caller).await?;
    Ok(Tagged(user.version(), JsonBody(user.into())))
}

/// Changes one's own record
///
/// Name and role are the administrators' to change.
#[utoipa::path(
    patch,
    path = "/api/v1/me/profile",
    operation_id = "edit_profile",
    tag = "identity",
    security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header)),
    request_body = EditProfileBody,
    responses(
        (status = 200, description = "The record as it is now.", body = UserBody, headers(("ETag" = String, description = "Its version."))),
        (status = 400, description = "The address or the name cannot be used.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The caller is no person.", body = Problem),
        (status = 409, description = "The address belongs to somebody else.", body = Problem),
    )
)]
pub(crate) async fn edit_profile(
    caller: Caller,
    State(identity): State<Identity>,
    expected: IfMatch,
    body: JsonBody<EditProfileBody, SMALL_BODY>,
) -> Result<Tagged<JsonBody<UserBody>>, Problem> {
    let JsonBody(EditProfileBody {
        email,
        display_name,
    }) = body;
    let edit = ProfileEdit {
        email,
        display_name,
    };
    let user = identity.edit_profile(&caller, edit, &expected).await?;
    Ok(Tagged(user.version(), JsonBody(user.into())))
}
