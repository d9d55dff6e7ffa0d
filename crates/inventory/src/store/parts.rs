//! What nodes are made of.

use ::store::{StoreError, Tx, params};

/// Tells whether there is a node of this id.
pub(crate) async fn has_node(tx: &mut Tx, node: &str) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional("SELECT id FROM nodes WHERE id = $1", params![node])
        .await?;
    Ok(row.is_some())
}

/// Lists the serial numbers of a node's parts.
pub(crate) async fn parts_of(tx: &mut Tx, node: &str) -> Result<Vec<String>, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT serial_number FROM node_parts WHERE node_id = $1 ORDER BY serial_number",
            params![node],
        )
        .await?;
    rows.iter().map(|row| row.get("serial_number")).collect()
}

/// Lists the nodes that have a part.
pub(crate) async fn nodes_with(tx: &mut Tx, serial: &str) -> Result<Vec<String>, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT node_id FROM node_parts WHERE serial_number = $1 ORDER BY node_id LIMIT 100",
            params![serial],
        )
        .await?;
    rows.iter().map(|row| row.get("node_id")).collect()
}

/// Replaces a node's parts.
pub(crate) async fn set_parts(
    tx: &mut Tx,
    node: &str,
    serials: &[String],
) -> Result<(), StoreError> {
    tx.execute("DELETE FROM node_parts WHERE node_id = $1", params![node])
        .await?;
    for serial in serials {
        tx.execute(
            "INSERT INTO node_parts (node_id, serial_number) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            params![node, serial],
        )
        .await?;
    }
    Ok(())
}
