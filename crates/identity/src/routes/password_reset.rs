//! `POST /api/v1/users/{id}/password-reset` and `POST /api/v1/password-reset`.

use axum::extract::State;
use http::StatusCode;
use primitives::{Secret, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{JsonBody, PathParam, Problem, SMALL_BODY};

use crate::extract::{Allowed, ManageUsers};
use crate::identity::Identity;
use crate::origin::Origin;

/// A way back for somebody who has lost their password.
#[derive(Serialize, ToSchema)]
pub(crate) struct PasswordResetBody {
    /// The token for `POST /api/v1/password-reset`. It works once, and is not shown again.
    #[schema(example = "rmp_…")]
    token: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A token and the password to have from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetPasswordBody {
    /// The token that an administrator handed out.
    #[schema(value_type = String, format = Password, example = "rmp_…")]
    token: Secret<String>,
    /// The new password: at least 8 characters, none of the most common ones.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 1024)]
    password: Secret<String>,
}

/// Makes a token to reset a password with
///
/// For administrators to hand to somebody who has lost theirs. It works once, for a day; an earlier one works no more. Nothing
/// changes until it is used.
#[utoipa::path(
    post,
    path = "/api/v1/users/{id}/password-reset",
    operation_id = "start_password_reset",
    tag = "identity",
    security(("bearer" = [])),
    params(("id" = String, Path, format = Uuid, description = "The user's id.")),
    responses(
        (status = 201, description = "The token.", body = PasswordResetBody),
        (status = 400, description = "Not an id.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such user.", body = Problem),
        (status = 409, description = "It is one's own password.", body = Problem),
    )
)]
pub(crate) async fn start(
    admin: Allowed<ManageUsers>,
    State(identity): State<Identity>,
    id: PathParam<UserId>,
) -> Result<(StatusCode, JsonBody<PasswordResetBody>), Problem> {
    let PathParam(id) = id;
    let reset = identity.start_password_reset(&admin, id).await?;
    let body = PasswordResetBody {
        token: reset.token.expose().clone(),
        expires_at: reset.expires_at,
    };
    Ok((StatusCode::CREATED, JsonBody(body)))
}

/// Resets a password with a token
///
/// All sessions of the person end; API keys go on working.
#[utoipa::path(
    post,
    path = "/api/v1/password-reset",
    operation_id = "reset_password",
    tag = "identity",
    request_body = ResetPasswordBody,
    responses(
        (status = 204, description = "The new password is in force."),
        (status = 400, description = "The password cannot be used; the token still works.", body = Problem),
        (status = 403, description = "The token is not valid.", body = Problem),
    )
)]
pub(crate) async fn reset(
    State(identity): State<Identity>,
    origin: Origin,
    body: JsonBody<ResetPasswordBody, SMALL_BODY>,
) -> Result<StatusCode, Problem> {
    let JsonBody(ResetPasswordBody { token, password }) = body;
    identity.reset_password(&token, password, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
