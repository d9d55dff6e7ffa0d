//! How a transaction ends: by itself, or together with those that write after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};
use tokio::runtime::Handle;

use crate::group::Turn;
use crate::tx::{Connection, Progress, STATEMENT_TIMEOUT, run_script};
use crate::{Row, Statement, StoreError, Tx};

/// Begins the part of a shared transaction that is one writer's. The parts before it are ended by the commit.
fn mark(turn: &Turn) -> String {
    format!("SAVEPOINT part_{}", turn.part())
}

/// Undoes that part, and no other: where it was not begun, this fails.
fn undo_part(turn: &Turn) -> SqlStr {
    AssertSqlSafe(format!("ROLLBACK TO SAVEPOINT part_{}", turn.part())).into_sql_str()
}

impl Tx {
    /// Goes on in a transaction that the writer before has left open. Returns the rows of `first`.
    pub(crate) async fn join(
        connection: Connection,
        unwanted: Arc<AtomicBool>,
        turn: Turn,
        statement_timeout: Duration,
        first: Option<Statement>,
    ) -> Result<(Self, Vec<Row>), StoreError> {
        let mark = mark(&turn);
        let mut tx = Self {
            connection: Some(connection),
            progress: Progress::Done,
            unwanted,
            statement_timeout,
            turn: Some(turn),
            shares: true,
            timed: None,
            #[cfg(feature = "testing")]
            plans: None,
        };
        // Where it fails before the mark was made, undoing fails, too, and with it the whole: without a mark nothing can be told from
        // what the others wrote.
        let rows = tx.opening(mark, first).await?;
        Ok((tx, rows))
    }

    /// Has the transaction keep its turn until it ends, and lets the next writer join it then.
    pub(crate) fn in_turn(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self.shares = true;
        self
    }

    /// Has the transaction keep its turn until it ends.
    pub(crate) fn alone_in_turn(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }

    /// Makes the changes last.
    ///
    /// # Errors
    /// When they may not have been made: nothing of them is there then, unless the connection broke while the database committed.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        match self.progress {
            Progress::Done => {}
            Progress::Refused => {
                return Err(StoreError::Backend(
                    "a statement of the transaction was refused".into(),
                ));
            }
            Progress::UnderWay | Progress::Lost => {
                return Err(StoreError::Unavailable("the transaction was lost".into()));
            }
        }
        let open_to_others = |turn: &mut Turn| turn.is_shared() || turn.others_wait();
        if self.shares
            && let Some(turn) = self.turn.take_if(open_to_others)
            && let Some(connection) = self.connection.take()
        {
            let unwanted = Arc::clone(&self.unwanted);
            let ended = turn.leave_open(connection, unwanted, self.statement_timeout);
            ended.await?;
            self.has_committed();
            return Ok(());
        }
        self.script("COMMIT".into_sql_str()).await?;
        self.has_committed();
        if let Some(connection) = self.connection.take() {
            connection.put_back();
        }
        Ok(())
    }

    fn has_committed(&mut self) {
        if let Some(timed) = &mut self.timed {
            timed.committed();
        }
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let turn = self.turn.take();
        let shared = turn.as_ref().is_some_and(Turn::is_shared);
        let usable = match self.progress {
            Progress::Done | Progress::Refused => true,
            // SQLite goes on to the end of the statement, then takes the next one. Ending it would undo what others wrote.
            Progress::UnderWay => shared && matches!(connection, Connection::Sqlite(_)),
            Progress::Lost => false,
        };
        match Handle::try_current() {
            Ok(runtime) if usable => {
                let unwanted = Arc::clone(&self.unwanted);
                runtime.spawn(undo(connection, turn, unwanted));
            }
            Ok(_) | Err(_) => {
                self.unwanted.store(true, Ordering::Relaxed);
                // Those who share the transaction learn that it was undone when the turn is dropped.
                connection.discard();
            }
        }
    }
}

async fn undo(mut connection: Connection, turn: Option<Turn>, unwanted: Arc<AtomicBool>) {
    let shared = turn.as_ref().filter(|turn| turn.is_shared());
    let sql = shared.map_or("ROLLBACK".into_sql_str(), undo_part);
    let shared = shared.is_some();
    if let Err(error) = run_script(&mut connection, STATEMENT_TIMEOUT, sql).await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "rolling back failed: closing the connection"
        );
        connection.discard();
    } else if shared && let Some(turn) = turn {
        // The others' parts are ended by whoever is next.
        drop(turn.leave_open(connection, unwanted, STATEMENT_TIMEOUT));
    } else {
        connection.put_back();
    }
}
