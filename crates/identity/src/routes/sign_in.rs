//! `POST /api/v1/login` and `POST /api/v1/logout`.

use axum::Extension;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use primitives::{Secret, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{ClientAddress, JsonBody, Problem};

use crate::credential::presented_credential;
use crate::identity::Identity;
use crate::model::AuthError;
use crate::sign_in::{SignIn, SignInError};

/// A name and its password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginBody {
    /// The person's name; case makes no difference.
    #[schema(max_length = 100, example = "admin")]
    username: String,
    /// The person's password.
    #[schema(value_type = String, format = Password, max_length = 1024)]
    password: Secret<String>,
}

/// A new session.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionBody {
    /// The secret to send as `Authorization: Bearer`. It is not shown again.
    #[schema(example = "rms_…")]
    token: String,
    /// When the session ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<SignIn> for SessionBody {
    fn from(sign_in: SignIn) -> Self {
        Self {
            token: sign_in.token.expose().clone(),
            expires_at: sign_in.expires_at,
        }
    }
}

/// Signs a person in
///
/// The session lasts 24 hours. After five wrong attempts each further one must wait, as `Retry-After` says.
#[utoipa::path(
    post,
    path = "/api/v1/login",
    operation_id = "log_in",
    tag = "identity",
    request_body = LoginBody,
    responses(
        (status = 200, description = "Signed in.", body = SessionBody),
        (status = 400, description = "The body is not valid.", body = Problem),
        (status = 401, description = "The name or the password is not right.", body = Problem),
        (status = 429, description = "Too many attempts.", body = Problem),
    )
)]
pub(crate) async fn log_in(
    State(identity): State<Identity>,
    origin: Option<Extension<ClientAddress>>,
    body: JsonBody<LoginBody>,
) -> Result<JsonBody<SessionBody>, Problem> {
    let JsonBody(LoginBody { username, password }) = body;
    let origin = origin.map(|Extension(ClientAddress(address))| address);
    match identity.sign_in(&username, password, origin).await {
        Ok(sign_in) => Ok(JsonBody(sign_in.into())),
        Err(SignInError::TooManyAttempts { wait }) => {
            Err(Problem::from(SignInError::TooManyAttempts { wait }).retry_after(wait))
        }
        Err(error) => Err(error.into()),
    }
}

/// Signs out
///
/// Ends the session that the request presents. An API key is not ended this way.
#[utoipa::path(
    post,
    path = "/api/v1/logout",
    operation_id = "log_out",
    tag = "identity",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The session has ended."),
        (status = 401, description = "No session was presented.", body = Problem),
    )
)]
pub(crate) async fn log_out(
    State(identity): State<Identity>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let token = presented_credential(&headers).ok_or(AuthError::Missing)?;
    if identity.sign_out(&token).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(AuthError::Unknown.into())
    }
}
