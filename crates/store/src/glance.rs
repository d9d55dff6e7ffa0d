//! One short query by itself: a transaction around it would take two or three more round trips.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::row::{Driver, Row};
use crate::tx::{Connection, Progress, within};
use crate::{StoreError, Tx};

impl Tx {
    pub(crate) async fn glance(
        connection: Connection,
        limit: Duration,
        sql: &'static str,
    ) -> Result<Option<Row>, StoreError> {
        let mut tx = Self {
            connection: Some(connection),
            progress: Progress::Done,
            unwanted: Arc::new(AtomicBool::new(false)),
            statement_timeout: limit,
            turn: None,
            shares: false,
            timed: None,
            #[cfg(feature = "testing")]
            plans: None,
        };
        let row = tx
            .guarded(async |connection| match connection {
                Connection::Sqlite(connection) => {
                    let row = sqlx::query(sql).fetch_optional(&mut **connection);
                    Ok(within(limit, row)
                        .await?
                        .map(|row| Row(Driver::Sqlite(row))))
                }
                Connection::Postgres(connection, _) => {
                    // One message. The server ends a query that nobody waits for any more.
                    let limit_ms = limit.as_millis().clamp(1, i32::MAX as u128);
                    let script = AssertSqlSafe(format!(
                        "BEGIN READ ONLY; SET LOCAL statement_timeout TO {limit_ms}; {sql}; COMMIT"
                    ));
                    let rows = sqlx::raw_sql(script).fetch_all(&mut **connection);
                    let first = within(limit, rows).await?.into_iter().next();
                    Ok(first.map(|row| Row(Driver::Postgres(row))))
                }
            })
            .await?;
        // What is done leaves nothing to undo.
        tx.connection = None;
        Ok(row)
    }
}
