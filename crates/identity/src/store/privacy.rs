//! The SQL of exporting and erasing a person.

use ::store::{Row, StoreError, Tx, params};
use primitives::{KeyId, Timestamp, UserId};
use serde_json::{Value, json};

use crate::privacy::{DataSubject, Erased};

/// What is known of a person beside their own record.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) second_factor_since: Option<Timestamp>,
    pub(crate) sessions: Vec<Value>,
    pub(crate) keys: Vec<Value>,
    pub(crate) identities: Vec<Value>,
    pub(crate) invitations: Vec<Value>,
}

/// Lists a person's keys, revoked ones too.
pub(crate) async fn keys_of_user(tx: &mut Tx, user: UserId) -> Result<Vec<KeyId>, StoreError> {
    tx.fetch_all(
        "SELECT id FROM api_keys WHERE user_id = $1 ORDER BY id",
        params![user],
    )
    .await?
    .iter()
    .map(|row| row.get("id"))
    .collect()
}

/// Lists the addresses that a person is known by at providers.
pub(crate) async fn addresses_of_user(
    tx: &mut Tx,
    user: UserId,
) -> Result<Vec<String>, StoreError> {
    tx.fetch_all(
        "SELECT email FROM linked_identities WHERE user_id = $1 AND email IS NOT NULL",
        params![user],
    )
    .await?
    .iter()
    .map(|row| row.get("email"))
    .collect()
}

/// Reads what is known of a person, but no hash and no secret.
pub(crate) async fn facts_of_user(tx: &mut Tx, user: UserId) -> Result<Facts, StoreError> {
    let since = tx
        .fetch_optional(
            "SELECT totp_confirmed_at FROM users WHERE id = $1",
            params![user],
        )
        .await?;
    let sessions = tx
        .fetch_all(
            "SELECT id, created_at, expires_at, last_used_at, ip, user_agent FROM sessions WHERE user_id = $1 ORDER BY id",
            params![user],
        )
        .await?;
    let keys = tx
        .fetch_all(
            "SELECT id, name, prefix, created_at, expires_at, revoked_at, last_used_at FROM api_keys WHERE user_id = $1 ORDER BY id",
            params![user],
        )
        .await?;
    let identities = tx
        .fetch_all(
            "SELECT provider, issuer, subject, email, created_at, last_sign_in_at FROM linked_identities WHERE user_id = $1",
            params![user],
        )
        .await?;
    let invitations = tx
        .fetch_all(
            "SELECT id, role, note, created_at, expires_at FROM invitations WHERE created_by = $1 ORDER BY id",
            params![user],
        )
        .await?;
    Ok(Facts {
        second_factor_since: since.map_or(Ok(None), |row| row.get("totp_confirmed_at"))?,
        sessions: shown(&sessions, |row| {
            Ok(json!({
                "id": text(row, "id")?, "created_at": time(row, "created_at")?, "expires_at": time(row, "expires_at")?,
                "last_used_at": time(row, "last_used_at")?, "ip": text(row, "ip")?, "user_agent": text(row, "user_agent")?,
            }))
        })?,
        keys: shown(&keys, |row| {
            Ok(json!({
                "id": text(row, "id")?, "name": text(row, "name")?, "prefix": text(row, "prefix")?,
                "created_at": time(row, "created_at")?, "expires_at": time(row, "expires_at")?,
                "revoked_at": time(row, "revoked_at")?, "last_used_at": time(row, "last_used_at")?,
            }))
        })?,
        identities: shown(&identities, |row| {
            Ok(json!({
                "provider": text(row, "provider")?, "issuer": text(row, "issuer")?, "subject": text(row, "subject")?,
                "email": text(row, "email")?, "created_at": time(row, "created_at")?,
                "last_sign_in_at": time(row, "last_sign_in_at")?,
            }))
        })?,
        invitations: shown(&invitations, |row| {
            Ok(json!({
                "id": text(row, "id")?, "role": text(row, "role")?, "note": text(row, "note")?,
                "created_at": time(row, "created_at")?, "expires_at": time(row, "expires_at")?,
            }))
        })?,
    })
}

fn shown(
    rows: &[Row],
    show: impl Fn(&Row) -> Result<Value, StoreError>,
) -> Result<Vec<Value>, StoreError> {
    rows.iter().map(show).collect()
}

fn text(row: &Row, column: &str) -> Result<Option<String>, StoreError> {
    row.get(column)
}

fn time(row: &Row, column: &str) -> Result<Option<Timestamp>, StoreError> {
    row.get(column)
}

/// Removes a person with their sessions, keys, identities, codes and resets, what is remembered of their requests, and tickets that name
/// their address.
pub(crate) async fn delete_user(
    tx: &mut Tx,
    of: &DataSubject,
    told: &[String],
) -> Result<Vec<Erased>, StoreError> {
    let mut remembered = 0;
    let callers = std::iter::once(format!("user:{}", of.id));
    let callers = callers.chain(of.keys.iter().map(|key| format!("key:{key}")));
    for caller in callers {
        remembered += tx
            .execute(
                "DELETE FROM idempotency_keys WHERE caller = $1",
                params![caller],
            )
            .await?;
    }
    let mut tickets = 0;
    for address in told {
        let pattern = address
            .replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_");
        tickets += tx
            .execute(
                "DELETE FROM sign_in_tickets WHERE statement LIKE $1 ESCAPE '\\'",
                params![format!("%{pattern}%")],
            )
            .await?;
    }
    let invitations = tx
        .execute(
            "UPDATE invitations SET created_by = NULL, note = NULL WHERE created_by = $1",
            params![of.id],
        )
        .await?;
    let keys = tx
        .execute("DELETE FROM api_keys WHERE user_id = $1", params![of.id])
        .await?;
    // Sessions, identities, codes and resets go with the person.
    let people = tx
        .execute("DELETE FROM users WHERE id = $1", params![of.id])
        .await?;
    Ok(vec![
        Erased {
            what: "people, with their sessions, second factor and identities at providers",
            rows: people,
        },
        Erased {
            what: "API keys",
            rows: keys,
        },
        Erased {
            what: "remembered requests",
            rows: remembered,
        },
        Erased {
            what: "sign-ins by providers under way",
            rows: tickets,
        },
        Erased {
            what: "invitations that the person made, of which note and maker",
            rows: invitations,
        },
    ])
}
