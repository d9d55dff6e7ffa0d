//! `GET` and `POST /api/v1/keys`, `DELETE /api/v1/keys/{id}`.

use axum::extract::State;
use http::StatusCode;
use primitives::{KeyId, OrgId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{JsonBody, PageBody, PathParam, Problem, QueryParams};

use super::scoped_page::ScopedPageQuery;
use crate::extract::OrgAdmin;
use crate::identity::Identity;
use crate::keys::{ApiKey, KeyRequest, KeyStatus};
use crate::model::{KeyLimits, PriorityClass, Role};

/// What a new key shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKeyBody {
    /// What the key is called; its owner has no other key of that name that works.
    #[schema(min_length = 1, max_length = 100, example = "laptop")]
    name: String,
    /// What the key may do; `user` when absent.
    #[serde(default)]
    role: Option<Role>,
    /// The models the key may use, as names or as beginnings with `*`; all when absent.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 100, example = json!(["llama3", "qwen*"]))]
    models: Option<Vec<String>>,
    /// The organisation the key belongs to; the caller's own when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    org_id: Option<OrgId>,
    /// The soonest class the key's requests may have; any when absent.
    #[serde(default)]
    priority: Option<PriorityClass>,
    /// How much the key may use. Stored and shown; not kept to yet.
    #[serde(default)]
    limits: LimitsBody,
    /// Whether an answer to a request of the key may serve an identical one of the key's organisation, and the other way round; not
    /// when absent. It shows that somebody else asked the same.
    #[serde(default)]
    share_identical: bool,
    /// When the key ends by itself; never when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// How much a key may use. What is absent is not limited.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsBody {
    /// Requests in any minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers together in any minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    tokens_per_minute: Option<u64>,
    /// Tokens of prompts and answers together in a calendar month (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    tokens_per_month: Option<u64>,
}

impl From<KeyLimits> for LimitsBody {
    fn from(limits: KeyLimits) -> Self {
        Self {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            tokens_per_month: limits.tokens_per_month,
        }
    }
}

impl From<LimitsBody> for KeyLimits {
    fn from(body: LimitsBody) -> Self {
        Self {
            requests_per_minute: body.requests_per_minute,
            tokens_per_minute: body.tokens_per_minute,
            tokens_per_month: body.tokens_per_month,
        }
    }
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
    /// The organisation it belongs to.
    #[schema(value_type = String, format = Uuid)]
    org_id: OrgId,
    /// What it may do; less where the person it belongs to may do less.
    role: Role,
    /// The same as a list of permissions.
    #[schema(example = json!(["inference"]))]
    scopes: &'static [&'static str],
    /// The models it may use; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<String>>,
    /// The soonest class its requests may have; any when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<PriorityClass>,
    /// How much it may use.
    limits: LimitsBody,
    /// Whether answers to its requests may serve identical ones of its organisation.
    share_identical: bool,
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
            org_id: key.org_id,
            role: key.role,
            scopes: key.role.scopes(),
            models: key.models,
            priority: key.priority,
            limits: key.limits.into(),
            share_identical: key.share_identical,
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
/// Shows keys, revoked ones too, in the order in which they were made; never their secrets. Administrators of the platform see
/// all, others those of their organisation.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    operation_id = "list_keys",
    tag = "identity",
    security(("bearer" = [])),
    params(ScopedPageQuery),
    responses(
        (status = 200, description = "A page of keys.", body = PageBody<KeyBody>),
        (status = 400, description = "The cursor or another parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such organisation.", body = Problem),
    )
)]
pub(crate) async fn list_keys(
    admin: OrgAdmin,
    State(identity): State<Identity>,
    query: QueryParams<ScopedPageQuery>,
) -> Result<JsonBody<PageBody<KeyBody>>, Problem> {
    let QueryParams(query) = query;
    let (org_id, page) = query.split();
    let page = identity.list_keys(&admin, org_id, &page).await?;
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
        (status = 404, description = "There is no such organisation.", body = Problem),
        (status = 409, description = "The owner has a key of that name, or there are too many keys.", body = Problem),
    )
)]
pub(crate) async fn create_key(
    admin: OrgAdmin,
    State(identity): State<Identity>,
    body: JsonBody<CreateKeyBody>,
) -> Result<(StatusCode, JsonBody<CreatedKeyBody>), Problem> {
    let JsonBody(body) = body;
    let request = KeyRequest {
        name: body.name,
        role: body.role.unwrap_or(Role::User),
        org_id: body.org_id,
        models: body.models,
        priority: body.priority,
        limits: body.limits.into(),
        share_identical: body.share_identical,
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
    admin: OrgAdmin,
    State(identity): State<Identity>,
    id: PathParam<KeyId>,
) -> Result<StatusCode, Problem> {
    let PathParam(id) = id;
    identity.revoke_key(&admin, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
