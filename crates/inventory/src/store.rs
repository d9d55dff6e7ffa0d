//! All SQL of the inventory.

mod import;
mod parts;
mod read;
mod write;

use std::sync::Arc;

use ::store::{Db, Row, StoreError, params};

use crate::model::{Ports, Widget};

pub(crate) use import::insert_widgets;
pub(crate) use parts::{has_node, nodes_with, parts_of, set_parts};
pub(crate) use read::{
    Alike, NamedWidget, associations_between, count_alike, find_widget, highest_id, last_looked_at,
    list_widgets, one_sided, reach, stored_of, widgets_after, widgets_by_ids,
};
pub(crate) use write::{lock_named, write_changes};

/// Reads a widget without its name.
fn widget(row: &Row) -> Result<Widget, StoreError> {
    let ports: String = row.get("ports")?;
    let ports = Ports::parse(&ports).map_err(|error| StoreError::Corrupt {
        column: "ports".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Widget {
        id: row.get("id")?,
        serial_number: Arc::from(row.get::<String>("serial_number")?),
        ports,
        partners: [row.get("slot1")?, row.get("slot2")?, row.get("slot3")?],
    })
}

/// Takes numbers for new widgets, and returns the first of them.
pub(crate) async fn take_numbers(db: &Db, count: i64) -> Result<i64, StoreError> {
    let mut tx = db.write().await?;
    let row = tx
        .fetch_optional(
            "UPDATE inventory_numbers SET next_number = next_number + $1 WHERE name = 'widget' RETURNING next_number",
            params![count],
        )
        .await?;
    let next = match row {
        Some(row) => row.get::<i64>("next_number")?,
        None => {
            return Err(StoreError::Corrupt {
                column: "next_number".to_owned(),
                reason: "the table inventory_numbers has lost its row".to_owned(),
            });
        }
    };
    tx.commit().await?;
    Ok(next - count)
}
