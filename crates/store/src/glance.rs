//! One short query by itself: a transaction around it would take two or three more round trips.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::param::Params;
use crate::row::Row;
use crate::tx::{Connection, Preparing, Progress};
use crate::{StoreError, Tx};

impl Tx {
    /// Runs a query by itself: no transaction is open afterwards.
    pub(crate) async fn glance(
        connection: Connection,
        limit: Duration,
        sql: &'static str,
        params: Params,
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
        let row = match &tx.connection {
            Some(Connection::Postgres(_, Preparing::Once)) => {
                // The server ends a query that nobody waits for any more.
                let limit_ms = limit.as_millis().clamp(1, i32::MAX as u128);
                let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout TO {limit_ms}");
                if params.0.is_empty() {
                    tx.message(format!("{begin}; {sql}; COMMIT")).await?
                } else {
                    tx.message(begin).await?;
                    let row = tx.fetch_optional(sql, params).await?;
                    tx.message("COMMIT".to_owned()).await?;
                    row
                }
            }
            Some(_) | None => tx.fetch_optional(sql, params).await?,
        };
        // What is done leaves nothing to undo.
        if let Some(connection) = tx.connection.take() {
            connection.put_back();
        }
        Ok(row)
    }

    /// Sends statements without parameters in one message, and returns the first row.
    async fn message(&mut self, script: String) -> Result<Option<Row>, StoreError> {
        let rows = self.opening(script, None).await?;
        Ok(rows.into_iter().next())
    }
}
