//! `POST /api/v1/setup`.

use axum::extract::State;
use http::StatusCode;
use primitives::Secret;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{JsonBody, Problem, SMALL_BODY};

use super::sign_in::SignInBody;
use crate::identity::Identity;
use crate::origin::Origin;

/// The first administrator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetupBody {
    /// The set-up token that was shown at the first start.
    #[schema(value_type = String, format = Password, example = "rmt_…")]
    token: Secret<String>,
    /// The administrator's name: 1 to 100 letters, digits or `.` `_` `-` `@`.
    #[schema(max_length = 100, example = "admin")]
    username: String,
    /// The administrator's password: at least 8 characters.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 1024)]
    password: Secret<String>,
}

/// Makes the first administrator
///
/// Works once, with the set-up token of the first start, and signs the administrator in.
#[utoipa::path(
    post,
    path = "/api/v1/setup",
    operation_id = "set_up",
    tag = "identity",
    request_body = SetupBody,
    responses(
        (status = 201, description = "The administrator exists and is signed in.", body = SignInBody),
        (status = 400, description = "The name or the password cannot be used.", body = Problem),
        (status = 403, description = "The token is not valid.", body = Problem),
        (status = 409, description = "There is an administrator already.", body = Problem),
    )
)]
pub(crate) async fn set_up(
    State(identity): State<Identity>,
    origin: Origin,
    body: JsonBody<SetupBody, SMALL_BODY>,
) -> Result<(StatusCode, JsonBody<SignInBody>), Problem> {
    let JsonBody(SetupBody {
        token,
        username,
        password,
    }) = body;
    let sign_in = identity
        .set_up(&token, &username, password, &origin)
        .await?;
    let body = SignInBody::new(&sign_in, identity.inner.clock.now());
    Ok((StatusCode::CREATED, JsonBody(body)))
}
