//! The SQL of ways back for who has lost their password.

use ::store::{StoreError, Tx, params};
use primitives::{Timestamp, UserId};

use crate::credential::SecretHash;

/// Stores a person's way back in place of an earlier one.
pub(crate) async fn put_reset(
    tx: &mut Tx,
    user: UserId,
    token_hash: &SecretHash,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO password_resets (user_id, token_hash, created_at, expires_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id) DO UPDATE
         SET token_hash = excluded.token_hash, created_at = excluded.created_at, expires_at = excluded.expires_at",
        params![user, token_hash.as_bytes(), now, expires_at],
    )
    .await?;
    Ok(())
}

/// Finds whose way back this is; nobody's when it has ended or they are disabled. Returns the name too.
pub(crate) async fn find_reset(
    tx: &mut Tx,
    token_hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<(UserId, String)>, StoreError> {
    tx.fetch_optional(
        "SELECT u.id, u.username FROM password_resets r JOIN users u ON u.id = r.user_id
         WHERE r.token_hash = $1 AND r.expires_at > $2 AND u.disabled_at IS NULL",
        params![token_hash.as_bytes(), now],
    )
    .await?
    .map(|row| Ok((row.get("id")?, row.get("username")?)))
    .transpose()
}

/// Uses a way back up. Returns `false` when it was used before.
pub(crate) async fn take_reset(tx: &mut Tx, token_hash: &SecretHash) -> Result<bool, StoreError> {
    let taken = tx
        .execute(
            "DELETE FROM password_resets WHERE token_hash = $1",
            params![token_hash.as_bytes()],
        )
        .await?;
    Ok(taken == 1)
}
