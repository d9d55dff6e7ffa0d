//! The SQL of requests that may be sent again.

use ::store::{StoreError, Tx, params};
use primitives::Timestamp;

use crate::idempotency::Remembered;

/// Remembers a request. Returns `false` when it is remembered already.
pub(crate) async fn remember_request(
    tx: &mut Tx,
    caller: &str,
    name: &str,
    request_hash: &[u8],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let added = tx
        .execute(
            "INSERT INTO idempotency_keys (caller, name, request_hash, begun_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (caller, name) DO NOTHING",
            params![caller, name, request_hash, now],
        )
        .await?;
    Ok(added == 1)
}

/// Counts the requests of a caller that are remembered.
pub(crate) async fn count_remembered(tx: &mut Tx, caller: &str) -> Result<u64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM idempotency_keys WHERE caller = $1",
            params![caller],
        )
        .await?;
    super::read_total(row.as_ref())
}

pub(crate) async fn find_remembered(
    tx: &mut Tx,
    caller: &str,
    name: &str,
) -> Result<Option<Remembered>, StoreError> {
    tx.fetch_optional(
        "SELECT request_hash, begun_at, answer_sealed FROM idempotency_keys WHERE caller = $1 AND name = $2",
        params![caller, name],
    )
    .await?
    .map(|row| {
        Ok(Remembered {
            request_hash: row.get("request_hash")?,
            begun_at: row.get("begun_at")?,
            answer_sealed: row.get("answer_sealed")?,
        })
    })
    .transpose()
}

/// Keeps the answer to a request.
pub(crate) async fn put_answer(
    tx: &mut Tx,
    caller: &str,
    name: &str,
    answer_sealed: Vec<u8>,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE idempotency_keys SET answer_sealed = $3 WHERE caller = $1 AND name = $2",
        params![caller, name, answer_sealed],
    )
    .await?;
    Ok(())
}

/// Forgets one request.
pub(crate) async fn forget_request(
    tx: &mut Tx,
    caller: &str,
    name: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM idempotency_keys WHERE caller = $1 AND name = $2",
        params![caller, name],
    )
    .await?;
    Ok(())
}

/// Forgets the requests that began before this time.
pub(crate) async fn forget_requests(tx: &mut Tx, before: Timestamp) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM idempotency_keys WHERE begun_at < $1",
        params![before],
    )
    .await
}

/// Lists the kept answers with their callers and names.
pub(crate) async fn list_answers(
    tx: &mut Tx,
) -> Result<Vec<(String, String, Vec<u8>)>, StoreError> {
    tx.fetch_all(
        "SELECT caller, name, answer_sealed FROM idempotency_keys WHERE answer_sealed IS NOT NULL",
        (),
    )
    .await?
    .iter()
    .map(|row| {
        Ok((
            row.get("caller")?,
            row.get("name")?,
            row.get("answer_sealed")?,
        ))
    })
    .collect()
}
