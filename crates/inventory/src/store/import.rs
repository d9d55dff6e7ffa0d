//! Storing many widgets at once.

use ::store::{Bulk, BulkColumn, ColumnType, Existing, Params, StoreError, Tx, params};

use crate::model::NewWidget;

const WIDGETS: Bulk = Bulk {
    table: "widgets",
    columns: &[
        BulkColumn::new("id", ColumnType::I64),
        BulkColumn::new("serial_number", ColumnType::Text),
        BulkColumn::new("name", ColumnType::Text),
        BulkColumn::new("ports", ColumnType::Text),
    ],
    existing: Existing::Stays,
};

/// Stores widgets, sorted by serial number so that two imports never wait for each other, and returns how many were new.
pub(crate) async fn insert_widgets(
    tx: &mut Tx,
    first_number: i64,
    widgets: &[&NewWidget],
) -> Result<u64, StoreError> {
    let rows: Vec<Params> = (first_number..)
        .zip(widgets)
        .map(|(id, widget)| {
            params![
                id,
                &widget.serial_number,
                &widget.name,
                widget.ports.to_string()
            ]
        })
        .collect();
    tx.insert_many(&WIDGETS, &rows).await
}
