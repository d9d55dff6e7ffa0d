//! Removing records, and the names in them.

use std::time::Duration;

use primitives::{RequestId, Timestamp};
use store::{Db, Durability, StoreError, params};

use super::list::{LAST, WINDOW};

/// Deletes records of requests that arrived before `before`; returns how many.
pub(crate) async fn delete_records_before(db: &Db, before: Timestamp) -> Result<u64, StoreError> {
    let mut tx = db.write_with(Durability::Relaxed).await?;
    let deleted = tx
        .execute(
            "DELETE FROM requests WHERE received_at < $1",
            params![before],
        )
        .await?;
    tx.commit().await?;
    Ok(deleted)
}

/// Takes name and address out of some records of these callers, those after an id. Returns how many were changed, and from where to go on.
pub(crate) async fn erase_names(
    db: &Db,
    callers: &[String],
    after: &str,
) -> Result<(u64, Option<String>), StoreError> {
    let mut tx = db.write().await?;
    let edge = tx
        .fetch_optional(
            "SELECT id FROM requests WHERE id > $1 ORDER BY id LIMIT 1 OFFSET $2",
            params![after, WINDOW],
        )
        .await?
        .map(|row| row.get::<String>("id"))
        .transpose()?;
    let changed = tx
        .execute(
            "UPDATE requests SET principal_name = 'erased', client_address = NULL
             WHERE id > $1 AND id <= $2 AND $3 LIKE '%' || principal_id || '%'",
            params![after, edge.as_deref().unwrap_or(LAST), callers.join(" ")],
        )
        .await?;
    tx.commit().await?;
    Ok((changed, edge))
}

/// Notes who was erased, for the records that come later.
pub(crate) async fn note_erased(
    db: &Db,
    callers: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut tx = db.write().await?;
    for caller in callers {
        tx.execute(
            "INSERT INTO erased_callers (caller_id, erased_at) VALUES ($1, $2) ON CONFLICT (caller_id) DO UPDATE SET erased_at = excluded.erased_at",
            params![caller, now],
        )
        .await?;
    }
    tx.commit().await
}

/// How long after somebody was erased records of them may still come: longer than any request lasts.
const LATE: Duration = Duration::from_hours(48);

/// Takes name and address out of records that came after their callers were erased.
pub(crate) async fn erase_late_names(db: &Db, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = db.read().await?;
    let rows = tx
        .fetch_all("SELECT caller_id, erased_at FROM erased_callers", ())
        .await?;
    tx.commit().await?;
    let mut callers = Vec::new();
    let mut first = now;
    for row in &rows {
        callers.push(row.get::<String>("caller_id")?);
        first = first.min(row.get("erased_at")?);
    }
    if callers.is_empty() {
        return Ok(());
    }
    let mut from = Some(RequestId::first_at(first.before(LATE)).to_string());
    while let Some(after) = from {
        (_, from) = erase_names(db, &callers, &after).await?;
    }
    let mut tx = db.write().await?;
    tx.execute(
        "DELETE FROM erased_callers WHERE erased_at < $1",
        params![now.before(LATE)],
    )
    .await?;
    tx.commit().await
}
