//! Making a backup while others write.

use std::io::Write;

use primitives::Timestamp;
use serde_json::{Value, json};

use super::archive::{FORMAT, Writer};
use super::catalog::{Table, quoted, tables};
use super::{BackupError, Manifest, Summary, value};
use crate::migrate::applied_version;
use crate::{Db, Engine, Sealer, StoreError, Tx, params};

/// Rows that are read at once.
const BATCH: i64 = 500;

/// Writes everything that is in the database to `file`, as it is at one moment. Others go on reading and writing.
///
/// # Errors
/// When the database or the file fails; the file is then of no use.
pub async fn create<W: Write>(
    db: &Db,
    sealer: &Sealer,
    now: Timestamp,
    file: W,
) -> Result<(Summary, W), BackupError> {
    let mut tx = db.read().await?.without_statement_timeout().await?;
    let manifest = Manifest {
        format: FORMAT,
        created_at: now,
        engine: db.engine().as_str().to_owned(),
        schema: applied_version(&mut tx).await?,
        key_id: sealer.key_id(),
    };
    let mut writer = Writer::begin(file, sealer, &manifest)?;
    let mut counts = Vec::new();
    for table in tables(&mut tx).await? {
        let columns: Vec<&str> = table
            .columns
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        writer.line(&json!({"table": table.name, "columns": columns}).to_string())?;
        let rows = match tx.engine() {
            Engine::Sqlite => dump_by_rowid(&mut tx, &table, &mut writer).await?,
            Engine::Postgres => dump_by_cursor(&mut tx, &table, &mut writer).await?,
        };
        counts.push((table.name, rows));
    }
    tx.commit().await?;
    let summary = Summary {
        manifest,
        tables: counts,
    };
    let file = writer.finish(&json!({"end": summary.tables}).to_string())?;
    Ok((summary, file))
}

async fn dump_by_rowid<W: Write>(
    tx: &mut Tx,
    table: &Table,
    writer: &mut Writer<'_, W>,
) -> Result<u64, BackupError> {
    let sql = format!(
        "SELECT rowid AS _place, {} FROM {} WHERE rowid > $1 ORDER BY rowid LIMIT $2",
        table.column_list(),
        quoted(&table.name)
    );
    let (mut after, mut count) = (i64::MIN, 0);
    loop {
        let rows = tx.fetch_worded(sql.clone(), params![after, BATCH]).await?;
        let Some(last) = rows.last() else {
            return Ok(count);
        };
        after = last.get("_place")?;
        for row in &rows {
            writer.line(&line(table, row)?)?;
            count += 1;
        }
    }
}

async fn dump_by_cursor<W: Write>(
    tx: &mut Tx,
    table: &Table,
    writer: &mut Writer<'_, W>,
) -> Result<u64, BackupError> {
    let declare = format!(
        "DECLARE backup NO SCROLL CURSOR FOR SELECT {} FROM {}",
        table.column_list(),
        quoted(&table.name)
    );
    tx.run_worded(declare, ()).await?;
    let mut count = 0;
    loop {
        let rows = tx
            .fetch_worded(format!("FETCH {BATCH} FROM backup"), ())
            .await?;
        if rows.is_empty() {
            tx.run_worded("CLOSE backup".to_owned(), ()).await?;
            return Ok(count);
        }
        for row in &rows {
            writer.line(&line(table, row)?)?;
            count += 1;
        }
    }
}

fn line(table: &Table, row: &crate::Row) -> Result<String, StoreError> {
    let values = table
        .columns
        .iter()
        .map(|(name, kind)| value::read(row, name, *kind));
    let values: Vec<Value> = values.collect::<Result<_, _>>()?;
    Ok(Value::Array(values).to_string())
}
