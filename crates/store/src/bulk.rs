//! Inserting many rows with one statement: a long `VALUES` list on SQLite, `UNNEST` on PostgreSQL.
//!
//! On SQLite a list of bound values costs a sixth of what taking rows out of one JSON document does; on PostgreSQL arrays keep the
//! statement the same for every number of rows.

use serde_json::value::RawValue;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::types::Json;

use crate::param::{Param, Params};
use crate::{Engine, StoreError};

/// The types of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `BIGINT`.
    I64,
    /// `DOUBLE PRECISION`.
    F64,
    /// `TEXT`.
    Text,
    /// `BOOLEAN`.
    Bool,
    /// `JSONB`, or checked `TEXT` on SQLite. The top level is an object or an array.
    Json,
    /// `BYTEA` or `BLOB`.
    Bytes,
}

/// A column of a bulk insert.
#[derive(Clone, Copy, Debug)]
pub struct BulkColumn {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub column_type: ColumnType,
}

impl BulkColumn {
    /// Names a column and its type.
    pub const fn new(name: &'static str, column_type: ColumnType) -> Self {
        Self { name, column_type }
    }
}

/// What happens to a row that is already stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The whole insert fails with a conflict.
    Fails,
    /// The stored row stays as it is, so that a batch can be sent again.
    Stays,
}

/// Describes an insert of many rows.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// The table.
    pub table: &'static str,
    /// Its columns, in the order in which rows give their values.
    pub columns: &'static [BulkColumn],
    /// What happens to rows that are already stored.
    pub existing: Existing,
}

/// Most bound values of one SQLite statement (`SQLITE_MAX_VARIABLE_NUMBER` of the bundled build).
const SQLITE_VALUES: usize = 32_766;

/// Rows of one SQLite statement. Few sizes, so that every statement is prepared once and kept: a prepared statement of 125 rows of
/// 25 columns takes 0.3 MiB.
const SQLITE_ROWS: [usize; 4] = [125, 25, 5, 1];

/// Most rows of one PostgreSQL statement.
const POSTGRES_ROWS: usize = 500;

/// One column's values.
pub(crate) enum Column<'r> {
    I64(Vec<Option<i64>>),
    F64(Vec<Option<f64>>),
    Text(Vec<Option<&'r str>>),
    Bool(Vec<Option<bool>>),
    Json(Vec<Option<Json<Box<RawValue>>>>),
    Bytes(Vec<Option<&'r [u8]>>),
}

impl Bulk {
    /// Returns how many of the rows that are left go into the next statement.
    pub(crate) fn next_rows(&self, engine: Engine, left: usize) -> usize {
        match engine {
            Engine::Sqlite => {
                let fitting = SQLITE_VALUES / self.columns.len().max(1);
                SQLITE_ROWS
                    .into_iter()
                    .find(|rows| *rows <= left && *rows <= fitting)
                    .unwrap_or(1)
            }
            Engine::Postgres => left.min(POSTGRES_ROWS),
        }
    }

    pub(crate) fn sql(&self, engine: Engine, rows: usize) -> String {
        let names: Vec<_> = self.columns.iter().map(|column| column.name).collect();
        let on_conflict = match self.existing {
            Existing::Fails => "",
            Existing::Stays => " ON CONFLICT DO NOTHING",
        };
        let source = match engine {
            Engine::Sqlite => {
                let row = format!("({})", vec!["?"; self.columns.len()].join(", "));
                format!("VALUES {}", vec![row.as_str(); rows].join(", "))
            }
            Engine::Postgres => {
                let arrays: Vec<_> = self
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(index, column)| {
                        format!("${}::{}[]", index + 1, column.column_type.postgres())
                    })
                    .collect();
                format!("SELECT * FROM UNNEST({})", arrays.join(", "))
            }
        };
        format!(
            "INSERT INTO {} ({}) {source}{on_conflict}",
            self.table,
            names.join(", ")
        )
    }

    /// Returns the values of all rows by column, as PostgreSQL takes them.
    pub(crate) fn by_column<'r>(&self, rows: &'r [Params]) -> Result<Vec<Column<'r>>, StoreError> {
        let mut columns: Vec<_> = self
            .columns
            .iter()
            .map(|column| Column::with_capacity(column.column_type, rows.len()))
            .collect();
        for row in rows {
            for ((column, param), spec) in columns.iter_mut().zip(&row.0).zip(self.columns) {
                if !column.push(param) {
                    return Err(mistake(format!(
                        "a value of {}.{} is not of the column's type",
                        self.table, spec.name
                    )));
                }
            }
        }
        Ok(columns)
    }

    pub(crate) fn check(&self, rows: &[Params]) -> Result<(), StoreError> {
        match rows.iter().find(|row| row.0.len() != self.columns.len()) {
            None => Ok(()),
            Some(row) => Err(mistake(format!(
                "{} has {} columns, the row has {} values",
                self.table,
                self.columns.len(),
                row.0.len()
            ))),
        }
    }
}

fn mistake(text: String) -> StoreError {
    StoreError::Backend(text.into())
}

impl ColumnType {
    const fn postgres(self) -> &'static str {
        match self {
            Self::I64 => "bigint",
            Self::F64 => "double precision",
            Self::Text => "text",
            Self::Bool => "boolean",
            Self::Json => "jsonb",
            Self::Bytes => "bytea",
        }
    }
}

impl<'r> Column<'r> {
    fn with_capacity(column_type: ColumnType, rows: usize) -> Self {
        match column_type {
            ColumnType::I64 => Self::I64(Vec::with_capacity(rows)),
            ColumnType::F64 => Self::F64(Vec::with_capacity(rows)),
            ColumnType::Text => Self::Text(Vec::with_capacity(rows)),
            ColumnType::Bool => Self::Bool(Vec::with_capacity(rows)),
            ColumnType::Json => Self::Json(Vec::with_capacity(rows)),
            ColumnType::Bytes => Self::Bytes(Vec::with_capacity(rows)),
        }
    }

    /// Adds a value; returns whether it has the column's type.
    fn push(&mut self, param: &'r Param) -> bool {
        match (self, param) {
            (Self::I64(values), Param::I64(value)) => values.push(Some(*value)),
            (Self::F64(values), Param::F64(value)) => values.push(Some(*value)),
            (Self::Text(values), Param::Text(value)) => values.push(Some(value)),
            (Self::Bool(values), Param::Bool(value)) => values.push(Some(*value)),
            (Self::Json(values), Param::Json(value)) => {
                values.push(serde_json::value::to_raw_value(value).ok().map(Json));
            }
            (Self::Json(values), Param::JsonText(text)) => {
                values.push(serde_json::from_str(text.as_str()).ok().map(Json));
            }
            (Self::Bytes(values), Param::Bytes(value)) => values.push(Some(value)),
            (Self::I64(values), Param::Null(_)) => values.push(None),
            (Self::F64(values), Param::Null(_)) => values.push(None),
            (Self::Text(values), Param::Null(_)) => values.push(None),
            (Self::Bool(values), Param::Null(_)) => values.push(None),
            (Self::Json(values), Param::Null(_)) => values.push(None),
            (Self::Bytes(values), Param::Null(_)) => values.push(None),
            _ => return false,
        }
        true
    }

    pub(crate) fn bind<'q>(
        self,
        query: Query<'q, Postgres, PgArguments>,
    ) -> Query<'q, Postgres, PgArguments>
    where
        'r: 'q,
    {
        match self {
            Self::I64(values) => query.bind(values),
            Self::F64(values) => query.bind(values),
            Self::Text(values) => query.bind(values),
            Self::Bool(values) => query.bind(values),
            Self::Json(values) => query.bind(values),
            Self::Bytes(values) => query.bind(values),
        }
    }
}
