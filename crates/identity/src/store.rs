//! All SQL of the domain, one text for both engines.

mod audit;
mod generation;
mod idempotency;
mod invitations;
mod keys;
mod oidc;
mod organisations;
mod password_resets;
mod privacy;
mod roles;
mod second_factor;
mod sessions;
mod signing_keys;
mod users;

use std::sync::Arc;

use ::store::{Json, Row, Statement, StoreError, Tx, params};
use primitives::{KeyId, OrgId, Timestamp, UserId};

use crate::credential::SecretHash;
use crate::key_scope::KeyScope;
use crate::model::{KeyLimits, Principal, PrincipalKind, PriorityClass, Role};
use crate::organisations::DEFAULT_ORG;
use crate::snapshot::{Entries, Entry, Snapshot, Usage, UsageOwner};

pub(crate) use audit::{
    About, Mark, RowChange, Trace, append_audit, audit_after, audit_base, audit_head, audit_traces,
    find_audit, last_audit_before, list_audit, put_erased, set_audit_base,
};
pub(crate) use generation::{
    Place, advance_generation, advance_generation_for, advance_generation_only, begin_change,
    can_trim_changes, changed_credentials, glance_at_generation, load_generation, note_changed,
    trim_changes,
};
pub(crate) use idempotency::{
    count_remembered, find_remembered, forget_request, forget_requests, list_answers, put_answer,
    remember_request,
};
pub(crate) use invitations::{
    count_invitations, delete_invitation, find_invitation, insert_invitation, list_invitations,
    take_invitation,
};
pub(crate) use keys::{
    FoundKey, count_live_keys, find_key, find_key_ahead, has_live_key_named, insert_key, list_keys,
    revoke_key, update_key,
};
pub(crate) use oidc::{
    TicketRow, count_tickets, delete_identity, find_identity_owner, find_organisation_named,
    find_user_by_email, has_identity_of, insert_identity, insert_ticket, is_username_taken,
    list_identities, take_ticket, touch_identity,
};
pub(crate) use organisations::{
    count_organisations, has_organisation, insert_organisation, known_organisation,
    list_organisations,
};
pub(crate) use password_resets::{find_reset, put_reset, take_reset};
pub(crate) use privacy::{addresses_of_user, delete_user, facts_of_user, keys_of_user};
pub(crate) use roles::{
    count_people_with_role, count_roles, delete_role, find_role, insert_role, list_roles,
    read_rights, update_role,
};
pub(crate) use second_factor::{
    StoredTotp, begin_totp, confirm_totp, count_recovery_codes, find_totp, list_totp_secrets,
    put_recovery_codes, put_totp_secret, remove_totp, take_recovery_code, take_step,
};
pub(crate) use sessions::{
    Held, SessionRow, Spent, Successor, delete_session, delete_sessions, delete_sessions_but,
    find_held, find_spent, insert_session, list_sessions, load_sessions, rotate_session,
    trim_sessions,
};
pub(crate) use signing_keys::{
    delete_signing_key, insert_signing_key, load_signing_keys, put_signing_secret,
};
pub(crate) use users::{
    count_users, find_user_by_id, has_other_admin, insert_user, list_users, replace_password,
    update_password, update_profile, update_user,
};

const SETUP_TOKEN: &str = "identity.setup_token";

/// What is needed of a person to check their password.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: UserId,
    pub(crate) org_id: OrgId,
    pub(crate) role: Role,
    pub(crate) password_hash: String,
    pub(crate) disabled_at: Option<Timestamp>,
    /// Whether signing in takes a code too.
    pub(crate) second_factor: bool,
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
        "SELECT id, org_id, role, password_hash, disabled_at, totp_confirmed_at FROM users WHERE username = $1",
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
            second_factor: row
                .get::<Option<Timestamp>>("totp_confirmed_at")?
                .is_some(),
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
        "UPDATE users SET password_hash = $2, role = $3, org_id = $4, custom_role = NULL, disabled_at = NULL WHERE id = $1",
        params![id, password_hash, Role::Admin.as_str(), DEFAULT_ORG],
    )
    .await?;
    delete_sessions(tx, id).await
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

/// How many there are of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Of one organisation.
    pub(crate) own: u64,
    /// Of all.
    pub(crate) all: u64,
}

/// Reads how many things there are on all pages of a list.
pub(crate) fn read_total(row: Option<&Row>) -> Result<u64, StoreError> {
    row.map_or(Ok(0), |row| row.get("total"))
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

/// Words the query of all keys that can be valid, or of some.
macro_rules! keys {
    ($some:literal) => {
        concat!(
            "SELECT k.id, k.org_id, k.name, k.secret_hash, k.models, k.scopes, k.priority, k.requests_per_minute,
                 k.tokens_per_minute, k.tokens_per_month, k.share_identical, k.expires_at, k.last_used_at, k.user_id, u.role AS owner_role,
                 u.custom_role, r.permissions AS custom_permissions
             FROM api_keys k LEFT JOIN users u ON u.id = k.user_id
                 LEFT JOIN roles r ON r.org_id = u.org_id AND r.name = u.custom_role
             WHERE k.revoked_at IS NULL AND u.disabled_at IS NULL",
            $some
        )
    };
}

/// Which credentials to load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    /// Every one.
    All,
    /// Those that changes were about: which came after one, up to another.
    Changed {
        /// The last change before them.
        after: i64,
        /// The last one of them.
        until: i64,
    },
}

/// Loads valid credentials that can be read. Usage that `current` has seen and the database has not is carried over.
pub(crate) async fn load_entries(
    tx: &mut Tx,
    which: Which,
    now: Timestamp,
    current: &Snapshot,
) -> Result<Entries, StoreError> {
    let mut entries = Entries::default();
    let keys = match which {
        Which::All => tx.fetch_all(keys!(""), ()).await?,
        Which::Changed { after, until } => {
            tx.fetch_all(
                keys!(
                    " AND k.id IN (SELECT id FROM credential_changes WHERE generation > $1 AND generation <= $2)"
                ),
                params![after, until],
            )
            .await?
        }
    };
    for (hash, entry) in readable(&keys, |row| read_key_entry(row, current)) {
        entries.by_secret.insert(hash, Arc::new(entry));
    }
    load_sessions(tx, which, now, current, &mut entries).await?;
    Ok(entries)
}

/// Reads what can be read. A damaged row lets nobody in, and must not keep others from being revoked.
fn readable<T>(
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> impl Iterator<Item = T> {
    rows.iter().filter_map(move |row| {
        read(row)
            .inspect_err(|error| {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "a stored credential is damaged and left out"
                );
            })
            .ok()
    })
}

fn read_key_entry(row: &Row, current: &Snapshot) -> Result<(SecretHash, Entry), StoreError> {
    let id: KeyId = row.get("id")?;
    let hash = read_hash(row, "secret_hash")?;
    let mut rights = read_scopes(row)?.rights();
    if let Some(owner) = read_rights(row, "owner_role")? {
        rights = rights.at_most(owner);
    }
    let entry = Entry {
        principal: Principal {
            kind: PrincipalKind::Key(id),
            user: row.get("user_id")?,
            session: None,
            name: row.get::<String>("name")?.into(),
            org: row.get("org_id")?,
            role: rights.role,
            permissions: rights.permissions,
            models: row
                .get::<Option<Json<Vec<String>>>>("models")?
                .map(|Json(models)| models.into()),
            priority: read_priority(row)?,
            limits: read_limits(row)?,
            shares_identical: row.get("share_identical")?,
        },
        expires_at: row.get("expires_at")?,
        usage: usage(row, UsageOwner::Key(id), current.usage_of_secret(&hash))?,
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

/// Returns the usage that the snapshot has seen, or what the row says of it.
fn usage(
    row: &Row,
    owner: UsageOwner,
    known: Option<&Arc<Usage>>,
) -> Result<Arc<Usage>, StoreError> {
    match known {
        Some(known) => Ok(Arc::clone(known)),
        None => Ok(Arc::new(Usage::new(owner, row.get("last_used_at")?))),
    }
}

fn read_hash(row: &Row, column: &str) -> Result<SecretHash, StoreError> {
    SecretHash::from_slice(&row.get::<Vec<u8>>(column)?).ok_or_else(|| StoreError::Corrupt {
        column: column.to_owned(),
        reason: "not 32 bytes".to_owned(),
    })
}

fn read_scopes(row: &Row) -> Result<KeyScope, StoreError> {
    let Json(scopes) = row.get::<Json<Vec<String>>>("scopes")?;
    Ok(KeyScope::stored(&scopes))
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
