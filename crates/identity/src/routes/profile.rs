//! `GET` and `PATCH /api/v1/me/profile`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{JsonBody, Problem};

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
        (status = 200, description = "The record.", body = UserBody),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The caller is no person.", body = Problem),
    )
)]
pub(crate) async fn show_profile(
    caller: Caller,
    State(identity): State<Identity>,
) -> Result<JsonBody<UserBody>, Problem> {
    Ok(JsonBody(identity.profile(&caller).await?.into()))
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
    request_body = EditProfileBody,
    responses(
        (status = 200, description = "The record as it is now.", body = UserBody),
        (status = 400, description = "The address or the name cannot be used.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The caller is no person.", body = Problem),
        (status = 409, description = "The address belongs to somebody else.", body = Problem),
    )
)]
pub(crate) async fn edit_profile(
    caller: Caller,
    State(identity): State<Identity>,
    body: JsonBody<EditProfileBody>,
) -> Result<JsonBody<UserBody>, Problem> {
    let JsonBody(EditProfileBody {
        email,
        display_name,
    }) = body;
    let edit = ProfileEdit {
        email,
        display_name,
    };
    Ok(JsonBody(identity.edit_profile(&caller, edit).await?.into()))
}
