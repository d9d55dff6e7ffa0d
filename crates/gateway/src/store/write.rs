//! Writing records, in batches.

use store::{
    Bulk, BulkColumn, ColumnType, Db, Durability, Engine, Existing, JsonText, Params, StoreError,
    params,
};

use crate::record::RequestRecord;

const COLUMNS: &[BulkColumn] = &[
    BulkColumn::new("id", ColumnType::Text),
    BulkColumn::new("received_at", ColumnType::I64),
    BulkColumn::new("principal_kind", ColumnType::Text),
    BulkColumn::new("principal_id", ColumnType::Text),
    BulkColumn::new("principal_name", ColumnType::Text),
    BulkColumn::new("client_address", ColumnType::Text),
    BulkColumn::new("dialect", ColumnType::Text),
    BulkColumn::new("operation", ColumnType::Text),
    BulkColumn::new("requested_model", ColumnType::Text),
    BulkColumn::new("model", ColumnType::Text),
    BulkColumn::new("node_id", ColumnType::Text),
    BulkColumn::new("node_name", ColumnType::Text),
    BulkColumn::new("status", ColumnType::I64),
    BulkColumn::new("outcome", ColumnType::Text),
    BulkColumn::new("error", ColumnType::Text),
    BulkColumn::new("stream", ColumnType::Bool),
    BulkColumn::new("continued", ColumnType::I64),
    BulkColumn::new("retries", ColumnType::I64),
    BulkColumn::new("queue_us", ColumnType::I64),
    BulkColumn::new("first_token_us", ColumnType::I64),
    BulkColumn::new("total_us", ColumnType::I64),
    BulkColumn::new("prompt_tokens", ColumnType::I64),
    BulkColumn::new("completion_tokens", ColumnType::I64),
    BulkColumn::new("policy", ColumnType::Text),
    BulkColumn::new("decision", ColumnType::Json),
    BulkColumn::new("split", ColumnType::Json),
];

/// A batch that was written but not confirmed is sent again: rows that are there already stay.
const INSERT: Bulk = Bulk {
    table: "requests",
    columns: COLUMNS,
    existing: Existing::Stays,
};

/// Writes a batch of records in one transaction. SQLite, whose work is done on our cores, is given `piece` of them at a time.
pub(crate) async fn insert_records(
    db: &Db,
    records: &[RequestRecord],
    piece: usize,
) -> Result<(), StoreError> {
    let piece = match db.engine() {
        Engine::Sqlite => piece.max(1),
        Engine::Postgres => records.len().max(1),
    };
    let mut tx = db.write_with(Durability::Relaxed).await?;
    for records in records.chunks(piece) {
        let rows: Vec<Params> = records.iter().map(row).collect();
        tx.insert_many(&INSERT, &rows).await?;
    }
    tx.commit().await
}

fn row(r: &RequestRecord) -> Params {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let attempts = JsonText::of(&r.attempts).unwrap_or_else(|_| JsonText::empty_array());
    let split = r
        .split
        .as_ref()
        .and_then(|split| JsonText::of(&**split).ok());
    params![
        r.id,
        r.received_at,
        r.caller.kind(),
        r.caller.id(),
        &r.caller_name,
        r.client_address.to_string(),
        r.dialect,
        r.operation,
        &r.requested_model,
        r.model.clone(),
        r.node.as_ref().map(|(id, _)| *id),
        r.node.as_ref().map(|(_, name)| name.clone()),
        i64::from(r.status),
        r.outcome.as_str(),
        r.error.clone(),
        r.stream,
        i64::from(r.continued),
        i64::from(r.retries),
        number(r.queue_us),
        r.first_token_us.map(number),
        number(r.total_us),
        number(r.prompt_tokens),
        number(r.completion_tokens),
        r.policy,
        attempts,
        split,
    ]
}
