//! The SQL of identities at providers, and of tickets.

use ::store::{Row, StoreError, Tx, params};
use primitives::{OrgId, Timestamp, UserId};

use crate::credential::SecretHash;
use crate::oidc::LinkedIdentity;

/// A ticket as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TicketRow {
    pub(crate) provider: String,
    pub(crate) challenge: String,
    pub(crate) statement: String,
}

/// Counts the tickets that are good, after those that have ended are removed.
pub(crate) async fn count_tickets(tx: &mut Tx, now: Timestamp) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM sign_in_tickets WHERE expires_at <= $1",
        params![now],
    )
    .await?;
    match tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS found FROM sign_in_tickets",
            (),
        )
        .await?
    {
        Some(row) => row.get("found"),
        None => Ok(0),
    }
}

pub(crate) async fn insert_ticket(
    tx: &mut Tx,
    hash: &SecretHash,
    ticket: &TicketRow,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO sign_in_tickets (ticket_hash, provider, challenge, statement, expires_at) VALUES ($1, $2, $3, $4, $5)",
        params![
            hash.as_bytes(),
            &ticket.provider,
            &ticket.challenge,
            &ticket.statement,
            expires_at
        ],
    )
    .await?;
    Ok(())
}

/// Takes a ticket that is good. Returns `None` when there is none.
pub(crate) async fn take_ticket(
    tx: &mut Tx,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<TicketRow>, StoreError> {
    tx.fetch_optional(
        "DELETE FROM sign_in_tickets WHERE ticket_hash = $1 AND expires_at > $2 RETURNING provider, challenge, statement",
        params![hash.as_bytes(), now],
    )
    .await?
    .map(|row| {
        Ok(TicketRow {
            provider: row.get("provider")?,
            challenge: row.get("challenge")?,
            statement: row.get("statement")?,
        })
    })
    .transpose()
}

/// Finds whose an identity is.
pub(crate) async fn find_identity_owner(
    tx: &mut Tx,
    issuer: &str,
    subject: &str,
) -> Result<Option<UserId>, StoreError> {
    tx.fetch_optional(
        "SELECT user_id FROM linked_identities WHERE issuer = $1 AND subject = $2",
        params![issuer, subject],
    )
    .await?
    .map(|row| row.get("user_id"))
    .transpose()
}

/// Tells whether a person has an identity of an issuer.
pub(crate) async fn has_identity_of(
    tx: &mut Tx,
    user: UserId,
    issuer: &str,
) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT subject FROM linked_identities WHERE user_id = $1 AND issuer = $2",
            params![user, issuer],
        )
        .await?;
    Ok(row.is_some())
}

/// Links an identity that is nobody's to a person who has none of its issuer.
pub(crate) async fn insert_identity(
    tx: &mut Tx,
    user: UserId,
    identity: &LinkedIdentity,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO linked_identities (issuer, subject, user_id, provider, email, created_at, last_sign_in_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![
            &identity.issuer,
            &identity.subject,
            user,
            &identity.provider,
            identity.email.as_deref(),
            identity.created_at,
            identity.last_sign_in_at
        ],
    )
    .await?;
    Ok(())
}

/// Notes a sign-in by an identity.
pub(crate) async fn touch_identity(
    tx: &mut Tx,
    issuer: &str,
    subject: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE linked_identities SET last_sign_in_at = $3 WHERE issuer = $1 AND subject = $2",
        params![issuer, subject, now],
    )
    .await?;
    Ok(())
}

/// Lists a person's identities: as many as there are providers at most.
pub(crate) async fn list_identities(
    tx: &mut Tx,
    user: UserId,
) -> Result<Vec<LinkedIdentity>, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT issuer, subject, provider, email, created_at, last_sign_in_at FROM linked_identities
             WHERE user_id = $1 ORDER BY created_at, issuer",
            params![user],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// Unlinks a person's identity of a provider. Returns it, `None` when there is none.
pub(crate) async fn delete_identity(
    tx: &mut Tx,
    user: UserId,
    provider: &str,
) -> Result<Option<LinkedIdentity>, StoreError> {
    tx.fetch_optional(
        "DELETE FROM linked_identities WHERE user_id = $1 AND provider = $2
         RETURNING issuer, subject, provider, email, created_at, last_sign_in_at",
        params![user, provider],
    )
    .await?
    .map(|row| read(&row))
    .transpose()
}

/// Finds a person by the address that they have.
pub(crate) async fn find_user_by_email(
    tx: &mut Tx,
    email: &str,
) -> Result<Option<UserId>, StoreError> {
    tx.fetch_optional("SELECT id FROM users WHERE email = $1", params![email])
        .await?
        .map(|row| row.get("id"))
        .transpose()
}

/// Tells whether a name to sign in with is taken.
pub(crate) async fn is_username_taken(tx: &mut Tx, username: &str) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT id FROM users WHERE username = $1",
            params![username],
        )
        .await?;
    Ok(row.is_some())
}

/// Finds an organisation by its name.
pub(crate) async fn find_organisation_named(
    tx: &mut Tx,
    name: &str,
) -> Result<Option<OrgId>, StoreError> {
    tx.fetch_optional(
        "SELECT id FROM organisations WHERE name = $1",
        params![name],
    )
    .await?
    .map(|row| row.get("id"))
    .transpose()
}

fn read(row: &Row) -> Result<LinkedIdentity, StoreError> {
    Ok(LinkedIdentity {
        issuer: row.get("issuer")?,
        subject: row.get("subject")?,
        provider: row.get("provider")?,
        email: row.get("email")?,
        created_at: row.get("created_at")?,
        last_sign_in_at: row.get("last_sign_in_at")?,
    })
}
