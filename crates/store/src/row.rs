//! Rows of a result, read by column name.

use primitives::{
    InvitationId, JobId, KeyId, NodeId, OrgId, RequestId, RolloutId, SessionId, Timestamp, UserId,
};
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex as _, Row as _, ValueRef as _};

use crate::StoreError;

/// One row of a result.
pub struct Row(pub(crate) Driver);

pub(crate) enum Driver {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// Reads the named column. An absent value is an error unless `T` is an `Option`.
    pub fn get<T: FromColumn>(&self, column: &str) -> Result<T, StoreError> {
        // Looked up once: rows have many columns, and a value is asked for whether it is there before it is read.
        let index = match &self.0 {
            Driver::Sqlite(row) => column.index(row)?,
            Driver::Postgres(row) => column.index(row)?,
        };
        let place = Place {
            index,
            name: column,
        };
        T::from_column(self, place)
    }

    fn is_null(&self, place: Place<'_>) -> Result<bool, StoreError> {
        Ok(match &self.0 {
            Driver::Sqlite(row) => row.try_get_raw(place.index)?.is_null(),
            Driver::Postgres(row) => row.try_get_raw(place.index)?.is_null(),
        })
    }
}

/// A column of a result.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    index: usize,
    name: &'a str,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Rows hold hashes and sealed secrets, so their values are not shown.
        f.write_str("Row")
    }
}

impl Place<'_> {
    /// Names the column in an error, which knows its number only.
    fn named(self, error: sqlx::Error) -> StoreError {
        match StoreError::from(error) {
            StoreError::Corrupt { reason, .. } => corrupt(self.name, &reason),
            other => other,
        }
    }
}

/// A type that a column can be read as.
pub trait FromColumn: Sized {
    /// Reads a column of the row.
    fn from_column(row: &Row, place: Place<'_>) -> Result<Self, StoreError>;
}

/// A value that is stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

macro_rules! native {
    ($($type:ty)*) => {$(
        impl FromColumn for $type {
            fn from_column(row: &Row, place: Place<'_>) -> Result<Self, StoreError> {
                match &row.0 {
                    Driver::Sqlite(row) => row.try_get(place.index),
                    Driver::Postgres(row) => row.try_get(place.index),
                }
                .map_err(|error| place.named(error))
            }
        }
    )*};
}

native! { i64 f64 bool String Vec<u8> }

impl<T: FromColumn> FromColumn for Option<T> {
    fn from_column(row: &Row, place: Place<'_>) -> Result<Self, StoreError> {
        if row.is_null(place)? {
            return Ok(None);
        }
        T::from_column(row, place).map(Some)
    }
}

impl<T: DeserializeOwned> FromColumn for Json<T> {
    fn from_column(row: &Row, place: Place<'_>) -> Result<Self, StoreError> {
        let value: serde_json::Value = match &row.0 {
            Driver::Sqlite(row) => row.try_get(place.index),
            Driver::Postgres(row) => row.try_get(place.index),
        }
        .map_err(|error| place.named(error))?;
        serde_json::from_value(value)
            .map(Self)
            .map_err(|error| corrupt(place.name, &error))
    }
}

impl FromColumn for Timestamp {
    fn from_column(row: &Row, place: Place<'_>) -> Result<Self, StoreError> {
        i64::from_column(row, place).map(Self::from_micros)
    }
}

/// Counters and sizes: stored signed, never negative.
impl FromColumn for u64 {
    fn from_column(row: &Row, place: Place<'_>) -> Result<Self, StoreError> {
        Self::try_from(i64::from_column(row, place)?).map_err(|error| corrupt(place.name, &error))
    }
}

impl FromColumn for u32 {
    fn from_column(row: &Row, place: Place<'_>) -> Result<Self, StoreError> {
        Self::try_from(i64::from_column(row, place)?).map_err(|error| corrupt(place.name, &error))
    }
}

macro_rules! ids {
    ($($type:ty)*) => {$(
        impl FromColumn for $type {
            fn from_column(row: &Row, place: Place<'_>) -> Result<Self, StoreError> {
                String::from_column(row, place)?
                    .parse()
                    .map_err(|error| corrupt(place.name, &error))
            }
        }
    )*};
}

ids! { InvitationId JobId KeyId NodeId OrgId RequestId RolloutId SessionId UserId }

fn corrupt(column: &str, reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt {
        column: column.to_owned(),
        reason: reason.to_string(),
    }
}
