//! All SQL of the domain, one text for both engines.

mod organisations;
mod users;

use std::sync::Arc;

use ::store::{Json, Row, Statement, StoreError, Tx, params};
use primitives::{KeyId, OrgId, SessionId, Timestamp, UserId};

use crate::credential::SecretHash;
use crate::keys::ApiKey;
use crate::model::{KeyLimits, Principal, PrincipalKind, PriorityClass, Role};
use crate::organisations::{DEFAULT_ORG, OrgScope};
use crate::snapshot::{Entries, Entry, Snapshot, Usage, UsageOwner};

pub(crate) use organisations::{
    count_organisations, has_organisation, insert_organisation, known_organisation,
    list_organisations,
};
pub(crate) use users::{
    count_users, find_user_by_id, has_other_admin, insert_user, list_users, replace_password,
    update_password, update_user,
};

const SETUP_TOKEN: &str = "identity.setup_token";
const GENERATION: &str = "identity.generation";

/// What is needed of a person to check their password.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: UserId,
    pub(crate) org_id: OrgId,
    pub(crate) role: Role,
    pub(crate) password_hash: String,
    pub(crate) disabled_at: Option<Timestamp>,
}

pub(crate) async fn has_users(tx: &mut Tx) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional("SELECT id FROM users LIMIT 1", ())
        .await?;
    Ok(row.is_some())
}

pub(crate) async fn find_account(
    tx: &mut Tx,
    username: &str,
) -> Result<Option<Account>, StoreError> {
    tx.fetch_optional(
        "SELECT id, org_id, role, password_hash, disabled_at FROM users WHERE username = $1",
        params![username],
    )
    .await?
    .map(|row| {
        Ok(Account {
            id: row.get("id")?,
            org_id: row.get("org_id")?,
            role: read_role(&row)?,
            password_hash: row.get("password_hash")?,
            disabled_at: row.get("disabled_at")?,
        })
    })
    .transpose()
}

pub(crate) async fn insert_admin(
    tx: &mut Tx,
    id: UserId,
    username: &str,
    password_hash: String,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO users (id, org_id, username, password_hash, role, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        params![id, DEFAULT_ORG, username, password_hash, Role::Admin.as_str(), now],
    )
    .await?;
    Ok(())
}

/// Gives the user a new password and makes them an administrator of the platform, ends a lock, and signs the user out everywhere.
pub(crate) async fn reset_admin(
    tx: &mut Tx,
    id: UserId,
    password_hash: String,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE users SET password_hash = $2, role = $3, org_id = $4, disabled_at = NULL WHERE id = $1",
        params![id, password_hash, Role::Admin.as_str(), DEFAULT_ORG],
    )
    .await?;
    delete_sessions(tx, id).await
}

/// Ends all sessions of a person.
pub(crate) async fn delete_sessions(tx: &mut Tx, id: UserId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM sessions WHERE user_id = $1", params![id])
        .await?;
    Ok(())
}

/// Ends all sessions of a person but one.
pub(crate) async fn delete_sessions_but(
    tx: &mut Tx,
    id: UserId,
    kept: &SecretHash,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM sessions WHERE user_id = $1 AND token_hash <> $2",
        params![id, kept.as_bytes()],
    )
    .await?;
    Ok(())
}

/// Stores the set-up token's hash. Returns `false` when there is one already.
pub(crate) async fn insert_setup_token(tx: &mut Tx, hash: &SecretHash) -> Result<bool, StoreError> {
    let stored = tx
        .execute(
            "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
            params![SETUP_TOKEN, hex::encode(hash.as_bytes())],
        )
        .await?;
    Ok(stored == 1)
}

/// Tells whether this is the unused set-up token.
pub(crate) async fn is_setup_token(tx: &mut Tx, hash: &SecretHash) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT key FROM settings WHERE key = $1 AND value = $2",
            params![SETUP_TOKEN, hex::encode(hash.as_bytes())],
        )
        .await?;
    Ok(row.is_some())
}

/// Uses the set-up token up. Returns `false` when it is another one, or was used before.
pub(crate) async fn take_setup_token(tx: &mut Tx, hash: &SecretHash) -> Result<bool, StoreError> {
    let taken = tx
        .execute(
            "DELETE FROM settings WHERE key = $1 AND value = $2",
            params![SETUP_TOKEN, hex::encode(hash.as_bytes())],
        )
        .await?;
    Ok(taken == 1)
}

pub(crate) async fn delete_setup_token(tx: &mut Tx) -> Result<(), StoreError> {
    tx.execute("DELETE FROM settings WHERE key = $1", params![SETUP_TOKEN])
        .await?;
    Ok(())
}

/// A session about to be stored.
pub(crate) struct SessionRow {
    pub(crate) id: SessionId,
    pub(crate) user_id: UserId,
    pub(crate) token_hash: SecretHash,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// Inserts a session of a person whose password was verified. Returns `false` when they have that one no more, or were disabled.
pub(crate) async fn insert_session(
    tx: &mut Tx,
    session: SessionRow,
    verified_hash: &str,
) -> Result<bool, StoreError> {
    let inserted = tx
        .execute(
            "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at)
             SELECT $1, id, $3, $4, $5 FROM users
             WHERE id = $2 AND password_hash = $6 AND disabled_at IS NULL",
            params![
                session.id,
                session.user_id,
                session.token_hash.as_bytes(),
                session.created_at,
                session.expires_at,
                verified_hash
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// Removes expired sessions of all users, and the oldest of this user beyond the newest `keep`.
pub(crate) async fn trim_sessions(
    tx: &mut Tx,
    user_id: UserId,
    keep: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute("DELETE FROM sessions WHERE expires_at <= $1", params![now])
        .await?;
    tx.execute(
        "DELETE FROM sessions WHERE user_id = $1 AND id NOT IN (
            SELECT id FROM sessions WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2
        )",
        params![user_id, keep],
    )
    .await?;
    Ok(())
}

pub(crate) async fn delete_session(
    tx: &mut Tx,
    token_hash: &SecretHash,
) -> Result<bool, StoreError> {
    let deleted = tx
        .execute(
            "DELETE FROM sessions WHERE token_hash = $1",
            params![token_hash.as_bytes()],
        )
        .await?;
    Ok(deleted == 1)
}

/// How many there are of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Of one organisation.
    pub(crate) own: u64,
    /// Of all.
    pub(crate) all: u64,
}

pub(crate) fn read_counted(row: Option<&Row>) -> Result<Counted, StoreError> {
    match row {
        Some(row) => Ok(Counted {
            own: row.get("own_count")?,
            all: row.get("all_count")?,
        }),
        None => Ok(Counted::default()),
    }
}

/// Counts the keys that are not revoked.
pub(crate) async fn count_live_keys(tx: &mut Tx, org: OrgId) -> Result<Counted, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) FILTER (WHERE org_id = $1) AS BIGINT) AS own_count, CAST(count(*) AS BIGINT) AS all_count
             FROM api_keys WHERE revoked_at IS NULL",
            params![org],
        )
        .await?;
    read_counted(row.as_ref())
}

/// Tells whether a person has a key of this name that still works at `now`. Keys of nobody count as one owner's.
pub(crate) async fn has_live_key_named(
    tx: &mut Tx,
    owner: Option<UserId>,
    name: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT id FROM api_keys
             WHERE user_id IS NOT DISTINCT FROM CAST($1 AS TEXT) AND name = $2 AND revoked_at IS NULL
                 AND (expires_at IS NULL OR expires_at > $3) LIMIT 1",
            params![owner, name, now],
        )
        .await?;
    Ok(row.is_some())
}

pub(crate) async fn insert_key(
    tx: &mut Tx,
    key: &ApiKey,
    secret_hash: &SecretHash,
    user_id: Option<UserId>,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO api_keys (id, org_id, name, prefix, secret_hash, user_id, models, scopes, priority,
             requests_per_minute, tokens_per_minute, tokens_per_month, share_identical, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        params![
            key.id,
            key.org_id,
            &key.name,
            &key.prefix,
            secret_hash.as_bytes(),
            user_id,
            key.models.as_ref().map(|models| serde_json::json!(models)),
            serde_json::json!(key.role.scopes()),
            key.priority.map(PriorityClass::as_str),
            key.limits.requests_per_minute,
            key.limits.tokens_per_minute,
            key.limits.tokens_per_month,
            key.share_identical,
            key.created_at,
            key.expires_at
        ],
    )
    .await?;
    Ok(())
}

const LIST_KEYS: &str =
    "SELECT k.id, k.org_id, k.name, k.prefix, k.models, k.scopes, k.priority, k.requests_per_minute, k.tokens_per_minute,
         k.tokens_per_month, k.share_identical, k.created_at, k.expires_at, k.revoked_at, k.last_used_at, u.disabled_at AS owner_disabled_at
     FROM api_keys k LEFT JOIN users u ON u.id = k.user_id
     WHERE (CAST($1 AS TEXT) IS NULL OR k.org_id = $1) AND k.id > $2 ORDER BY k.id LIMIT $3";

/// Lists keys in the order in which they were made, beginning after `after`.
pub(crate) async fn list_keys(
    tx: &mut Tx,
    scope: OrgScope,
    after: &str,
    limit: u32,
) -> Result<Vec<ApiKey>, StoreError> {
    tx.fetch_all(LIST_KEYS, params![scope.id(), after, limit])
        .await?
        .iter()
        .map(read_key)
        .collect()
}

/// Revokes a key, keeping the time of an earlier revocation. Returns `false` when there is no such key within the scope.
pub(crate) async fn revoke_key(
    tx: &mut Tx,
    scope: OrgScope,
    id: KeyId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let found = tx
        .execute(
            "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $2)
             WHERE id = $1 AND (CAST($3 AS TEXT) IS NULL OR org_id = $3)",
            params![id, now, scope.id()],
        )
        .await?;
    Ok(found == 1)
}

/// Counts a change, so that other replicas notice it. Also orders the changes: the row stays locked until the commit, so a
/// transaction that begins with this reads what no other one changes, and all that do so take their locks in one order.
pub(crate) async fn advance_generation(tx: &mut Tx) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO settings (key, value) VALUES ($1, '1')
         ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(settings.value AS BIGINT) + 1 AS TEXT)",
        params![GENERATION],
    )
    .await?;
    Ok(())
}

/// Returns how many changes were counted.
pub(crate) async fn load_generation(tx: &mut Tx) -> Result<i64, StoreError> {
    match tx
        .fetch_optional(
            "SELECT CAST(value AS BIGINT) AS generation FROM settings WHERE key = $1",
            params![GENERATION],
        )
        .await?
    {
        Some(row) => row.get("generation"),
        None => Ok(0),
    }
}

/// Loads every valid credential that can be read. Usage that `current` has seen and the database has not is carried over.
pub(crate) async fn load_entries(
    tx: &mut Tx,
    now: Timestamp,
    current: &Snapshot,
) -> Result<Entries, StoreError> {
    let mut entries = Entries::default();
    let keys = tx
        .fetch_all(
            "SELECT k.id, k.org_id, k.name, k.secret_hash, k.models, k.scopes, k.priority, k.requests_per_minute,
                 k.tokens_per_minute, k.tokens_per_month, k.share_identical, k.expires_at, k.last_used_at, k.user_id, u.role AS owner_role
             FROM api_keys k LEFT JOIN users u ON u.id = k.user_id
             WHERE k.revoked_at IS NULL AND u.disabled_at IS NULL",
            (),
        )
        .await?;
    insert_readable(&mut entries, &keys, |row| read_key_entry(row, current));
    let sessions = tx
        .fetch_all(
            "SELECT s.id, s.user_id, s.token_hash, s.expires_at, s.last_used_at, u.username, u.role, u.org_id
             FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE s.expires_at > $1 AND u.disabled_at IS NULL",
            params![now],
        )
        .await?;
    insert_readable(&mut entries, &sessions, |row| {
        read_session_entry(row, current)
    });
    Ok(entries)
}

/// Adds what can be read. A damaged row lets nobody in, and must not keep others from being revoked.
fn insert_readable(
    entries: &mut Entries,
    rows: &[Row],
    read: impl Fn(&Row) -> Result<(SecretHash, Entry), StoreError>,
) {
    for row in rows {
        match read(row) {
            Ok((hash, entry)) => {
                entries.insert(hash, entry);
            }
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "a stored credential is damaged and left out"
            ),
        }
    }
}

fn read_key_entry(row: &Row, current: &Snapshot) -> Result<(SecretHash, Entry), StoreError> {
    let id: KeyId = row.get("id")?;
    let hash = read_hash(row, "secret_hash")?;
    let mut role = read_scopes(row)?;
    if let Some(owner_role) = row.get::<Option<String>>("owner_role")? {
        role = role.at_most(Role::from_name(&owner_role).unwrap_or(Role::Viewer));
    }
    let entry = Entry {
        principal: Principal {
            kind: PrincipalKind::Key(id),
            user: row.get("user_id")?,
            name: row.get::<String>("name")?.into(),
            org: row.get("org_id")?,
            role,
            models: row
                .get::<Option<Json<Vec<String>>>>("models")?
                .map(|Json(models)| models.into()),
            priority: read_priority(row)?,
            limits: read_limits(row)?,
            shares_identical: row.get("share_identical")?,
        },
        expires_at: row.get("expires_at")?,
        usage: usage(row, &hash, UsageOwner::Key(id), current)?,
    };
    Ok((hash, entry))
}

fn read_session_entry(row: &Row, current: &Snapshot) -> Result<(SecretHash, Entry), StoreError> {
    let hash = read_hash(row, "token_hash")?;
    let owner = UsageOwner::Session(row.get("id")?);
    let user_id = row.get("user_id")?;
    let entry = Entry {
        principal: Principal {
            kind: PrincipalKind::User(user_id),
            user: Some(user_id),
            name: row.get::<String>("username")?.into(),
            org: row.get("org_id")?,
            role: read_role(row)?,
            models: None,
            priority: None,
            limits: KeyLimits::default(),
            shares_identical: false,
        },
        expires_at: row.get("expires_at")?,
        usage: usage(row, &hash, owner, current)?,
    };
    Ok((hash, entry))
}

const USED_KEYS: Statement = Statement::per_engine(
    "UPDATE api_keys SET last_used_at = used.at
     FROM (SELECT value->>0 AS id, value->>1 AS at FROM json_each($1)) AS used
     WHERE api_keys.id = used.id AND (api_keys.last_used_at IS NULL OR api_keys.last_used_at < used.at)",
    "UPDATE api_keys SET last_used_at = used.at
     FROM (SELECT e->>0 AS id, CAST(e->>1 AS BIGINT) AS at FROM jsonb_array_elements($1) AS e) AS used
     WHERE api_keys.id = used.id AND (api_keys.last_used_at IS NULL OR api_keys.last_used_at < used.at)",
);

const USED_SESSIONS: Statement = Statement::per_engine(
    "UPDATE sessions SET last_used_at = used.at
     FROM (SELECT value->>0 AS id, value->>1 AS at FROM json_each($1)) AS used
     WHERE sessions.id = used.id AND (sessions.last_used_at IS NULL OR sessions.last_used_at < used.at)",
    "UPDATE sessions SET last_used_at = used.at
     FROM (SELECT e->>0 AS id, CAST(e->>1 AS BIGINT) AS at FROM jsonb_array_elements($1) AS e) AS used
     WHERE sessions.id = used.id AND (sessions.last_used_at IS NULL OR sessions.last_used_at < used.at)",
);

/// Stores when credentials were last used.
pub(crate) async fn update_last_used(
    tx: &mut Tx,
    used: &[(UsageOwner, Timestamp)],
) -> Result<(), StoreError> {
    let (mut keys, mut sessions) = (Vec::new(), Vec::new());
    for (owner, at) in used {
        match owner {
            UsageOwner::Key(id) => keys.push(serde_json::json!([id.to_string(), at.as_micros()])),
            UsageOwner::Session(id) => {
                sessions.push(serde_json::json!([id.to_string(), at.as_micros()]));
            }
        }
    }
    for (sql, used) in [(USED_KEYS, keys), (USED_SESSIONS, sessions)] {
        if !used.is_empty() {
            tx.execute(sql, params![serde_json::Value::Array(used)])
                .await?;
        }
    }
    Ok(())
}

fn usage(
    row: &Row,
    hash: &SecretHash,
    owner: UsageOwner,
    current: &Snapshot,
) -> Result<Arc<Usage>, StoreError> {
    if let Some(known) = current.usage_of(hash) {
        return Ok(Arc::clone(known));
    }
    Ok(Arc::new(Usage::new(owner, row.get("last_used_at")?)))
}

fn read_key(row: &Row) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: row.get("id")?,
        org_id: row.get("org_id")?,
        name: row.get("name")?,
        prefix: row.get("prefix")?,
        role: read_scopes(row)?,
        models: row
            .get::<Option<Json<Vec<String>>>>("models")?
            .map(|Json(models)| models),
        priority: read_priority(row)?,
        limits: read_limits(row)?,
        share_identical: row.get("share_identical")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.get("revoked_at")?,
        last_used_at: row.get("last_used_at")?,
        owner_disabled: row.get::<Option<Timestamp>>("owner_disabled_at")?.is_some(),
    })
}

fn read_hash(row: &Row, column: &str) -> Result<SecretHash, StoreError> {
    SecretHash::from_slice(&row.get::<Vec<u8>>(column)?).ok_or_else(|| StoreError::Corrupt {
        column: column.to_owned(),
        reason: "not 32 bytes".to_owned(),
    })
}

fn read_scopes(row: &Row) -> Result<Role, StoreError> {
    let Json(scopes) = row.get::<Json<Vec<String>>>("scopes")?;
    Ok(Role::from_scopes(&scopes))
}

/// Reads a person's role. One that this build does not know may do least.
pub(crate) fn read_role(row: &Row) -> Result<Role, StoreError> {
    let name: String = row.get("role")?;
    Ok(Role::from_name(&name).unwrap_or(Role::Viewer))
}

fn read_priority(row: &Row) -> Result<Option<PriorityClass>, StoreError> {
    let name: Option<String> = row.get("priority")?;
    // A class that this build does not know is a ceiling all the same.
    Ok(name.map(|name| PriorityClass::from_name(&name).unwrap_or(PriorityClass::Batch)))
}

fn read_limits(row: &Row) -> Result<KeyLimits, StoreError> {
    Ok(KeyLimits {
        requests_per_minute: row.get("requests_per_minute")?,
        tokens_per_minute: row.get("tokens_per_minute")?,
        tokens_per_month: row.get("tokens_per_month")?,
    })
}
