//! `GET` and `POST /api/v1/keys`, `GET`, `PATCH` and `DELETE /api/v1/keys/{id}`.

use axum::extract::State;
use http::StatusCode;
use primitives::{ErrorKind, KeyId, OrgId, PageRequest, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{
    IfMatch, JsonBody, PageBody, PathParam, Problem, QueryParams, Tagged, page_limit, page_offset,
    search_text,
};

use crate::extract::{Allowed, ManageKeys, ReadKeys};
use crate::identity::Identity;
use crate::key_edit::KeyEdit;
use crate::key_list::KeyFilter;
use crate::key_scope::KeyScope;
use crate::keys::{ApiKey, KeyRequest, KeyStatus};
use crate::listing::{Listing, Sort};
use crate::model::{KeyLimits, PriorityClass, Role};
use crate::permission::{Permission, Permissions};

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
    /// What the key may do, in place of a role: nothing that its maker may not.
    #[serde(default)]
    #[schema(max_items = 20)]
    scopes: Option<Vec<Permission>>,
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
    /// How much the key may use.
    #[serde(default, deserialize_with = "web::json_object")]
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

/// What to change of a key. What is absent stays.
#[expect(
    clippy::option_option,
    reason = "what stays is told from what is taken away"
)]
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditKeyBody {
    /// Another name.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Another role.
    #[serde(default)]
    role: Option<Role>,
    /// Other permissions, in place of a role.
    #[serde(default)]
    #[schema(max_items = 20)]
    scopes: Option<Vec<Permission>>,
    /// Other models; `null` for all.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 100)]
    models: Option<Option<Vec<String>>>,
    /// Another ceiling of the class; `null` for none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<PriorityClass>)]
    priority: Option<Option<PriorityClass>>,
    /// Other limits in place of all the present ones; `{}` for none.
    #[serde(default, deserialize_with = "limits")]
    limits: Option<LimitsBody>,
    /// Whether an answer may serve identical requests of the organisation.
    #[serde(default)]
    share_identical: Option<bool>,
    /// Another end; `null` for none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<Timestamp>>,
}

fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LimitsBody>, D::Error> {
    let fields = Option::<serde_json::Map<_, _>>::deserialize(deserializer)?;
    let limits = fields.map(|fields| LimitsBody::deserialize(serde_json::Value::Object(fields)));
    limits.transpose().map_err(serde::de::Error::custom)
}

/// Reads a field that is there, so that `null` is told from absence.
#[expect(
    clippy::option_option,
    reason = "what stays is told from what is taken away"
)]
fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
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
    /// The same as a list: a role's words, or the permissions that were chosen.
    #[schema(example = json!(["inference"]))]
    scopes: Vec<&'static str>,
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
            role: key.scope.role(),
            scopes: key.scope.names(),
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

/// Which keys to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeysQuery {
    /// Items on the page, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Items to leave out at the start.
    #[serde(default, deserialize_with = "page_offset")]
    #[param(minimum = 0, maximum = 100_000)]
    offset: Option<u32>,
    /// The order; `created_at` when absent.
    #[serde(default)]
    #[param(inline)]
    sort: Sort,
    /// Only what has this in its name; case makes no difference.
    #[serde(default, deserialize_with = "search_text")]
    #[param(max_length = 100)]
    q: Option<String>,
    /// Only what belongs to this organisation; everything that the caller may see when absent.
    #[param(value_type = Option<String>, format = Uuid)]
    org_id: Option<OrgId>,
    /// Only keys in this state.
    #[param(inline)]
    status: Option<KeyStatus>,
}

impl KeysQuery {
    fn split(self) -> (KeyFilter, Listing) {
        let filter = KeyFilter {
            org_id: self.org_id,
            status: self.status,
        };
        let listing = Listing {
            page: PageRequest {
                limit: self.limit,
                cursor: self.cursor,
                offset: self.offset,
            },
            sort: self.sort,
            contains: self.q,
        };
        (filter, listing)
    }
}

/// Lists API keys
///
/// Shows keys, revoked ones too; never their secrets. Administrators of the platform see
/// all, others those of their organisation.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    operation_id = "list_keys",
    tag = "identity",
    security(("bearer" = [])),
    params(KeysQuery),
    responses(
        (status = 200, description = "A page of keys.", body = PageBody<KeyBody>),
        (status = 400, description = "The cursor or another parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such organisation.", body = Problem),
    )
)]
pub(crate) async fn list_keys(
    admin: Allowed<ReadKeys>,
    State(identity): State<Identity>,
    query: QueryParams<KeysQuery>,
) -> Result<JsonBody<PageBody<KeyBody>>, Problem> {
    let (filter, listing) = query.0.split();
    let page = identity.list_keys(&admin, filter, &listing).await?;
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
    params(("Idempotency-Key" = Option<String>, Header)),
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
    admin: Allowed<ManageKeys>,
    State(identity): State<Identity>,
    body: JsonBody<CreateKeyBody>,
) -> Result<(StatusCode, JsonBody<CreatedKeyBody>), Problem> {
    let JsonBody(body) = body;
    let request = KeyRequest {
        name: body.name,
        scope: scope(body.role, body.scopes)?.unwrap_or(KeyScope::Role(Role::User)),
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

/// Shows an API key
#[utoipa::path(
    get,
    path = "/api/v1/keys/{id}",
    operation_id = "show_key",
    tag = "identity",
    security(("bearer" = [])),
    params(("id" = String, Path, format = Uuid, description = "The key's id.")),
    responses(
        (status = 200, description = "The key.", body = KeyBody, headers(("ETag" = String, description = "Its version."))),
        (status = 400, description = "Not an id.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such key.", body = Problem),
    )
)]
pub(crate) async fn show_key(
    admin: Allowed<ReadKeys>,
    State(identity): State<Identity>,
    id: PathParam<KeyId>,
) -> Result<Tagged<JsonBody<KeyBody>>, Problem> {
    let PathParam(id) = id;
    let key = identity.load_key(&admin, id).await?;
    let now = identity.inner.clock.now();
    Ok(Tagged(key.version(), JsonBody(KeyBody::new(key, now))))
}

/// Changes an API key
///
/// Takes effect before the answer is sent, and on every other replica within a second. The secret stays.
#[utoipa::path(
    patch,
    path = "/api/v1/keys/{id}",
    operation_id = "edit_key",
    tag = "identity",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, format = Uuid, description = "The key's id."),
        ("If-Match" = Option<String>, Header),
    ),
    request_body = EditKeyBody,
    responses(
        (status = 200, description = "The key as it is now.", body = KeyBody, headers(("ETag" = String, description = "Its version."))),
        (status = 400, description = "Not an id, or the key cannot be so.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such key.", body = Problem),
        (status = 409, description = "The key is revoked, or its owner has another key of that name.", body = Problem),
    )
)]
pub(crate) async fn edit_key(
    admin: Allowed<ManageKeys>,
    State(identity): State<Identity>,
    id: PathParam<KeyId>,
    expected: IfMatch,
    body: JsonBody<EditKeyBody>,
) -> Result<Tagged<JsonBody<KeyBody>>, Problem> {
    let (PathParam(id), JsonBody(body)) = (id, body);
    let edit = KeyEdit {
        name: body.name,
        scope: scope(body.role, body.scopes)?,
        models: body.models,
        priority: body.priority,
        limits: body.limits.map(KeyLimits::from),
        share_identical: body.share_identical,
        expires_at: body.expires_at,
    };
    let key = identity.edit_key(&admin, id, edit, &expected).await?;
    let now = identity.inner.clock.now();
    Ok(Tagged(key.version(), JsonBody(KeyBody::new(key, now))))
}

/// Returns what a key shall do, when that is said: by a role or by permissions, not by both.
fn scope(
    role: Option<Role>,
    permissions: Option<Vec<Permission>>,
) -> Result<Option<KeyScope>, Problem> {
    match (role, permissions) {
        (Some(_), Some(_)) => Err(Problem::new(
            ErrorKind::Invalid,
            "`role` and `scopes` exclude each other: give one of them",
        )),
        (Some(role), None) => Ok(Some(KeyScope::Role(role))),
        (None, Some(permissions)) if permissions.is_empty() => {
            Ok(Some(KeyScope::Role(Role::Viewer)))
        }
        (None, Some(permissions)) => Ok(Some(KeyScope::Chosen(Permissions::of(permissions)))),
        (None, None) => Ok(None),
    }
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
    admin: Allowed<ManageKeys>,
    State(identity): State<Identity>,
    id: PathParam<KeyId>,
) -> Result<StatusCode, Problem> {
    let PathParam(id) = id;
    identity.revoke_key(&admin, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
