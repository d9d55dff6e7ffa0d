//! `GET /api/v1/me/export`, `GET /api/v1/users/{id}/export`, `POST /api/v1/users/{id}/erase`.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use primitives::UserId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{JsonBody, PathParam, Problem, SMALL_BODY};

use crate::extract::{Allowed, Caller, ManageUsers};
use crate::identity::Identity;
use crate::privacy::{Erasure, Exporting};

/// Exports what is known of you
///
/// One JSON object, made while it is read: `person`, then a list each of sessions, keys, identities at providers, invitations, changes,
/// requests, and jobs with what was asked and answered. No password, secret or hash is in it.
#[utoipa::path(
    get,
    path = "/api/v1/me/export",
    operation_id = "export_me",
    tag = "identity",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The data.", body = Object),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not a person who is signed in.", body = Problem),
        (status = 429, description = "Others are being made.", body = Problem),
    )
)]
pub(crate) async fn export_me(
    caller: Caller,
    State(identity): State<Identity>,
) -> Result<Response, Problem> {
    Ok(download(identity.export_own(&caller).await?))
}

/// Exports what is known of a person
///
/// As their own export, but without what was asked and answered in jobs: that is nobody's but theirs.
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}/export",
    operation_id = "export_user",
    tag = "identity",
    security(("bearer" = [])),
    params(("id" = String, Path, format = Uuid, description = "The user's id.")),
    responses(
        (status = 200, description = "The data.", body = Object),
        (status = 400, description = "Not an id.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator, or of less than the user.", body = Problem),
        (status = 404, description = "There is no such user.", body = Problem),
        (status = 429, description = "Others are being made.", body = Problem),
    )
)]
pub(crate) async fn export_user(
    admin: Allowed<ManageUsers>,
    State(identity): State<Identity>,
    id: PathParam<UserId>,
) -> Result<Response, Problem> {
    let PathParam(id) = id;
    Ok(download(identity.export_user(&admin, id).await?))
}

fn download(body: Exporting) -> Response {
    let mut response = Body::new(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let name = HeaderValue::from_static("attachment; filename=\"personal-data.json\"");
    headers.insert(CONTENT_DISPOSITION, name);
    response
}

/// Whom to erase.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EraseUserBody {
    /// Their name, since this cannot be undone.
    #[schema(min_length = 1, max_length = 100, example = "ann")]
    username: String,
}

/// What was erased.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErasureBody {
    /// What was erased, or stripped of what names the person.
    erased: Vec<ErasedBody>,
    /// What stays.
    kept: Vec<KeptBody>,
}

/// Rows that were erased.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErasedBody {
    /// What they are.
    #[schema(value_type = String)]
    what: &'static str,
    /// How many.
    rows: u64,
}

/// Something that stays.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeptBody {
    /// What it is.
    #[schema(value_type = String)]
    what: &'static str,
    /// Why it stays.
    #[schema(value_type = String)]
    why: &'static str,
}

impl From<Erasure> for ErasureBody {
    fn from(erasure: Erasure) -> Self {
        let erased = erasure.erased.into_iter();
        let kept = erasure.kept.iter();
        Self {
            erased: erased
                .map(|part| ErasedBody {
                    what: part.what,
                    rows: part.rows,
                })
                .collect(),
            kept: kept
                .map(|part| KeptBody {
                    what: part.what,
                    why: part.why,
                })
                .collect(),
        }
    }
}

/// Erases a person
///
/// They are let in no more, then everything of theirs is erased, and what must stay loses their names and addresses. The answer says what
/// was erased, and what is kept and why. What was interrupted is finished by the same request.
#[utoipa::path(
    post,
    path = "/api/v1/users/{id}/erase",
    operation_id = "erase_user",
    tag = "identity",
    security(("bearer" = [])),
    params(("id" = String, Path, format = Uuid, description = "The user's id.")),
    request_body = EraseUserBody,
    responses(
        (status = 200, description = "They are erased.", body = ErasureBody),
        (status = 400, description = "Not an id, or the name is another's.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator, or of less than the user.", body = Problem),
        (status = 404, description = "There is no such user.", body = Problem),
        (status = 409, description = "It is oneself, or the last administrator.", body = Problem),
    )
)]
pub(crate) async fn erase_user(
    admin: Allowed<ManageUsers>,
    State(identity): State<Identity>,
    id: PathParam<UserId>,
    body: JsonBody<EraseUserBody, SMALL_BODY>,
) -> Result<JsonBody<ErasureBody>, Problem> {
    let (PathParam(id), JsonBody(body)) = (id, body);
    let erasure = identity.erase_user(&admin, id, &body.username).await?;
    Ok(JsonBody(erasure.into()))
}
