//! Reading a backup: to see whether it is whole, or into an empty database.

use std::io::Read;

use serde::Deserialize;
use serde_json::Value;

use super::archive::Reader;
use super::catalog::{Table, quoted, tables};
use super::triggers::Triggers;
use super::{BackupError, Manifest, Summary, value};
use crate::migrate::{applied_version, newest_version};
use crate::{Db, Param, Params, Sealer, Tx};

/// Rows that are inserted at once, as far as their values allow.
const BATCH: usize = 100;
/// The most values of one statement.
const MOST_VALUES: usize = 30_000;
/// Tables in which a new database has nothing: rows there are somebody's.
const TELLING: [&str; 6] = [
    "users",
    "api_keys",
    "nodes",
    "requests",
    "audit_log",
    "widgets",
];

/// A line that is no row.
#[derive(Deserialize)]
#[serde(untagged)]
enum Mark {
    Table { table: String, columns: Vec<String> },
    End { end: Vec<(String, u64)> },
}

/// Reads a whole backup and checks it, without a database.
///
/// # Errors
/// When it is not whole, or sealed with another key.
pub fn verify<R: Read>(sealer: &Sealer, file: R) -> Result<Summary, BackupError> {
    let (mut reader, manifest) = Reader::begin(file, sealer)?;
    let mut count = Count::default();
    while let Some(text) = reader.next()? {
        for line in text.lines() {
            match parse(line)? {
                Line::Row(_) => count.row()?,
                Line::Mark(mark) => count.mark(mark, reader.is_last())?,
            }
        }
    }
    count.summary(manifest)
}

/// Puts a backup into a database that has nothing in it yet, and brings its schema up to this build's. Nothing is changed when it
/// fails.
///
/// # Errors
/// When the backup is not whole or sealed with another key, or the database is not empty.
pub async fn restore<R: Read>(db: &Db, sealer: &Sealer, file: R) -> Result<Summary, BackupError> {
    let (mut reader, manifest) = Reader::begin(file, sealer)?;
    let build = newest_version();
    if manifest.schema > build {
        return Err(BackupError::NewerSchema {
            backup: manifest.schema,
            build,
        });
    }
    db.migrate_to(manifest.schema).await?;
    let mut tx = db.write().await?.without_statement_timeout().await?;
    let database = applied_version(&mut tx).await?;
    if database != manifest.schema {
        return Err(BackupError::OlderSchema {
            database,
            backup: manifest.schema,
        });
    }
    let all = tables(&mut tx).await?;
    refuse_unless_empty(&mut tx, &all).await?;
    for table in all.iter().rev() {
        let delete = format!("DELETE FROM {}", quoted(&table.name));
        tx.run_worded(delete, ()).await?;
    }
    // What they hold together was whole when the backup was made, and its rows come one by one.
    let triggers = Triggers::rest(&mut tx).await?;
    let mut count = Count::default();
    let mut filling: Option<Filling> = None;
    while let Some(text) = reader.next()? {
        for line in text.lines() {
            match parse(line)? {
                Line::Row(values) => {
                    count.row()?;
                    let filling = filling.as_mut().ok_or_else(misplaced)?;
                    filling.add(&mut tx, &values).await?;
                }
                Line::Mark(mark) => {
                    if let Some(filled) = filling.take() {
                        filled.finish(&mut tx).await?;
                    }
                    if let Mark::Table { table, columns } = &mark {
                        filling = Some(Filling::of(&all, table, columns)?);
                    }
                    count.mark(mark, reader.is_last())?;
                }
            }
        }
    }
    let summary = count.summary(manifest)?;
    triggers.wake(&mut tx).await?;
    tx.commit().await?;
    db.migrate().await?;
    Ok(summary)
}

async fn refuse_unless_empty(tx: &mut Tx, all: &[Table]) -> Result<(), BackupError> {
    for table in all
        .iter()
        .filter(|table| TELLING.contains(&table.name.as_str()))
    {
        let sql = format!(
            "SELECT CAST(1 AS BIGINT) AS one FROM {} LIMIT 1",
            quoted(&table.name)
        );
        if !tx.fetch_worded(sql, ()).await?.is_empty() {
            return Err(BackupError::NotEmpty(table.name.clone()));
        }
    }
    Ok(())
}

enum Line {
    Row(Vec<Value>),
    Mark(Mark),
}

fn parse(line: &str) -> Result<Line, BackupError> {
    let damaged = |error: serde_json::Error| BackupError::Damaged(error.to_string());
    if line.starts_with('[') {
        serde_json::from_str(line).map(Line::Row).map_err(damaged)
    } else {
        serde_json::from_str(line).map(Line::Mark).map_err(damaged)
    }
}

fn misplaced() -> BackupError {
    BackupError::Damaged("a row stands outside of a table".to_owned())
}

/// Counts what is read, and compares it with what the end says.
#[derive(Default)]
struct Count {
    tables: Vec<(String, u64)>,
    end: Option<Vec<(String, u64)>>,
}

impl Count {
    fn row(&mut self) -> Result<(), BackupError> {
        let (_, rows) = self.tables.last_mut().ok_or_else(misplaced)?;
        *rows += 1;
        Ok(())
    }

    fn mark(&mut self, mark: Mark, last: bool) -> Result<(), BackupError> {
        match mark {
            Mark::Table { table, .. } => self.tables.push((table, 0)),
            Mark::End { end } if last => self.end = Some(end),
            Mark::End { .. } => {
                return Err(BackupError::Damaged(
                    "its end stands in its middle".to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn summary(self, manifest: Manifest) -> Result<Summary, BackupError> {
        if self.end.as_ref() != Some(&self.tables) {
            return Err(BackupError::Damaged("rows are missing".to_owned()));
        }
        Ok(Summary {
            manifest,
            tables: self.tables,
        })
    }
}

/// A table that is being filled.
struct Filling {
    table: Table,
    batch: Vec<Param>,
    rows: usize,
    most: usize,
}

impl Filling {
    fn of(all: &[Table], name: &str, columns: &[String]) -> Result<Self, BackupError> {
        let unknown = || BackupError::Damaged(format!("table {name} is not one of this schema"));
        let known = all
            .iter()
            .find(|table| table.name == name)
            .ok_or_else(unknown)?;
        // In the order of the backup, which another engine may have made.
        let columns = columns.iter().map(|column| {
            let found = known.columns.iter().find(|(name, _)| name == column);
            found.cloned().ok_or_else(unknown)
        });
        let table = Table {
            name: known.name.clone(),
            columns: columns.collect::<Result<_, _>>()?,
        };
        let most = BATCH.min(MOST_VALUES / table.columns.len().max(1)).max(1);
        Ok(Self {
            table,
            batch: Vec::new(),
            rows: 0,
            most,
        })
    }

    async fn add(&mut self, tx: &mut Tx, values: &[Value]) -> Result<(), BackupError> {
        if values.len() != self.table.columns.len() {
            return Err(BackupError::Damaged("a row has other columns".to_owned()));
        }
        for (value, (_, kind)) in values.iter().zip(&self.table.columns) {
            self.batch.push(value::param(value, *kind)?);
        }
        self.rows += 1;
        if self.rows == self.most {
            self.flush(tx).await?;
        }
        Ok(())
    }

    async fn finish(mut self, tx: &mut Tx) -> Result<(), BackupError> {
        self.flush(tx).await
    }

    async fn flush(&mut self, tx: &mut Tx) -> Result<(), BackupError> {
        if self.rows == 0 {
            return Ok(());
        }
        let width = self.table.columns.len();
        let rows: Vec<String> = (0..self.rows)
            .map(|row| {
                let places: Vec<String> = (1..=width)
                    .map(|column| format!("${}", row * width + column))
                    .collect();
                format!("({})", places.join(", "))
            })
            .collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES {}",
            quoted(&self.table.name),
            self.table.column_list(),
            rows.join(", ")
        );
        let values = std::mem::take(&mut self.batch);
        self.rows = 0;
        tx.run_worded(sql, Params::from(values)).await?;
        Ok(())
    }
}
