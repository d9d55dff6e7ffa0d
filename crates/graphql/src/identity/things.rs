//! What there is, as it is shown. Secrets never are.

use async_graphql::{ID, SimpleObject};
use identity::{ApiKey, KeyLimits};
use primitives::Timestamp;

/// Who calls.
#[derive(SimpleObject)]
pub(crate) struct Me {
    /// By what: `anonymous`, `key` or `user`.
    pub(crate) kind: &'static str,
    /// The id of the key or the person.
    pub(crate) id: Option<ID>,
    /// The key's or the person's name.
    pub(crate) name: String,
    /// The organisation.
    pub(crate) org_id: ID,
    /// What the caller may do in it.
    pub(crate) role: &'static str,
    /// What the caller may do within it, in small pieces.
    pub(crate) permissions: Vec<&'static str>,
    /// Whether the caller administers the platform.
    pub(crate) platform_admin: bool,
}

/// A person.
#[derive(SimpleObject)]
pub(crate) struct User {
    /// Their id.
    id: ID,
    /// Their organisation.
    org_id: ID,
    /// The name they sign in with.
    username: String,
    /// Where they are reached.
    email: Option<String>,
    /// What they are called.
    display_name: Option<String>,
    /// What they may do in their organisation.
    role: &'static str,
    /// The role of the organisation's own that they have.
    custom_role: Option<String>,
    /// When they were made.
    created_at: String,
    /// Since when they may not sign in any more.
    disabled_at: Option<String>,
    /// The version of what can be changed of them.
    version: String,
}

impl From<identity::User> for User {
    fn from(user: identity::User) -> Self {
        Self {
            version: user.version().as_str().to_owned(),
            id: user.id.to_string().into(),
            org_id: user.org_id.to_string().into(),
            username: user.username,
            email: user.email,
            display_name: user.display_name,
            role: user.role.as_str(),
            custom_role: user.custom_role,
            created_at: user.created_at.to_rfc3339(),
            disabled_at: user.disabled_at.map(Timestamp::to_rfc3339),
        }
    }
}

/// An organisation.
#[derive(SimpleObject)]
pub(crate) struct Organisation {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// When it was made.
    created_at: String,
}

impl From<identity::Organisation> for Organisation {
    fn from(organisation: identity::Organisation) -> Self {
        Self {
            id: organisation.id.to_string().into(),
            name: organisation.name,
            created_at: organisation.created_at.to_rfc3339(),
        }
    }
}

/// How much a key may use. What is absent is not limited.
#[derive(SimpleObject)]
pub(crate) struct Limits {
    /// Requests in any minute.
    requests_per_minute: Option<u32>,
    /// Tokens in any minute.
    tokens_per_minute: Option<u64>,
    /// Tokens in a calendar month (UTC).
    tokens_per_month: Option<u64>,
}

impl From<KeyLimits> for Limits {
    fn from(limits: KeyLimits) -> Self {
        Self {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            tokens_per_month: limits.tokens_per_month,
        }
    }
}

/// An API key, without its secret.
#[derive(SimpleObject)]
pub(crate) struct Key {
    /// Its id.
    id: ID,
    /// The organisation it belongs to.
    org_id: ID,
    /// What it is called.
    name: String,
    /// The first characters of its secret.
    prefix: String,
    /// `active`, `owner_disabled`, `expired` or `revoked`.
    status: &'static str,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// The models it may use; all when absent.
    models: Option<Vec<String>>,
    /// How much it may use.
    limits: Limits,
    /// When it was made.
    created_at: String,
    /// When it ends by itself.
    expires_at: Option<String>,
    /// When it was revoked.
    revoked_at: Option<String>,
    /// When it was last used; up to some seconds behind.
    last_used_at: Option<String>,
    /// The version of what can be changed of it.
    version: String,
}

impl Key {
    /// Shows a key as it is at `now`.
    pub(crate) fn at(now: Timestamp, key: ApiKey) -> Self {
        Self {
            version: key.version().as_str().to_owned(),
            status: key.status(now).as_str(),
            id: key.id.to_string().into(),
            org_id: key.org_id.to_string().into(),
            name: key.name,
            prefix: key.prefix,
            scopes: key.scope.names(),
            models: key.models,
            limits: key.limits.into(),
            created_at: key.created_at.to_rfc3339(),
            expires_at: key.expires_at.map(Timestamp::to_rfc3339),
            revoked_at: key.revoked_at.map(Timestamp::to_rfc3339),
            last_used_at: key.last_used_at.map(Timestamp::to_rfc3339),
        }
    }
}

/// A recorded change.
#[derive(SimpleObject)]
pub(crate) struct AuditRecord {
    /// Its number.
    seq: i64,
    /// When it was done.
    at: String,
    /// What was done, as in `key.create`.
    action: String,
    /// `user`, `key`, `anonymous` or `system`.
    actor_kind: String,
    /// The id of who did it.
    actor_id: Option<String>,
    /// Their name at that time.
    actor_name: String,
    /// Whose organisation it concerns.
    org_id: Option<ID>,
    /// What kind of thing was changed.
    subject_kind: String,
    /// Which one.
    subject_id: Option<String>,
    /// The address that it was done from.
    ip: Option<String>,
    /// What was before, as JSON.
    old: Option<String>,
    /// What was after, as JSON.
    new: Option<String>,
}

impl From<identity::AuditRecord> for AuditRecord {
    fn from(record: identity::AuditRecord) -> Self {
        Self {
            seq: record.seq,
            at: record.at.to_rfc3339(),
            action: record.action,
            actor_kind: record.actor_kind,
            actor_id: record.actor_id,
            actor_name: record.actor_name,
            org_id: record.org_id.map(|id| id.to_string().into()),
            subject_kind: record.subject_kind,
            subject_id: record.subject_id,
            ip: record.ip,
            old: record.old,
            new: record.new,
        }
    }
}
