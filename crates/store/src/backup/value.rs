//! Values of rows as they stand in a backup, the same for both engines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::BackupError;
use crate::{ColumnType, Json, Param, Row, StoreError};

/// Reads a column. Floating-point numbers are kept by their bits, bytes as base64.
pub(super) fn read(row: &Row, name: &str, kind: ColumnType) -> Result<Value, StoreError> {
    Ok(match kind {
        ColumnType::I64 => row.get::<Option<i64>>(name)?.into(),
        ColumnType::F64 => row.get::<Option<f64>>(name)?.map(f64::to_bits).into(),
        ColumnType::Text => row.get::<Option<String>>(name)?.into(),
        ColumnType::Bool => row.get::<Option<bool>>(name)?.into(),
        ColumnType::Json => match row.get::<Option<Json<Value>>>(name)? {
            Some(Json(value)) => value,
            None => Value::Null,
        },
        ColumnType::Bytes => {
            let bytes = row.get::<Option<Vec<u8>>>(name)?;
            bytes.map(|bytes| STANDARD.encode(bytes)).into()
        }
    })
}

/// Turns a value back into what is stored.
pub(super) fn param(value: &Value, kind: ColumnType) -> Result<Param, BackupError> {
    let wrong = || BackupError::Damaged(format!("a value is not of type {kind:?}"));
    if value.is_null() {
        return Ok(Param::Null(kind));
    }
    Ok(match kind {
        ColumnType::I64 => Param::I64(value.as_i64().ok_or_else(wrong)?),
        ColumnType::F64 => Param::F64(f64::from_bits(value.as_u64().ok_or_else(wrong)?)),
        ColumnType::Text => Param::Text(value.as_str().ok_or_else(wrong)?.into()),
        ColumnType::Bool => Param::Bool(value.as_bool().ok_or_else(wrong)?),
        ColumnType::Json => Param::Json(value.clone()),
        ColumnType::Bytes => {
            let text = value.as_str().ok_or_else(wrong)?;
            Param::Bytes(STANDARD.decode(text).map_err(|_| wrong())?)
        }
    })
}
