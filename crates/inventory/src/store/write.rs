//! Reading the rows that calls name, and writing what was decided.

use std::collections::HashSet;

use ::store::{Engine, JsonText, Statement, StoreError, Tx, params};
use serde::Serialize;

use super::widget;
use crate::decide::{Board, Change};
use crate::model::{NewWidget, Operation, Widget};

/// SQLite lets one transaction write at a time: there is nothing to lock. The partners of a removed widget are read with it.
const LOCK: Statement = Statement::per_engine(
    "SELECT id, serial_number, ports, slot1, slot2, slot3 FROM widgets WHERE id IN (
         SELECT w.id FROM json_each($1) n JOIN widgets w ON w.serial_number = n.value
         UNION SELECT w.id FROM json_each($2) r JOIN widgets w ON w.serial_number = r.value
         UNION SELECT w.slot1 FROM json_each($2) r JOIN widgets w ON w.serial_number = r.value
         UNION SELECT w.slot2 FROM json_each($2) r JOIN widgets w ON w.serial_number = r.value
         UNION SELECT w.slot3 FROM json_each($2) r JOIN widgets w ON w.serial_number = r.value)",
    "SELECT id, serial_number, ports, slot1, slot2, slot3 FROM inventory_lock($1, $2)",
);

const INSERT: &str = "INSERT INTO widgets (id, serial_number, name, ports)
     SELECT a.value ->> 'id', a.value ->> 'serial', a.value ->> 'name', a.value ->> 'ports' FROM json_each($1) a WHERE true
     ON CONFLICT (serial_number) DO NOTHING RETURNING serial_number";

const APPLY: &str = "SELECT s AS serial_number FROM inventory_apply($1, $2, $3) AS a (s)";

/// Of one side: the other follows by itself.
const JOIN: [&str; 3] = [
    "UPDATE widgets SET slot1 = $1 WHERE id = $2",
    "UPDATE widgets SET slot2 = $1 WHERE id = $2",
    "UPDATE widgets SET slot3 = $1 WHERE id = $2",
];

/// Reads and locks the widgets that calls name, and the partners of those that are to be removed.
pub(crate) async fn lock_named(
    tx: &mut Tx,
    operations: &[&Operation],
) -> Result<Vec<Widget>, StoreError> {
    let (mut named, mut removed) = (Vec::new(), Vec::new());
    for operation in operations {
        match operation {
            Operation::Add(_) => {}
            Operation::Remove(serial) => removed.push(&**serial),
            Operation::Associate(pair) | Operation::Disassociate(pair) => {
                named.extend([&*pair.first, &*pair.second]);
            }
        }
    }
    if named.is_empty() && removed.is_empty() {
        return Ok(Vec::new());
    }
    let rows = tx
        .fetch_all(LOCK, params![json(&named)?, json(&removed)?])
        .await?;
    rows.iter().map(widget).collect()
}

#[derive(Serialize)]
struct Added<'a> {
    id: i64,
    serial: &'a str,
    name: &'a str,
    ports: String,
}

#[derive(Serialize)]
struct Slots {
    id: i64,
    slot1: Option<i64>,
    slot2: Option<i64>,
    slot3: Option<i64>,
}

/// Writes what was decided, and returns the serial numbers of new widgets that nobody has had.
pub(crate) async fn write_changes(
    tx: &mut Tx,
    board: &Board,
    first_number: i64,
) -> Result<HashSet<String>, StoreError> {
    let added = json(&numbered(&board.added(), first_number))?;
    let rows = match tx.engine() {
        Engine::Postgres => {
            let removed: Vec<i64> = board.removed().collect();
            let changed: Vec<Slots> = board
                .touched()
                .map(|row| {
                    let [slot1, slot2, slot3] = row.partners;
                    Slots {
                        id: row.id,
                        slot1,
                        slot2,
                        slot3,
                    }
                })
                .collect();
            tx.fetch_all(APPLY, params![added, json(&removed)?, json(&changed)?])
                .await?
        }
        Engine::Sqlite => {
            let rows = tx.fetch_all(INSERT, params![added]).await?;
            for change in board.changes() {
                write_one(tx, *change).await?;
            }
            rows
        }
    };
    rows.iter().map(|row| row.get("serial_number")).collect()
}

fn numbered<'a>(added: &[&'a NewWidget], first_number: i64) -> Vec<Added<'a>> {
    (first_number..)
        .zip(added)
        .map(|(id, widget)| Added {
            id,
            serial: &widget.serial_number,
            name: &widget.name,
            ports: widget.ports.to_string(),
        })
        .collect()
}

async fn write_one(tx: &mut Tx, change: Change) -> Result<(), StoreError> {
    match change {
        Change::Join {
            widget,
            slot,
            partner,
        } => {
            let sql = JOIN.get(slot).copied().ok_or_else(|| {
                StoreError::Backend(format!("a widget has no slot {slot}").into())
            })?;
            tx.execute(sql, params![partner, widget]).await?;
        }
        Change::Remove(id) => {
            tx.execute("DELETE FROM widgets WHERE id = $1", params![id])
                .await?;
        }
    }
    Ok(())
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<JsonText, StoreError> {
    JsonText::of(value).map_err(|error| StoreError::Backend(error.into()))
}
