//! `POST /api/v1/login`, `POST /api/v1/token/refresh` and `POST /api/v1/logout`.

use axum::extract::State;
use http::StatusCode;
use primitives::{Secret, SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{JsonBody, Problem, SMALL_BODY};

use crate::extract::Caller;
use crate::identity::Identity;
use crate::model::AuthError;
use crate::origin::Origin;
use crate::sessions::SignIn;
use crate::sign_in::{SignInError, SignInRequest};

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
    /// A code of the person's authenticator, or a recovery code, where they have a second factor.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password, max_length = 40, example = "123456")]
    code: Option<Secret<String>>,
}

/// The refresh token of the answer before.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshBody {
    /// Works once; the answer has the next one.
    #[schema(value_type = String, format = Password, example = "rmr_…")]
    refresh_token: Secret<String>,
}

/// What a person holds who is signed in. The tokens are not shown again.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignInBody {
    /// How to present the access token: always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// The token to send as `Authorization: Bearer`.
    #[schema(example = "eyJ…")]
    access_token: String,
    /// The same, for clients of earlier versions.
    #[schema(example = "eyJ…")]
    token: String,
    /// In how many seconds the access token ends.
    #[schema(example = 3600)]
    expires_in: u64,
    /// When the access token ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The token to get the next access token with. It works once; presented again it ends the session.
    #[schema(example = "rmr_…")]
    refresh_token: String,
    /// The session.
    #[schema(value_type = String, format = Uuid)]
    session_id: SessionId,
    /// When the session ends, unless it is refreshed in its last hour: then it lasts 24 hours more.
    #[schema(value_type = String, format = DateTime)]
    session_expires_at: Timestamp,
}

impl SignInBody {
    pub(crate) fn new(sign_in: &SignIn, now: Timestamp) -> Self {
        Self {
            token_type: "Bearer",
            access_token: sign_in.access_token.expose().clone(),
            token: sign_in.access_token.expose().clone(),
            expires_in: sign_in.access_expires_at.since(now).as_secs(),
            expires_at: sign_in.access_expires_at,
            refresh_token: sign_in.refresh_token.expose().clone(),
            session_id: sign_in.session,
            session_expires_at: sign_in.session_expires_at,
        }
    }
}

/// Signs a person in
///
/// The session lasts 24 hours, and 24 more whenever it is refreshed in its last one. The access token lasts an hour and is good only as long
/// as the session stands. Who has a second factor gives a `code` too; without it the answer is 401 with the reason `code_required`. After five wrong attempts each further one must wait, as `Retry-After` says.
#[utoipa::path(
    post,
    path = "/api/v1/login",
    operation_id = "log_in",
    tag = "identity",
    request_body = LoginBody,
    responses(
        (status = 200, description = "Signed in.", body = SignInBody),
        (status = 400, description = "The body is not valid.", body = Problem),
        (status = 401, description = "The name, the password or the code is not right.", body = Problem),
        (status = 429, description = "Too many attempts.", body = Problem),
    )
)]
pub(crate) async fn log_in(
    State(identity): State<Identity>,
    origin: Origin,
    body: JsonBody<LoginBody, SMALL_BODY>,
) -> Result<JsonBody<SignInBody>, Problem> {
    let JsonBody(LoginBody {
        username,
        password,
        code,
    }) = body;
    let request = SignInRequest {
        username,
        password,
        code,
        origin,
    };
    match identity.sign_in(request).await {
        Ok(sign_in) => Ok(JsonBody(SignInBody::new(
            &sign_in,
            identity.inner.clock.now(),
        ))),
        Err(SignInError::TooManyAttempts { wait }) => {
            Err(Problem::from(SignInError::TooManyAttempts { wait }).retry_after(wait))
        }
        Err(SignInError::CodeMissing) => {
            Err(Problem::from(SignInError::CodeMissing).reason("code_required"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Refreshes an access token
///
/// Answers with another access token and the next refresh token. A refresh token that is presented a second time ends its session: two may
/// hold it, and one of them may have stolen it.
#[utoipa::path(
    post,
    path = "/api/v1/token/refresh",
    operation_id = "refresh_token",
    tag = "identity",
    request_body = RefreshBody,
    responses(
        (status = 200, description = "The next tokens.", body = SignInBody),
        (status = 400, description = "The body is not valid.", body = Problem),
        (status = 401, description = "The token is not valid, or was used before.", body = Problem),
    )
)]
pub(crate) async fn refresh(
    State(identity): State<Identity>,
    body: JsonBody<RefreshBody, SMALL_BODY>,
) -> Result<JsonBody<SignInBody>, Problem> {
    let JsonBody(RefreshBody { refresh_token }) = body;
    let sign_in = identity.refresh(refresh_token.expose()).await?;
    Ok(JsonBody(SignInBody::new(
        &sign_in,
        identity.inner.clock.now(),
    )))
}

/// Signs out
///
/// Ends the session that the request comes with. An API key is not ended this way.
#[utoipa::path(
    post,
    path = "/api/v1/logout",
    operation_id = "log_out",
    tag = "identity",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The session has ended."),
        (status = 401, description = "The request comes without a session.", body = Problem),
    )
)]
pub(crate) async fn log_out(
    caller: Caller,
    State(identity): State<Identity>,
) -> Result<StatusCode, Problem> {
    if identity.sign_out(&caller).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(match caller.principal().id() {
        Some(_) => AuthError::Unknown.into(),
        None => AuthError::Missing.into(),
    })
}
