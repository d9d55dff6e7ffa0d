//! `GET` and `POST /api/v1/me/totp` with what is below it, `DELETE /api/v1/users/{id}/totp`.

use axum::extract::State;
use http::StatusCode;
use primitives::{Secret, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{JsonBody, PathParam, Problem, SMALL_BODY};

use crate::extract::{Allowed, Caller, ManageUsers};
use crate::identity::Identity;
use crate::second_factor::SecondFactorError;
use crate::users::UserError;

/// How one's second factor stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecondFactorBody {
    /// Whether signing in takes a code.
    enabled: bool,
    /// The recovery codes that were not used.
    recovery_codes_left: u64,
}

/// One's present password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeginTotpBody {
    /// The password.
    #[schema(value_type = String, format = Password, max_length = 1024)]
    password: Secret<String>,
}

/// A secret for an authenticator. It is not shown again.
#[derive(Serialize, ToSchema)]
pub(crate) struct EnrolmentBody {
    /// To be typed.
    #[schema(example = "JBSWY3DP…")]
    secret: String,
    /// To be scanned.
    #[schema(example = "otpauth://totp/…")]
    uri: String,
}

/// A code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodeBody {
    /// Of one's authenticator.
    #[schema(value_type = String, format = Password, max_length = 40, example = "123456")]
    code: Secret<String>,
}

/// One's present password and a code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DisableTotpBody {
    /// The password.
    #[schema(value_type = String, format = Password, max_length = 1024)]
    password: Secret<String>,
    /// Of one's authenticator, or a recovery code.
    #[schema(value_type = String, format = Password, max_length = 40, example = "123456")]
    code: Secret<String>,
}

/// Codes for who has lost their device: each works once in place of a code. They are not shown again.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoveryCodesBody {
    /// The codes.
    #[schema(example = json!(["abcd-efgh-ijkl-mnop"]))]
    recovery_codes: Vec<String>,
}

impl RecoveryCodesBody {
    fn new(codes: &[Secret<String>]) -> Self {
        Self {
            recovery_codes: codes.iter().map(|code| code.expose().clone()).collect(),
        }
    }
}

/// Adds `Retry-After` where the attempt was too soon.
fn problem(error: SecondFactorError) -> Problem {
    let wait = match &error {
        SecondFactorError::TooManyAttempts { wait }
        | SecondFactorError::User(UserError::TooManyAttempts { wait }) => Some(*wait),
        _ => None,
    };
    let problem = Problem::from(error);
    match wait {
        Some(wait) => problem.retry_after(wait),
        None => problem,
    }
}

/// Shows how one's second factor stands
#[utoipa::path(
    get,
    path = "/api/v1/me/totp",
    operation_id = "show_totp",
    tag = "identity",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "How it stands.", body = SecondFactorBody),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The caller is no person.", body = Problem),
    )
)]
pub(crate) async fn show(
    caller: Caller,
    State(identity): State<Identity>,
) -> Result<JsonBody<SecondFactorBody>, Problem> {
    let state = identity.second_factor(&caller).await?;
    Ok(JsonBody(SecondFactorBody {
        enabled: state.enabled,
        recovery_codes_left: state.recovery_codes_left,
    }))
}

/// Begins to enrol an authenticator
///
/// Nothing changes until a code of it is confirmed.
#[utoipa::path(
    post,
    path = "/api/v1/me/totp",
    operation_id = "begin_totp",
    tag = "identity",
    security(("bearer" = [])),
    request_body = BeginTotpBody,
    responses(
        (status = 201, description = "The secret.", body = EnrolmentBody),
        (status = 400, description = "The body is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The password is not right, or the caller is no person.", body = Problem),
        (status = 409, description = "There is a second factor already.", body = Problem),
        (status = 429, description = "Too many attempts.", body = Problem),
    )
)]
pub(crate) async fn begin(
    caller: Caller,
    State(identity): State<Identity>,
    body: JsonBody<BeginTotpBody, SMALL_BODY>,
) -> Result<(StatusCode, JsonBody<EnrolmentBody>), Problem> {
    let JsonBody(BeginTotpBody { password }) = body;
    let enrolment = identity
        .begin_second_factor(&caller, password)
        .await
        .map_err(problem)?;
    let body = EnrolmentBody {
        secret: enrolment.secret.expose().clone(),
        uri: enrolment.uri.expose().clone(),
    };
    Ok((StatusCode::CREATED, JsonBody(body)))
}

/// Confirms an authenticator
///
/// From now on signing in takes a code. The answer has the recovery codes.
#[utoipa::path(
    post,
    path = "/api/v1/me/totp/confirm",
    operation_id = "confirm_totp",
    tag = "identity",
    security(("bearer" = [])),
    request_body = CodeBody,
    responses(
        (status = 200, description = "The recovery codes.", body = RecoveryCodesBody),
        (status = 400, description = "The body is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The code is not right, or the caller is no person.", body = Problem),
        (status = 409, description = "Nothing was begun, or there is a second factor already.", body = Problem),
        (status = 429, description = "Too many attempts.", body = Problem),
    )
)]
pub(crate) async fn confirm(
    caller: Caller,
    State(identity): State<Identity>,
    body: JsonBody<CodeBody, SMALL_BODY>,
) -> Result<JsonBody<RecoveryCodesBody>, Problem> {
    let JsonBody(CodeBody { code }) = body;
    let codes = identity
        .confirm_second_factor(&caller, &code)
        .await
        .map_err(problem)?;
    Ok(JsonBody(RecoveryCodesBody::new(&codes)))
}

/// Makes new recovery codes
///
/// The earlier ones work no more.
#[utoipa::path(
    post,
    path = "/api/v1/me/totp/recovery-codes",
    operation_id = "renew_recovery_codes",
    tag = "identity",
    security(("bearer" = [])),
    request_body = CodeBody,
    responses(
        (status = 200, description = "The recovery codes.", body = RecoveryCodesBody),
        (status = 400, description = "The body is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The code is not right, or the caller is no person.", body = Problem),
        (status = 409, description = "There is no second factor.", body = Problem),
        (status = 429, description = "Too many attempts.", body = Problem),
    )
)]
pub(crate) async fn renew_codes(
    caller: Caller,
    State(identity): State<Identity>,
    body: JsonBody<CodeBody, SMALL_BODY>,
) -> Result<JsonBody<RecoveryCodesBody>, Problem> {
    let JsonBody(CodeBody { code }) = body;
    let codes = identity
        .renew_recovery_codes(&caller, &code)
        .await
        .map_err(problem)?;
    Ok(JsonBody(RecoveryCodesBody::new(&codes)))
}

/// Disables one's second factor
#[utoipa::path(
    post,
    path = "/api/v1/me/totp/disable",
    operation_id = "disable_totp",
    tag = "identity",
    security(("bearer" = [])),
    request_body = DisableTotpBody,
    responses(
        (status = 204, description = "Signing in takes the password alone."),
        (status = 400, description = "The body is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The password or the code is not right, or the caller is no person.", body = Problem),
        (status = 409, description = "There is no second factor.", body = Problem),
        (status = 429, description = "Too many attempts.", body = Problem),
    )
)]
pub(crate) async fn disable(
    caller: Caller,
    State(identity): State<Identity>,
    body: JsonBody<DisableTotpBody, SMALL_BODY>,
) -> Result<StatusCode, Problem> {
    let JsonBody(DisableTotpBody { password, code }) = body;
    identity
        .disable_second_factor(&caller, password, &code)
        .await
        .map_err(problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Disables a user's second factor
///
/// For administrators, when somebody has lost both their device and their recovery codes. Their sessions end.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{id}/totp",
    operation_id = "remove_user_totp",
    tag = "identity",
    security(("bearer" = [])),
    params(("id" = String, Path, format = Uuid, description = "The user's id.")),
    responses(
        (status = 204, description = "The user signs in with the password alone."),
        (status = 400, description = "Not an id.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such user.", body = Problem),
        (status = 409, description = "They have none, or it is one's own.", body = Problem),
    )
)]
pub(crate) async fn remove_of_user(
    admin: Allowed<ManageUsers>,
    State(identity): State<Identity>,
    id: PathParam<UserId>,
) -> Result<StatusCode, Problem> {
    let PathParam(id) = id;
    identity.remove_second_factor(&admin, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
