//! `GET` and `POST /api/v1/keys`, `DELETE /api/v1/keys/{id}`.

use axum::extract::State;
use http::StatusCode;
use primitives::{KeyId, PageRequest, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{JsonBody, PageBody, PageQuery, PathParam, Problem, QueryParams};

use crate::extract::Admin;
use crate::identity::Identity;
use crate::keys::{ApiKey, KeyRequest, KeyStatus};
use crate::model::Role;

/// What a new key shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKeyBody {
    /// What the key is called. Names may repeat.
    #[schema(min_length = 1, max_length = 100, example = "laptop")]
    name: String,
    /// What the key may do; `user` when absent.
    #[serde(default)]
    role: Option<Role>,
    /// The models the key may use, as names or as beginnings with `*`; all when absent.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 100, example = json!(["llama3", "qwen*"]))]
    models: Option<Vec<String>>,
    /// When the key ends by itself; never when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A key without its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyBody {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: KeyId,
    /// What it is called.
    name: String,
    /// The first characters of its secret, to recognise it by.
    #[schema(example = "rmd_x7Kq")]
    prefix: String,
    /// Whether it works.
    status: KeyStatus,
    /// What it may do.
    role: Role,
    /// The models it may use; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<String>>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// When it was last used; up to some seconds behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl KeyBody {
    fn new(key: ApiKey, now: Timestamp) -> Self {
        Self {
            status: key.status(now),
            id: key.id,
            name: key.name,
            prefix: key.prefix,
            role: key.role,
            models: key.models,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// A new key with its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedKeyBody {
    /// The key.
    #[serde(flatten)]
    key: KeyBody,
    /// The secret to send as `Authorization: Bearer`. It is not shown again.
    #[schema(example = "rmd_…")]
    secret: String,
}

/// Lists API keys
///
/// Shows all keys, revoked ones too, in the order in which they were made; never their secrets.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    operation_id = "list_keys",
    tag = "identity",
    security(("bearer" = [])),
    params(PageQuery),
    responses(
        (status = 200, description = "A page of keys.", body = PageBody<KeyBody>),
        (status = 400, description = "The cursor or another parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
    )
)]
pub(crate) async fn list_keys(
    admin: Admin,
    State(identity): State<Identity>,
    query: QueryParams<PageQuery>,
) -> Result<JsonBody<PageBody<KeyBody>>, Problem> {
    let QueryParams(PageQuery { limit, cursor }) = query;
    let page = identity
        .list_keys(&admin, &PageRequest { limit, cursor })
        .await?;
    let now = identity.inner.clock.now();
    Ok(JsonBody(
        PageBody::from(page).map(|key| KeyBody::new(key, now)),
    ))
}

/// Makes an API key
///
/// The answer holds the key's secret, which is stored only as a hash and cannot be shown again.
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    operation_id = "create_key",
    tag = "identity",
    security(("bearer" = [])),
    request_body = CreateKeyBody,
    responses(
        (status = 201, description = "The key works at once.", body = CreatedKeyBody),
        (status = 400, description = "The name, the models or the expiry cannot be used.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 409, description = "There are too many keys.", body = Problem),
    )
)]
pub(crate) async fn create_key(
    admin: Admin,
    State(identity): State<Identity>,
    body: JsonBody<CreateKeyBody>,
) -> Result<(StatusCode, JsonBody<CreatedKeyBody>), Problem> {
    let JsonBody(body) = body;
    let request = KeyRequest {
        name: body.name,
        role: body.role.unwrap_or(Role::User),
        models: body.models,
        expires_at: body.expires_at,
    };
    let (key, secret) = identity.create_key(&admin, request).await?;
    let created = CreatedKeyBody {
        key: KeyBody::new(key, identity.inner.clock.now()),
        secret: secret.expose().clone(),
    };
    Ok((StatusCode::CREATED, JsonBody(created)))
}

/// Revokes an API key
///
/// The key stops working before the answer is sent. Revoking again changes nothing.
#[utoipa::path(
    delete,
    path = "/api/v1/keys/{id}",
    operation_id = "revoke_key",
    tag = "identity",
    security(("bearer" = [])),
    params(("id" = String, Path, format = Uuid, description = "The key's id.")),
    responses(
        (status = 204, description = "The key is revoked."),
        (status = 400, description = "Not an id.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such key.", body = Problem),
    )
)]
pub(crate) async fn revoke_key(
    admin: Admin,
    State(identity): State<Identity>,
    id: PathParam<KeyId>,
) -> Result<StatusCode, Problem> {
    let PathParam(id) = id;
    identity.revoke_key(&admin, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
