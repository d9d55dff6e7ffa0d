//! `PUT /api/v1/me/password`.

use axum::extract::State;
use http::StatusCode;
use primitives::Secret;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{JsonBody, Problem, SMALL_BODY};

use crate::extract::Caller;
use crate::identity::Identity;
use crate::users::UserError;

/// A new password in place of the present one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePasswordBody {
    /// The password as it is.
    #[schema(value_type = String, format = Password, max_length = 1024)]
    current: Secret<String>,
    /// The password as it shall be: at least 8 characters.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 1024)]
    new: Secret<String>,
}

/// Changes one's password
///
/// All other sessions of the person end.
#[utoipa::path(
    put,
    path = "/api/v1/me/password",
    operation_id = "change_password",
    tag = "identity",
    security(("bearer" = [])),
    request_body = ChangePasswordBody,
    responses(
        (status = 204, description = "The new password is in force."),
        (status = 400, description = "The new password cannot be used.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The present password is not right, or the caller is no person.", body = Problem),
        (status = 429, description = "Too many attempts.", body = Problem),
    )
)]
pub(crate) async fn change_password(
    caller: Caller,
    State(identity): State<Identity>,
    body: JsonBody<ChangePasswordBody, SMALL_BODY>,
) -> Result<StatusCode, Problem> {
    let JsonBody(ChangePasswordBody { current, new }) = body;
    match identity.change_password(&caller, current, new).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(UserError::TooManyAttempts { wait }) => {
            Err(Problem::from(UserError::TooManyAttempts { wait }).retry_after(wait))
        }
        Err(error) => Err(error.into()),
    }
}
