//! The SQL of batches and their lines.

use ::store::{
    Bulk, BulkColumn, ColumnType, Existing, Params, Row, Statement, StoreError, Tx, params,
};
use primitives::{OrgId, Timestamp};

use super::read_name;
use crate::batches::{Batch, BatchId, BatchStatus, Fault, LineState};
use crate::model::{Owner, caller_text, read_caller};

macro_rules! batch_columns {
    () => {
        "id, org_id, owner, caller, client_address, endpoint, input_file, output_file, error_file, status, faults, metadata, total,
         completed, failed, created_at, in_progress_at, finalizing_at, cancelling_at, ended_at, expires_at"
    };
}

pub(crate) async fn insert_batch(tx: &mut Tx, batch: &Batch) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO batches (id, org_id, owner, caller, client_address, endpoint, input_file, status, faults, metadata, total, completed,
             failed, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '[]', $9, 0, 0, 0, $10, $11)",
        params![
            &batch.id.0,
            batch.owner.org,
            caller_text(batch.owner.who),
            caller_text(batch.caller),
            batch.client_address.map(|address| address.to_string()),
            &batch.endpoint,
            &batch.input_file,
            batch.status.as_str(),
            &batch.metadata,
            batch.created_at,
            batch.expires_at
        ],
    )
    .await?;
    Ok(())
}

fn read_batch(row: &Row) -> Result<Batch, StoreError> {
    let faults: String = row.get("faults")?;
    Ok(Batch {
        id: BatchId(row.get("id")?),
        owner: Owner {
            org: row.get::<OrgId>("org_id")?,
            who: read_name(row, "owner", read_caller)?,
        },
        caller: read_name(row, "caller", read_caller)?,
        client_address: row
            .get::<Option<String>>("client_address")?
            .and_then(|address| address.parse().ok()),
        endpoint: row.get("endpoint")?,
        input_file: row.get("input_file")?,
        output_file: row.get("output_file")?,
        error_file: row.get("error_file")?,
        status: read_name(row, "status", BatchStatus::from_name)?,
        faults: serde_json::from_str(&faults).unwrap_or_default(),
        metadata: row.get("metadata")?,
        total: row.get("total")?,
        completed: row.get("completed")?,
        failed: row.get("failed")?,
        created_at: row.get("created_at")?,
        in_progress_at: row.get("in_progress_at")?,
        finalizing_at: row.get("finalizing_at")?,
        cancelling_at: row.get("cancelling_at")?,
        ended_at: row.get("ended_at")?,
        expires_at: row.get("expires_at")?,
    })
}

/// Finds a batch: an owner's, or whoever's for the engine itself.
pub(crate) async fn find_batch(
    tx: &mut Tx,
    owner: Option<Owner>,
    id: &str,
) -> Result<Option<Batch>, StoreError> {
    let found = tx
        .fetch_optional(
            concat!("SELECT ", batch_columns!(), " FROM batches WHERE id = $1"),
            params![id],
        )
        .await?
        .as_ref()
        .map(read_batch)
        .transpose()?;
    Ok(found.filter(|batch| owner.is_none_or(|owner| batch.owner == owner)))
}

pub(crate) async fn list_batches(
    tx: &mut Tx,
    owner: Owner,
    before: &str,
    most: u32,
) -> Result<Vec<Batch>, StoreError> {
    tx.fetch_all(
        concat!(
            "SELECT ",
            batch_columns!(),
            " FROM batches WHERE org_id = $1 AND owner = $2 AND id < $3 ORDER BY id DESC LIMIT $4"
        ),
        params![owner.org, caller_text(owner.who), before, most],
    )
    .await?
    .iter()
    .map(read_batch)
    .collect()
}

pub(crate) async fn live_batches(tx: &mut Tx, most: u64) -> Result<Vec<Batch>, StoreError> {
    tx.fetch_all(
        concat!(
            "SELECT ",
            batch_columns!(),
            " FROM batches WHERE ended_at IS NULL ORDER BY id LIMIT $1"
        ),
        params![most],
    )
    .await?
    .iter()
    .map(read_batch)
    .collect()
}

pub(crate) async fn count_live_batches(tx: &mut Tx, org: OrgId) -> Result<u64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS live FROM batches WHERE org_id = $1 AND ended_at IS NULL",
            params![org],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("live"))
}

/// Has the lines answered from here on.
pub(crate) async fn begin_batch(
    tx: &mut Tx,
    id: &BatchId,
    lines: u64,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE batches SET status = 'in_progress', total = $2, in_progress_at = $3 WHERE id = $1 AND status = 'validating'",
        params![&id.0, lines, now],
    )
    .await?;
    Ok(())
}

/// Ends a batch whose lines cannot be used.
pub(crate) async fn fail_batch(
    tx: &mut Tx,
    id: &BatchId,
    faults: &[Fault],
    now: Timestamp,
) -> Result<(), StoreError> {
    let faults = serde_json::to_string(faults).unwrap_or_else(|_| "[]".to_owned());
    tx.execute(
        "UPDATE batches SET status = 'failed', faults = $2, ended_at = $3 WHERE id = $1 AND status = 'validating'",
        params![&id.0, faults, now],
    )
    .await?;
    Ok(())
}

pub(crate) async fn begin_finalizing(
    tx: &mut Tx,
    id: &BatchId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE batches SET status = 'finalizing', finalizing_at = $2 WHERE id = $1 AND status = 'in_progress'",
        params![&id.0, now],
    )
    .await?;
    Ok(())
}

pub(crate) async fn begin_cancel(
    tx: &mut Tx,
    id: &BatchId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE batches SET status = 'cancelling', cancelling_at = $2 WHERE id = $1 AND ended_at IS NULL AND status <> 'cancelling'",
        params![&id.0, now],
    )
    .await?;
    Ok(())
}

/// Ends a batch, once.
pub(crate) async fn end_batch(
    tx: &mut Tx,
    id: &BatchId,
    status: BatchStatus,
    [output, errors]: [Option<String>; 2],
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE batches SET status = $2, output_file = $3, error_file = $4, ended_at = $5 WHERE id = $1 AND ended_at IS NULL",
        params![&id.0, status.as_str(), output, errors, now],
    )
    .await?;
    Ok(())
}

pub(crate) async fn delete_ended_batches(
    tx: &mut Tx,
    before: Timestamp,
    most: u32,
) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM batches WHERE id IN (SELECT id FROM batches WHERE ended_at IS NOT NULL AND ended_at < $1 ORDER BY ended_at LIMIT $2)",
        params![before, most],
    )
    .await
}

/// Deletes some of an owner's batches with their lines; returns how many.
pub(crate) async fn erase_batches(tx: &mut Tx, owner: Owner, most: u32) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM batches WHERE id IN (SELECT id FROM batches WHERE org_id = $1 AND owner = $2 ORDER BY id LIMIT $3)",
        params![owner.org, caller_text(owner.who), most],
    )
    .await
}

/// Names the place of what a line holds for its seal.
pub(crate) fn line_place(batch: &str, number: i64, what: &str) -> String {
    format!("batch_lines|{what}|{batch}|{number}")
}

/// A line to be stored.
#[derive(Debug)]
pub(crate) struct LineRow {
    pub(crate) batch: String,
    pub(crate) number: i64,
    pub(crate) model: String,
    pub(crate) state: LineState,
    pub(crate) body: Option<Vec<u8>>,
}

const LINES: Bulk = Bulk {
    table: "batch_lines",
    columns: &[
        BulkColumn::new("batch_id", ColumnType::Text),
        BulkColumn::new("number", ColumnType::I64),
        BulkColumn::new("model", ColumnType::Text),
        BulkColumn::new("state", ColumnType::Text),
        BulkColumn::new("body_sealed", ColumnType::Bytes),
    ],
    existing: Existing::Stays,
};

pub(crate) async fn insert_lines(tx: &mut Tx, rows: &[LineRow]) -> Result<(), StoreError> {
    let rows: Vec<Params> = rows
        .iter()
        .map(|row| {
            params![
                &row.batch,
                row.number,
                &row.model,
                row.state.as_str(),
                row.body.clone()
            ]
        })
        .collect();
    tx.insert_many(&LINES, &rows).await?;
    Ok(())
}

pub(crate) async fn delete_lines(tx: &mut Tx, id: &BatchId, most: u64) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM batch_lines WHERE batch_id = $1 AND number IN (SELECT number FROM batch_lines WHERE batch_id = $1 ORDER BY number LIMIT $2)",
        params![&id.0, most],
    )
    .await
}

/// Lists models of a batch with lines that wait, one step of the index for each.
pub(crate) async fn waiting_models(
    tx: &mut Tx,
    id: &BatchId,
    most: u64,
) -> Result<Vec<String>, StoreError> {
    tx.fetch_all(
        "WITH RECURSIVE models (model, n) AS (
             SELECT (SELECT model FROM batch_lines WHERE batch_id = $1 AND state = 'waiting' ORDER BY model LIMIT 1), 1
             UNION ALL
             SELECT (SELECT l.model FROM batch_lines l WHERE l.batch_id = $1 AND l.state = 'waiting' AND l.model > models.model ORDER BY l.model LIMIT 1), n + 1
             FROM models WHERE models.model IS NOT NULL AND n < $2
         )
         SELECT model FROM models WHERE model IS NOT NULL",
        params![&id.0, most],
    )
    .await?
    .iter()
    .map(|row| row.get("model"))
    .collect()
}

/// A line that waits.
#[derive(Debug)]
pub(crate) struct WaitingLine {
    pub(crate) number: i64,
    pub(crate) body: Vec<u8>,
}

pub(crate) async fn waiting_lines(
    tx: &mut Tx,
    id: &BatchId,
    model: &str,
    after: i64,
    most: u64,
) -> Result<Vec<WaitingLine>, StoreError> {
    tx.fetch_all(
        "SELECT number, body_sealed FROM batch_lines WHERE batch_id = $1 AND model = $2 AND number > $3 AND state = 'waiting'
         ORDER BY number LIMIT $4",
        params![&id.0, model, after, most],
    )
    .await?
    .iter()
    .map(|row| {
        Ok(WaitingLine {
            number: row.get("number")?,
            body: row.get("body_sealed")?,
        })
    })
    .collect()
}

/// A line with what it came to.
#[derive(Debug)]
pub(crate) struct AnsweredLine {
    pub(crate) number: i64,
    pub(crate) state: LineState,
    pub(crate) answer: Vec<u8>,
}

/// Writes what lines came to, each unless it has an answer, and counts them.
pub(crate) async fn answer_lines(
    tx: &mut Tx,
    id: &BatchId,
    lines: Vec<AnsweredLine>,
) -> Result<(), StoreError> {
    let (mut completed, mut failed) = (0_u64, 0_u64);
    for line in lines {
        let written = tx
            .execute(
                "UPDATE batch_lines SET state = $3, answer_sealed = $4, body_sealed = NULL
                 WHERE batch_id = $1 AND number = $2 AND state = 'waiting'",
                params![&id.0, line.number, line.state.as_str(), line.answer],
            )
            .await?;
        match line.state {
            LineState::Completed => completed += written,
            LineState::Failed | LineState::Waiting => failed += written,
        }
    }
    tx.execute(
        "UPDATE batches SET completed = completed + $2, failed = failed + $3 WHERE id = $1",
        params![&id.0, completed, failed],
    )
    .await?;
    Ok(())
}

/// A line as it is stored.
#[derive(Debug)]
pub(crate) struct StoredLine {
    pub(crate) number: i64,
    pub(crate) state: LineState,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) answer: Option<Vec<u8>>,
}

pub(crate) async fn lines_after(
    tx: &mut Tx,
    id: &BatchId,
    after: i64,
    most: u64,
) -> Result<Vec<StoredLine>, StoreError> {
    tx.fetch_all(
        "SELECT number, state, body_sealed, answer_sealed FROM batch_lines WHERE batch_id = $1 AND number > $2 ORDER BY number LIMIT $3",
        params![&id.0, after, most],
    )
    .await?
    .iter()
    .map(|row| {
        Ok(StoredLine {
            number: row.get("number")?,
            state: read_name(row, "state", |name| {
                [LineState::Waiting, LineState::Completed, LineState::Failed]
                    .into_iter()
                    .find(|state| state.as_str() == name)
            })?,
            body: row.get("body_sealed")?,
            answer: row.get("answer_sealed")?,
        })
    })
    .collect()
}

/// A sealed line: its batch, its number, what is asked and what is answered.
pub(crate) type SealedLine = (String, i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// Lists lines after one, in order, with what is sealed.
pub(crate) async fn sealed_lines_after(
    tx: &mut Tx,
    (batch, number): (&str, i64),
    most: u32,
) -> Result<Vec<SealedLine>, StoreError> {
    tx.fetch_all(
        "SELECT batch_id, number, body_sealed, answer_sealed FROM batch_lines WHERE (batch_id, number) > ($1, $2)
         ORDER BY batch_id, number LIMIT $3",
        params![batch, number, most],
    )
    .await?
    .iter()
    .map(|row| {
        Ok((
            row.get("batch_id")?,
            row.get("number")?,
            row.get("body_sealed")?,
            row.get("answer_sealed")?,
        ))
    })
    .collect()
}

/// Writes what a line holds that was sealed anew, unless it was taken away meanwhile.
pub(crate) async fn put_line(
    tx: &mut Tx,
    (batch, number): (&str, i64),
    column: SealedColumn,
    sealed: Vec<u8>,
) -> Result<(), StoreError> {
    let sql: Statement = match column {
        SealedColumn::Body => {
            "UPDATE batch_lines SET body_sealed = $3 WHERE batch_id = $1 AND number = $2 AND body_sealed IS NOT NULL".into()
        }
        SealedColumn::Answer => {
            "UPDATE batch_lines SET answer_sealed = $3 WHERE batch_id = $1 AND number = $2 AND answer_sealed IS NOT NULL".into()
        }
    };
    tx.execute(sql, params![batch, number, sealed]).await?;
    Ok(())
}

/// What of a line is sealed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SealedColumn {
    Body,
    Answer,
}
