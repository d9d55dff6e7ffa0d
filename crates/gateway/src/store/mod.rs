//! All SQL of request records.

mod erase;
mod list;
mod write;

use primitives::{KeyId, RequestId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use store::{Db, Json, Row, StoreError, params};

pub(crate) use self::erase::{delete_records_before, erase_late_names, erase_names, note_erased};
pub(crate) use self::list::{Filter, count_records, list_records};
pub(crate) use self::write::insert_records;

/// A record as stored.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoredRecord {
    pub(crate) id: RequestId,
    pub(crate) received_at: Timestamp,
    pub(crate) caller_kind: String,
    pub(crate) caller_id: Option<String>,
    pub(crate) caller: String,
    pub(crate) client_address: Option<String>,
    pub(crate) dialect: String,
    pub(crate) operation: String,
    pub(crate) requested_model: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) node_id: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) status: i64,
    pub(crate) outcome: String,
    pub(crate) error: Option<String>,
    pub(crate) stream: bool,
    pub(crate) continued: i64,
    pub(crate) retries: i64,
    pub(crate) queue_us: i64,
    pub(crate) first_token_us: Option<i64>,
    pub(crate) total_us: i64,
    pub(crate) prompt_tokens: Option<i64>,
    pub(crate) completion_tokens: Option<i64>,
    pub(crate) policy: Option<String>,
    /// Every attempt with its candidates; only in the full view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<Value>,
    /// What a split chose; only in the full view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) split: Option<Value>,
}

/// Returns the tokens that keys have used in a time: from `since` on, before `until`.
pub(crate) async fn tokens_of_keys(
    db: &Db,
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<(KeyId, u64)>, StoreError> {
    let mut tx = db.read().await?;
    let rows = tx
        .fetch_all(
            "SELECT principal_id,
                    CAST(SUM(COALESCE(prompt_tokens, 0) + COALESCE(completion_tokens, 0)) AS BIGINT) AS tokens
             FROM requests
             WHERE principal_kind = 'key' AND received_at >= $1 AND received_at < $2
             GROUP BY principal_id",
            params![since, until],
        )
        .await?;
    tx.commit().await?;
    let used = |row: &Row| {
        let tokens: i64 = row.get("tokens")?;
        Ok((row.get("principal_id")?, u64::try_from(tokens).unwrap_or(0)))
    };
    rows.iter().map(used).collect()
}

/// Finds one record with its attempts.
pub(crate) async fn find_record(
    db: &Db,
    id: RequestId,
) -> Result<Option<StoredRecord>, StoreError> {
    let mut tx = db.read().await?;
    let row = tx
        .fetch_optional("SELECT * FROM requests WHERE id = $1", params![id])
        .await?;
    tx.commit().await?;
    row.as_ref().map(|row| record(row, true)).transpose()
}

fn record(row: &Row, full: bool) -> Result<StoredRecord, StoreError> {
    let json = |column: &str| -> Result<Option<Value>, StoreError> {
        if !full {
            return Ok(None);
        }
        let found = row.get::<Option<Json<Value>>>(column)?;
        Ok(found.map(|json| json.0))
    };
    Ok(StoredRecord {
        id: row.get("id")?,
        received_at: row.get("received_at")?,
        caller_kind: row.get("principal_kind")?,
        caller_id: row.get("principal_id")?,
        caller: row.get("principal_name")?,
        client_address: row.get("client_address")?,
        dialect: row.get("dialect")?,
        operation: row.get("operation")?,
        requested_model: row.get("requested_model")?,
        model: row.get("model")?,
        node_id: row.get("node_id")?,
        node: row.get("node_name")?,
        status: row.get("status")?,
        outcome: row.get("outcome")?,
        error: row.get("error")?,
        stream: row.get("stream")?,
        continued: row.get("continued")?,
        retries: row.get("retries")?,
        queue_us: row.get("queue_us")?,
        first_token_us: row.get("first_token_us")?,
        total_us: row.get("total_us")?,
        prompt_tokens: row.get("prompt_tokens")?,
        completion_tokens: row.get("completion_tokens")?,
        policy: row.get("policy")?,
        attempts: json("decision")?,
        split: json("split")?,
    })
}
