//! The SQL of the keys that sign access tokens.

use ::store::{StoreError, Tx, params};

use crate::signing::StoredKey;

/// Loads all keys: those that signed, that sign, and that will.
pub(crate) async fn load_signing_keys(tx: &mut Tx) -> Result<Vec<StoredKey>, StoreError> {
    tx.fetch_all(
        "SELECT id, public_key, private_key, created_at, signs_from FROM signing_keys",
        (),
    )
    .await?
    .iter()
    .map(|row| {
        Ok(StoredKey {
            id: row.get("id")?,
            public_key: row.get("public_key")?,
            private_key: row.get("private_key")?,
            created_at: row.get("created_at")?,
            signs_from: row.get("signs_from")?,
        })
    })
    .collect()
}

pub(crate) async fn insert_signing_key(tx: &mut Tx, key: &StoredKey) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO signing_keys (id, public_key, private_key, created_at, signs_from) VALUES ($1, $2, $3, $4, $5)",
        params![
            &key.id,
            key.public_key.as_slice(),
            key.private_key.as_slice(),
            key.created_at,
            key.signs_from
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn delete_signing_key(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM signing_keys WHERE id = $1", params![id])
        .await?;
    Ok(())
}

/// Writes a private key that is sealed anew.
pub(crate) async fn put_signing_secret(
    tx: &mut Tx,
    id: &str,
    private_key: Vec<u8>,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE signing_keys SET private_key = $2 WHERE id = $1",
        params![id, private_key],
    )
    .await?;
    Ok(())
}
