//! The SQL of sessions and of the refresh tokens that they were held with.

use std::sync::Arc;

use ::store::{Row, StoreError, Tx, params};
use primitives::{OrgId, PageRequest, SessionId, Timestamp, UserId};

use super::{Which, read_hash, read_rights, read_total, readable, usage};
use crate::credential::SecretHash;
use crate::model::{KeyLimits, Principal, PrincipalKind};
use crate::origin::Origin;
use crate::permission::{Permissions, Rights};
use crate::sessions::Session;
use crate::snapshot::{Entries, Entry, Snapshot, UsageOwner};

/// The most spent tokens of one session that are remembered. One from further back is as unknown as any other text.
const SPENT_TOKENS: i64 = 100;

/// A session about to be stored.
pub(crate) struct SessionRow<'a> {
    pub(crate) id: SessionId,
    pub(crate) user_id: UserId,
    pub(crate) token_hash: SecretHash,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) origin: &'a Origin,
}

/// Inserts a session of a person whose password was verified. Returns `false` when they have that one no more, or were disabled.
pub(crate) async fn insert_session(
    tx: &mut Tx,
    session: &SessionRow<'_>,
    verified_hash: &str,
) -> Result<bool, StoreError> {
    let inserted = tx
        .execute(
            "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at, rotating, ip, user_agent)
             SELECT $1, id, $3, $4, $5, TRUE, $7, $8 FROM users
             WHERE id = $2 AND password_hash = $6 AND disabled_at IS NULL",
            params![
                session.id,
                session.user_id,
                session.token_hash.as_bytes(),
                session.created_at,
                session.expires_at,
                verified_hash,
                session.origin.ip_text(),
                session.origin.user_agent.as_deref()
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// Removes expired sessions of all users, and the oldest of this user beyond the newest `keep`; returns these.
pub(crate) async fn trim_sessions(
    tx: &mut Tx,
    user_id: UserId,
    keep: i64,
    now: Timestamp,
) -> Result<Vec<SessionId>, StoreError> {
    tx.execute("DELETE FROM sessions WHERE expires_at <= $1", params![now])
        .await?;
    tx.fetch_all(
        "DELETE FROM sessions WHERE user_id = $1 AND id NOT IN (
            SELECT id FROM sessions WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2
        ) RETURNING id",
        params![user_id, keep],
    )
    .await?
    .iter()
    .map(|row| row.get("id"))
    .collect()
}

/// Ends a session, of this person where one is given. Returns the organisation of its owner, `None` when there is no such session.
pub(crate) async fn delete_session(
    tx: &mut Tx,
    id: SessionId,
    of: Option<UserId>,
) -> Result<Option<OrgId>, StoreError> {
    let found = tx
        .fetch_optional(
            "SELECT u.org_id FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE s.id = $1 AND (CAST($2 AS TEXT) IS NULL OR s.user_id = $2)",
            params![id, of],
        )
        .await?;
    let Some(row) = found else {
        return Ok(None);
    };
    tx.execute("DELETE FROM sessions WHERE id = $1", params![id])
        .await?;
    row.get("org_id").map(Some)
}

/// Ends all sessions of a person.
pub(crate) async fn delete_sessions(tx: &mut Tx, id: UserId) -> Result<(), StoreError> {
    delete_sessions_but(tx, id, None).await
}

/// Ends all sessions of a person but one.
pub(crate) async fn delete_sessions_but(
    tx: &mut Tx,
    id: UserId,
    kept: Option<SessionId>,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM sessions WHERE user_id = $1 AND (CAST($2 AS TEXT) IS NULL OR id <> $2)",
        params![id, kept],
    )
    .await?;
    Ok(())
}

/// A session that stands, as its refresh token shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) session: SessionId,
    pub(crate) user: UserId,
    pub(crate) expires_at: Timestamp,
}

/// Finds the session that is held with this refresh token.
pub(crate) async fn find_held(
    tx: &mut Tx,
    token_hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<Held>, StoreError> {
    tx.fetch_optional(
        "SELECT s.id, s.user_id, s.expires_at FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.token_hash = $1 AND s.rotating AND s.expires_at > $2 AND u.disabled_at IS NULL",
        params![token_hash.as_bytes(), now],
    )
    .await?
    .map(|row| {
        Ok(Held {
            session: row.get("id")?,
            user: row.get("user_id")?,
            expires_at: row.get("expires_at")?,
        })
    })
    .transpose()
}

/// A refresh token that was replaced.
#[derive(Debug)]
pub(crate) struct Spent {
    /// The session that was once held with it.
    pub(crate) session: SessionId,
    pub(crate) at: Timestamp,
    /// The sealed token that replaced it, while that one is not spent either.
    pub(crate) successor: Option<Vec<u8>>,
}

/// Finds what became of a refresh token that was replaced.
pub(crate) async fn find_spent(
    tx: &mut Tx,
    token_hash: &SecretHash,
) -> Result<Option<Spent>, StoreError> {
    tx.fetch_optional(
        "SELECT session_id, spent_at, successor FROM spent_refresh_tokens WHERE token_hash = $1",
        params![token_hash.as_bytes()],
    )
    .await?
    .map(|row| {
        Ok(Spent {
            session: row.get("session_id")?,
            at: row.get("spent_at")?,
            successor: row.get("successor")?,
        })
    })
    .transpose()
}

/// The token that replaces another one.
pub(crate) struct Successor {
    pub(crate) hash: SecretHash,
    pub(crate) sealed: Vec<u8>,
}

/// Replaces a session's refresh token and sets its end. Returns `false` when another request did so first.
pub(crate) async fn rotate_session(
    tx: &mut Tx,
    held: Held,
    (spent, next): (&SecretHash, Successor),
    now: Timestamp,
) -> Result<bool, StoreError> {
    let replaced = tx
        .execute(
            "UPDATE sessions SET token_hash = $3, expires_at = $4, last_used_at = $5
             WHERE id = $1 AND token_hash = $2 AND rotating",
            params![
                held.session,
                spent.as_bytes(),
                next.hash.as_bytes(),
                held.expires_at,
                now
            ],
        )
        .await?;
    if replaced != 1 {
        return Ok(false);
    }
    tx.execute(
        "UPDATE spent_refresh_tokens SET successor = NULL WHERE session_id = $1 AND successor IS NOT NULL",
        params![held.session],
    )
    .await?;
    tx.execute(
        "INSERT INTO spent_refresh_tokens (token_hash, session_id, spent_at, successor) VALUES ($1, $2, $3, $4)",
        params![spent.as_bytes(), held.session, now, next.sealed],
    )
    .await?;
    tx.execute(
        "DELETE FROM spent_refresh_tokens WHERE session_id = $1 AND token_hash NOT IN (
            SELECT token_hash FROM spent_refresh_tokens WHERE session_id = $1
            ORDER BY spent_at DESC, token_hash LIMIT $2
        )",
        params![held.session, SPENT_TOKENS],
    )
    .await?;
    Ok(true)
}

/// Lists the sessions of a person that stand, by id, beginning after `after`, and counts them.
pub(crate) async fn list_sessions(
    tx: &mut Tx,
    user: UserId,
    now: Timestamp,
    after: &str,
    page: &PageRequest,
) -> Result<(Vec<Session>, u64), StoreError> {
    let found = tx
        .fetch_all(
            "SELECT id, created_at, expires_at, last_used_at, ip, user_agent FROM sessions
             WHERE user_id = $1 AND expires_at > $2 AND id > $3 ORDER BY id LIMIT $4 OFFSET $5",
            params![user, now, after, page.size() + 1, page.skipped()],
        )
        .await?
        .iter()
        .map(|row| {
            Ok(Session {
                id: row.get("id")?,
                created_at: row.get("created_at")?,
                expires_at: row.get("expires_at")?,
                last_used_at: row.get("last_used_at")?,
                ip: row.get("ip")?,
                user_agent: row.get("user_agent")?,
            })
        })
        .collect::<Result<_, StoreError>>()?;
    let total = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM sessions WHERE user_id = $1 AND expires_at > $2",
            params![user, now],
        )
        .await?;
    Ok((found, read_total(total.as_ref())?))
}

/// Words the query of all sessions that stand, or of some.
macro_rules! sessions {
    ($some:literal) => {
        concat!(
            "SELECT s.id, s.user_id, s.token_hash, s.rotating, s.expires_at, s.last_used_at, u.username, u.role, u.org_id,
                 u.custom_role, r.permissions AS custom_permissions
             FROM sessions s JOIN users u ON u.id = s.user_id
                 LEFT JOIN roles r ON r.org_id = u.org_id AND r.name = u.custom_role
             WHERE s.expires_at > $1 AND u.disabled_at IS NULL",
            $some
        )
    };
}

/// Loads sessions that stand into the entries of a snapshot.
pub(crate) async fn load_sessions(
    tx: &mut Tx,
    which: Which,
    now: Timestamp,
    current: &Snapshot,
    entries: &mut Entries,
) -> Result<(), StoreError> {
    let rows = match which {
        Which::All => tx.fetch_all(sessions!(""), params![now]).await?,
        Which::Changed { after, until } => {
            tx.fetch_all(
                sessions!(
                    " AND s.id IN (SELECT id FROM credential_changes WHERE generation > $2 AND generation <= $3)"
                ),
                params![now, after, until],
            )
            .await?
        }
    };
    for (id, single, entry) in readable(&rows, |row| read_entry(row, current)) {
        let entry = Arc::new(entry);
        match single {
            Some(hash) => entries.by_secret.insert(hash, entry),
            None => entries.by_session.insert(id, entry),
        };
    }
    Ok(())
}

/// Reads a session with the hash of its one token, where it has one.
fn read_entry(
    row: &Row,
    current: &Snapshot,
) -> Result<(SessionId, Option<SecretHash>, Entry), StoreError> {
    let id: SessionId = row.get("id")?;
    let user_id: UserId = row.get("user_id")?;
    let single = if row.get("rotating")? {
        None
    } else {
        Some(read_hash(row, "token_hash")?)
    };
    let known = match &single {
        Some(hash) => current.usage_of_secret(hash),
        None => current.usage_of_session(id),
    };
    let rights = read_rights(row, "role")?.unwrap_or(Rights::of(Permissions::NONE));
    let entry = Entry {
        principal: Principal {
            kind: PrincipalKind::User(user_id),
            user: Some(user_id),
            session: Some(id),
            name: row.get::<String>("username")?.into(),
            org: row.get("org_id")?,
            role: rights.role,
            permissions: rights.permissions,
            models: None,
            priority: None,
            limits: KeyLimits::default(),
            shares_identical: false,
        },
        expires_at: row.get("expires_at")?,
        usage: usage(row, UsageOwner::Session(id), known)?,
    };
    Ok((id, single, entry))
}
