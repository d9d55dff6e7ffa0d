//! The SQL of one-time codes and recovery codes.

use ::store::{StoreError, Tx, params};
use primitives::{Timestamp, UserId};

use crate::credential::SecretHash;

/// A person's secret for one-time codes.
#[derive(Clone, Debug)]
pub(crate) struct StoredTotp {
    /// Sealed.
    pub(crate) secret: Vec<u8>,
    /// When it was confirmed; before that it does not count.
    pub(crate) confirmed_at: Option<Timestamp>,
}

pub(crate) async fn find_totp(tx: &mut Tx, user: UserId) -> Result<Option<StoredTotp>, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT totp_secret, totp_confirmed_at FROM users WHERE id = $1 AND totp_secret IS NOT NULL",
            params![user],
        )
        .await?;
    row.map(|row| {
        Ok(StoredTotp {
            secret: row.get("totp_secret")?,
            confirmed_at: row.get("totp_confirmed_at")?,
        })
    })
    .transpose()
}

/// Stores a secret that is not confirmed yet, in place of another such one. Returns `false` when there is a confirmed one.
pub(crate) async fn begin_totp(
    tx: &mut Tx,
    user: UserId,
    secret: &[u8],
) -> Result<bool, StoreError> {
    let stored = tx
        .execute(
            "UPDATE users SET totp_secret = $2, totp_last_step = NULL WHERE id = $1 AND totp_confirmed_at IS NULL",
            params![user, secret],
        )
        .await?;
    Ok(stored == 1)
}

pub(crate) async fn confirm_totp(
    tx: &mut Tx,
    user: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE users SET totp_confirmed_at = $2 WHERE id = $1",
        params![user, now],
    )
    .await?;
    Ok(())
}

/// Removes the secret and all recovery codes. Returns `false` when there was none.
pub(crate) async fn remove_totp(tx: &mut Tx, user: UserId) -> Result<bool, StoreError> {
    tx.execute(
        "DELETE FROM recovery_codes WHERE user_id = $1",
        params![user],
    )
    .await?;
    let removed = tx
        .execute(
            "UPDATE users SET totp_secret = NULL, totp_confirmed_at = NULL, totp_last_step = NULL
             WHERE id = $1 AND totp_secret IS NOT NULL",
            params![user],
        )
        .await?;
    Ok(removed == 1)
}

/// Uses the code of a step up. Returns `false` when it, or a later one, was used before.
pub(crate) async fn take_step(tx: &mut Tx, user: UserId, step: u64) -> Result<bool, StoreError> {
    let taken = tx
        .execute(
            "UPDATE users SET totp_last_step = $2
             WHERE id = $1 AND (totp_last_step IS NULL OR totp_last_step < $2)",
            params![user, step],
        )
        .await?;
    Ok(taken == 1)
}

/// Stores a person's recovery codes in place of earlier ones.
pub(crate) async fn put_recovery_codes(
    tx: &mut Tx,
    user: UserId,
    hashes: &[SecretHash],
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM recovery_codes WHERE user_id = $1",
        params![user],
    )
    .await?;
    for hash in hashes {
        tx.execute(
            "INSERT INTO recovery_codes (code_hash, user_id) VALUES ($1, $2)",
            params![hash.as_bytes(), user],
        )
        .await?;
    }
    Ok(())
}

/// Uses a recovery code up. Returns `false` when it is none of this person's, or was used before.
pub(crate) async fn take_recovery_code(
    tx: &mut Tx,
    user: UserId,
    hash: &SecretHash,
) -> Result<bool, StoreError> {
    let taken = tx
        .execute(
            "DELETE FROM recovery_codes WHERE code_hash = $1 AND user_id = $2",
            params![hash.as_bytes(), user],
        )
        .await?;
    Ok(taken == 1)
}

pub(crate) async fn count_recovery_codes(tx: &mut Tx, user: UserId) -> Result<u64, StoreError> {
    match tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS codes FROM recovery_codes WHERE user_id = $1",
            params![user],
        )
        .await?
    {
        Some(row) => row.get("codes"),
        None => Ok(0),
    }
}

/// Lists the sealed secrets of all people.
pub(crate) async fn list_totp_secrets(tx: &mut Tx) -> Result<Vec<(UserId, Vec<u8>)>, StoreError> {
    tx.fetch_all(
        "SELECT id, totp_secret FROM users WHERE totp_secret IS NOT NULL",
        (),
    )
    .await?
    .iter()
    .map(|row| Ok((row.get("id")?, row.get("totp_secret")?)))
    .collect()
}

/// Writes a secret that is sealed anew.
pub(crate) async fn put_totp_secret(
    tx: &mut Tx,
    user: UserId,
    secret: Vec<u8>,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE users SET totp_secret = $2 WHERE id = $1",
        params![user, secret],
    )
    .await?;
    Ok(())
}
