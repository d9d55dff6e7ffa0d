//! The SQL of the history of nodes: minutes are written, hours made of minutes, days of hours.

use primitives::{NodeId, Timestamp};
use store::{Bulk, BulkColumn, ColumnType, Db, Existing, Params, Row, StoreError, Tx, params};

use crate::history::NodePoint;
use crate::span::Span;

pub(crate) const HISTORY: Bulk = Bulk {
    table: "node_history",
    columns: &[
        BulkColumn::new("span", ColumnType::Text),
        BulkColumn::new("node_id", ColumnType::Text),
        BulkColumn::new("starts_at", ColumnType::I64),
        BulkColumn::new("samples", ColumnType::I64),
        BulkColumn::new("usable", ColumnType::I64),
        BulkColumn::new("in_flight", ColumnType::F64),
        BulkColumn::new("in_flight_most", ColumnType::I64),
        BulkColumn::new("models_loaded", ColumnType::F64),
        BulkColumn::new("cpu_percent", ColumnType::F64),
        BulkColumn::new("memory_percent", ColumnType::F64),
        BulkColumn::new("gpu_percent", ColumnType::F64),
        BulkColumn::new("gpu_memory_percent", ColumnType::F64),
        BulkColumn::new("gpu_celsius_most", ColumnType::F64),
        BulkColumn::new("gpu_watts", ColumnType::F64),
    ],
    existing: Existing::Stays,
};

/// Points added up: means are weighted by their samples, and absent where no point has them.
macro_rules! added {
    () => {
        "CAST(SUM(samples) AS BIGINT) AS samples, CAST(SUM(usable) AS BIGINT) AS usable,
         CAST(SUM(in_flight * samples) / SUM(samples) AS DOUBLE PRECISION) AS in_flight, CAST(MAX(in_flight_most) AS BIGINT) AS in_flight_most,
         CAST(SUM(models_loaded * samples) / SUM(samples) AS DOUBLE PRECISION) AS models_loaded,
         CAST(SUM(cpu_percent * samples) / SUM(CASE WHEN cpu_percent IS NOT NULL THEN samples END) AS DOUBLE PRECISION) AS cpu_percent,
         CAST(SUM(memory_percent * samples) / SUM(CASE WHEN memory_percent IS NOT NULL THEN samples END) AS DOUBLE PRECISION) AS memory_percent,
         CAST(SUM(gpu_percent * samples) / SUM(CASE WHEN gpu_percent IS NOT NULL THEN samples END) AS DOUBLE PRECISION) AS gpu_percent,
         CAST(SUM(gpu_memory_percent * samples) / SUM(CASE WHEN gpu_memory_percent IS NOT NULL THEN samples END) AS DOUBLE PRECISION) AS gpu_memory_percent,
         MAX(gpu_celsius_most) AS gpu_celsius_most,
         CAST(SUM(gpu_watts * samples) / SUM(CASE WHEN gpu_watts IS NOT NULL THEN samples END) AS DOUBLE PRECISION) AS gpu_watts"
    };
}

/// Makes the points of a coarser span out of those of a finer one, over a time that begins and ends with the coarser one.
pub(crate) async fn roll_history(
    tx: &mut Tx,
    (from, to): (Span, Span),
    (since, until): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM node_history WHERE span = $1 AND starts_at >= $2 AND starts_at < $3",
        params![to.as_str(), since, until],
    )
    .await?;
    tx.execute(
        concat!(
            "INSERT INTO node_history (span, node_id, starts_at, samples, usable, in_flight, in_flight_most, models_loaded, cpu_percent,
                 memory_percent, gpu_percent, gpu_memory_percent, gpu_celsius_most, gpu_watts)
             SELECT CAST($1 AS TEXT), node_id, starts_at / CAST($5 AS BIGINT) * CAST($5 AS BIGINT), ",
            added!(),
            " FROM node_history WHERE span = $2 AND starts_at >= $3 AND starts_at < $4 GROUP BY 2, 3"
        ),
        params![to.as_str(), from.as_str(), since, until, to.micros()],
    )
    .await?;
    Ok(())
}

/// Returns when the newest point of a span begins.
pub(crate) async fn newest_point(tx: &mut Tx, span: Span) -> Result<Option<Timestamp>, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT starts_at FROM node_history WHERE span = $1 ORDER BY starts_at DESC LIMIT 1",
            params![span.as_str()],
        )
        .await?;
    row.map(|row| row.get("starts_at")).transpose()
}

/// Deletes points of a span that began before a time.
pub(crate) async fn prune_history(
    tx: &mut Tx,
    span: Span,
    before: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM node_history WHERE span = $1 AND starts_at < $2",
        params![span.as_str(), before],
    )
    .await?;
    Ok(())
}

/// Reads the history of a node from the points of a span, `step` microseconds in each point of the answer, the oldest first.
pub(crate) async fn history(
    db: &Db,
    node: NodeId,
    (span, step): (Span, i64),
    (since, until): (Timestamp, Timestamp),
) -> Result<Vec<NodePoint>, StoreError> {
    let mut tx = db.read().await?;
    let rows = tx
        .fetch_all(
            concat!(
                "SELECT starts_at / CAST($1 AS BIGINT) * CAST($1 AS BIGINT) AS at, ",
                added!(),
                " FROM node_history WHERE span = $2 AND node_id = $3 AND starts_at >= $4 AND starts_at < $5 GROUP BY 1 ORDER BY 1"
            ),
            params![step, span.as_str(), node, since, until],
        )
        .await?;
    tx.commit().await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<NodePoint, StoreError> {
    Ok(NodePoint {
        starts_at: row.get("at")?,
        samples: row.get("samples")?,
        usable: row.get("usable")?,
        in_flight: row.get("in_flight")?,
        in_flight_most: row.get("in_flight_most")?,
        models_loaded: row.get("models_loaded")?,
        cpu_percent: row.get("cpu_percent")?,
        memory_percent: row.get("memory_percent")?,
        gpu_percent: row.get("gpu_percent")?,
        gpu_memory_percent: row.get("gpu_memory_percent")?,
        gpu_celsius_most: row.get("gpu_celsius_most")?,
        gpu_watts: row.get("gpu_watts")?,
    })
}

impl NodePoint {
    /// Returns it as a row of a minute.
    pub(crate) fn row(&self, node: NodeId) -> Params {
        params![
            Span::Minute.as_str(),
            node,
            self.starts_at,
            self.samples,
            self.usable,
            self.in_flight,
            self.in_flight_most,
            self.models_loaded,
            self.cpu_percent,
            self.memory_percent,
            self.gpu_percent,
            self.gpu_memory_percent,
            self.gpu_celsius_most,
            self.gpu_watts
        ]
    }
}
