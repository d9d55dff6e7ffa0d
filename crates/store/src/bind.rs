//! Binds values to statements, in the way of each driver.

use std::sync::Arc;

use serde_json::value::RawValue;
use sqlx::Arguments as _;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};
use sqlx::types::Json;

use crate::ColumnType;
use crate::param::{Param, Params};
use crate::tx::Preparing;

type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;
type PostgresQuery<'q> = Query<'q, Postgres, PgArguments>;

pub(crate) fn bind_sqlite(query: SqliteQuery<'_>, params: Params) -> SqliteQuery<'_> {
    params
        .0
        .into_iter()
        .fold(query, |query, param| match param {
            Param::I64(value) => query.bind(value),
            Param::F64(value) => query.bind(value),
            Param::Text(value) => query.bind(value),
            Param::Bool(value) => query.bind(value),
            Param::Json(value) => query.bind(value.to_string()),
            Param::JsonText(text) => query.bind(text.into_text()),
            Param::Bytes(value) => query.bind(value),
            Param::Null(_) => query.bind(None::<i64>),
        })
}

/// Adds a value without a copy of what is shared.
pub(crate) fn add_sqlite(values: &mut SqliteArguments, param: &Param) -> Result<(), BoxDynError> {
    match param {
        Param::I64(value) => values.add(*value),
        Param::F64(value) => values.add(*value),
        Param::Text(value) => values.add(Arc::clone(value)),
        Param::Bool(value) => values.add(*value),
        Param::Json(value) => values.add(value.to_string()),
        Param::JsonText(text) => values.add(text.clone().into_text()),
        Param::Bytes(value) => values.add(value.as_slice()),
        Param::Null(_) => values.add(None::<i64>),
    }
}

pub(crate) fn bind_postgres(
    query: PostgresQuery<'_>,
    params: Params,
    preparing: Preparing,
) -> PostgresQuery<'_> {
    let query = query.persistent(preparing == Preparing::Kept);
    params
        .0
        .into_iter()
        .fold(query, |query, param| match param {
            Param::I64(value) => query.bind(value),
            Param::F64(value) => query.bind(value),
            Param::Text(value) => query.bind(value),
            Param::Bool(value) => query.bind(value),
            Param::Json(value) => query.bind(value),
            Param::JsonText(text) => match RawValue::from_string(text.as_str().to_owned()) {
                Ok(json) => query.bind(Some(Json(json))),
                Err(_) => query.bind(None::<Json<Box<RawValue>>>),
            },
            Param::Bytes(value) => query.bind(value),
            Param::Null(ColumnType::I64) => query.bind(None::<i64>),
            Param::Null(ColumnType::F64) => query.bind(None::<f64>),
            Param::Null(ColumnType::Text) => query.bind(None::<String>),
            Param::Null(ColumnType::Bool) => query.bind(None::<bool>),
            Param::Null(ColumnType::Json) => query.bind(None::<serde_json::Value>),
            Param::Null(ColumnType::Bytes) => query.bind(None::<Vec<u8>>),
        })
}
