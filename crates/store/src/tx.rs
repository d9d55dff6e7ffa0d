//! A transaction. Every statement of the product runs in one, because a pooler in transaction mode keeps a server only that long.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::Postgres;
use sqlx::sqlite::{Sqlite, SqliteArguments};
use sqlx::{Arguments as _, AssertSqlSafe, SqlSafeStr as _, SqlStr};
use tokio::time::timeout;

use crate::begin::Begin;
use crate::bind::{add_sqlite, bind_postgres, bind_sqlite};
use crate::bulk::Column;
use crate::group::Turn;
use crate::metrics::Timed;
use crate::param::Params;
use crate::pool::Lent;
use crate::row::{Driver, Row};
use crate::{Bulk, Engine, Statement, StoreError};

/// The longest wait for one statement unless set otherwise. A server that accepts connections but no longer answers counts as
/// unavailable after it.
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);

/// SQLite looks this often, in steps of its virtual machine, whether a statement is still wanted: some thousand times a second.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// An open transaction. Dropping it without [`Tx::commit`] undoes its changes.
#[derive(Debug)]
#[must_use = "changes last only after `commit`"]
pub struct Tx {
    pub(crate) connection: Option<Connection>,
    pub(crate) progress: Progress,
    /// Set to end the statement under way on SQLite, which would else hold its connection until it is through.
    pub(crate) unwanted: Arc<AtomicBool>,
    pub(crate) statement_timeout: Duration,
    /// Where writers take turns: this one's.
    pub(crate) turn: Option<Turn>,
    /// Whether the next ones may write in the same transaction.
    pub(crate) shares: bool,
    /// Tells of the end.
    pub(crate) timed: Option<Timed>,
    /// Where the plans of queries are noted, in tests that look at them.
    #[cfg(feature = "testing")]
    pub(crate) plans: Option<crate::testing::Plans>,
}

/// How far the last statement came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// To its end.
    Done,
    /// It was refused, and PostgreSQL takes no further one in this transaction.
    Refused,
    /// Not to its end: a connection left so is used again only where the database runs one statement after the other.
    UnderWay,
    /// Nothing is known about the state of the transaction and its connection.
    Lost,
}

#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(Lent<Sqlite>),
    Postgres(Lent<Postgres>, Preparing),
}

/// Whether PostgreSQL keeps statements prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preparing {
    /// For the connection's life: a statement that ran before takes one round trip in place of two.
    Kept,
    /// For one run. A pooler may give a transaction another server connection, which knows nothing of what was prepared; and what is
    /// put together is not the same again, or means something else.
    Once,
}

impl Preparing {
    fn and(self, wanted: Self) -> Self {
        if self == Self::Kept { wanted } else { self }
    }
}

impl Tx {
    pub(crate) async fn begin(
        connection: Connection,
        begin: Begin,
        statement_timeout: Duration,
    ) -> Result<Self, StoreError> {
        let (tx, _) = Self::begin_with(connection, begin, statement_timeout, None).await?;
        Ok(tx)
    }

    /// Begins, and runs `first` in the same round trip where there are any. Returns its rows.
    pub(crate) async fn begin_with(
        mut connection: Connection,
        begin: Begin,
        statement_timeout: Duration,
        first: Option<Statement>,
    ) -> Result<(Self, Vec<Row>), StoreError> {
        let unwanted = Arc::new(AtomicBool::new(false));
        if let Connection::Sqlite(connection) = &mut connection {
            end_when(connection, Arc::clone(&unwanted)).await?;
        }
        let mut tx = Self {
            connection: Some(connection),
            progress: Progress::Done,
            unwanted,
            statement_timeout,
            turn: None,
            shares: false,
            timed: None,
            #[cfg(feature = "testing")]
            plans: None,
        };
        let script = match &tx.connection {
            // Such a connection has the usual limit from its start.
            Some(Connection::Postgres(_, Preparing::Kept))
                if statement_timeout == STATEMENT_TIMEOUT =>
            {
                begin.postgres().to_owned()
            }
            Some(Connection::Postgres(..)) => {
                // The server ends a statement that nobody waits for any more; until then it would hold its locks.
                let limit_ms = statement_timeout.as_millis().clamp(1, i32::MAX as u128);
                let begin = begin.postgres();
                format!("{begin}; SET LOCAL statement_timeout TO {limit_ms}")
            }
            Some(Connection::Sqlite(_)) | None => begin.sqlite().to_owned(),
        };
        let rows = tx.opening(script, first).await?;
        Ok((tx, rows))
    }

    /// Runs what opens the transaction, or a part of it, and then `first`: one message to PostgreSQL, and so one wait.
    pub(crate) async fn opening(
        &mut self,
        script: String,
        first: Option<Statement>,
    ) -> Result<Vec<Row>, StoreError> {
        let (limit, engine) = (self.statement_timeout, self.engine());
        let script = match first {
            Some(first) => format!("{script}; {}", first.text(engine)),
            None => script,
        };
        let script = sqlx::raw_sql(AssertSqlSafe(script));
        self.guarded(async |connection| match connection {
            Connection::Sqlite(connection) => {
                let rows = within(limit, script.fetch_all(&mut **connection)).await?;
                Ok(rows
                    .into_iter()
                    .map(|row| Row(Driver::Sqlite(row)))
                    .collect())
            }
            Connection::Postgres(connection, _) => {
                let rows = within(limit, script.fetch_all(&mut **connection)).await?;
                Ok(rows
                    .into_iter()
                    .map(|row| Row(Driver::Postgres(row)))
                    .collect())
            }
        })
        .await
    }

    /// Has the transaction tell of its end.
    pub(crate) fn told_of(mut self, timed: Timed) -> Self {
        self.timed = Some(timed);
        self
    }

    /// Lifts the bound on one statement's time, for migrations that rewrite tables.
    pub(crate) async fn without_statement_timeout(mut self) -> Result<Self, StoreError> {
        if self.engine() == Engine::Postgres {
            self.script("SET LOCAL statement_timeout TO 0".into_sql_str())
                .await?;
        }
        self.statement_timeout = Duration::from_hours(24);
        Ok(self)
    }

    /// Returns the engine that runs the transaction.
    pub fn engine(&self) -> Engine {
        match &self.connection {
            Some(Connection::Postgres(..)) => Engine::Postgres,
            Some(Connection::Sqlite(_)) | None => Engine::Sqlite,
        }
    }

    /// Runs a statement and returns the number of rows it changed.
    pub async fn execute(
        &mut self,
        sql: impl Into<Statement>,
        params: impl Into<Params>,
    ) -> Result<u64, StoreError> {
        let sql = sql.into().text(self.engine()).into_sql_str();
        self.run(sql, params.into(), Preparing::Kept).await
    }

    /// Runs a query and returns all rows.
    pub async fn fetch_all(
        &mut self,
        sql: impl Into<Statement>,
        params: impl Into<Params>,
    ) -> Result<Vec<Row>, StoreError> {
        let sql = sql.into().text(self.engine()).into_sql_str();
        self.rows(sql, params.into()).await
    }

    /// Runs a query that is put together from names of the database's own catalogue.
    pub(crate) async fn fetch_worded(
        &mut self,
        sql: String,
        params: impl Into<Params>,
    ) -> Result<Vec<Row>, StoreError> {
        let sql = AssertSqlSafe(sql).into_sql_str();
        self.rows_prepared(sql, params.into(), Preparing::Once)
            .await
    }

    /// Runs a statement that is put together from names of the database's own catalogue.
    pub(crate) async fn run_worded(
        &mut self,
        sql: String,
        params: impl Into<Params>,
    ) -> Result<u64, StoreError> {
        let sql = AssertSqlSafe(sql).into_sql_str();
        self.run(sql, params.into(), Preparing::Once).await
    }

    pub(crate) async fn rows(
        &mut self,
        sql: SqlStr,
        params: Params,
    ) -> Result<Vec<Row>, StoreError> {
        self.rows_prepared(sql, params, Preparing::Kept).await
    }

    async fn rows_prepared(
        &mut self,
        sql: SqlStr,
        params: Params,
        wanted: Preparing,
    ) -> Result<Vec<Row>, StoreError> {
        #[cfg(feature = "testing")]
        self.explain(&sql, &params).await?;
        let limit = self.statement_timeout;
        self.guarded(async |connection| {
            let rows = match connection {
                Connection::Sqlite(connection) => {
                    let query = bind_sqlite(sqlx::query(sql), params);
                    let rows = within(limit, query.fetch_all(&mut **connection)).await?;
                    rows.into_iter()
                        .map(|row| Row(Driver::Sqlite(row)))
                        .collect()
                }
                Connection::Postgres(connection, preparing) => {
                    let query = bind_postgres(sqlx::query(sql), params, preparing.and(wanted));
                    let rows = within(limit, query.fetch_all(&mut **connection)).await?;
                    rows.into_iter()
                        .map(|row| Row(Driver::Postgres(row)))
                        .collect()
                }
            };
            Ok(rows)
        })
        .await
    }

    /// Runs a query and returns its first row, or `None` when there is none.
    pub async fn fetch_optional(
        &mut self,
        sql: impl Into<Statement>,
        params: impl Into<Params>,
    ) -> Result<Option<Row>, StoreError> {
        let sql = sql.into().text(self.engine()).into_sql_str();
        let params = params.into();
        #[cfg(feature = "testing")]
        self.explain(&sql, &params).await?;
        let limit = self.statement_timeout;
        self.guarded(async |connection| {
            Ok(match connection {
                Connection::Sqlite(connection) => {
                    let query = bind_sqlite(sqlx::query(sql), params);
                    within(limit, query.fetch_optional(&mut **connection))
                        .await?
                        .map(|row| Row(Driver::Sqlite(row)))
                }
                Connection::Postgres(connection, preparing) => {
                    let query = bind_postgres(sqlx::query(sql), params, *preparing);
                    within(limit, query.fetch_optional(&mut **connection))
                        .await?
                        .map(|row| Row(Driver::Postgres(row)))
                }
            })
        })
        .await
    }

    /// Inserts many rows with few statements and returns how many were stored.
    ///
    /// Each row gives its values in the order of the table's columns.
    pub async fn insert_many(&mut self, bulk: &Bulk, rows: &[Params]) -> Result<u64, StoreError> {
        bulk.check(rows)?;
        let engine = self.engine();
        let mut stored = 0;
        let mut left = rows;
        while !left.is_empty() {
            let (next, rest) = left.split_at(bulk.next_rows(engine, left.len()));
            let sql = AssertSqlSafe(bulk.sql(engine, next.len())).into_sql_str();
            stored += match engine {
                Engine::Sqlite => self.run_rows(sql, next).await?,
                Engine::Postgres => self.run_columns(sql, bulk.by_column(next)?).await?,
            };
            left = rest;
        }
        Ok(stored)
    }

    /// Runs a script of several statements without parameters.
    pub(crate) async fn script(&mut self, sql: SqlStr) -> Result<(), StoreError> {
        let limit = self.statement_timeout;
        self.guarded(async |connection| run_script(connection, limit, sql).await)
            .await
    }

    async fn run(
        &mut self,
        sql: SqlStr,
        params: Params,
        wanted: Preparing,
    ) -> Result<u64, StoreError> {
        let limit = self.statement_timeout;
        self.guarded(async |connection| {
            Ok(match connection {
                Connection::Sqlite(connection) => {
                    let query = bind_sqlite(sqlx::query(sql), params);
                    within(limit, query.execute(&mut **connection))
                        .await?
                        .rows_affected()
                }
                Connection::Postgres(connection, preparing) => {
                    let query = bind_postgres(sqlx::query(sql), params, preparing.and(wanted));
                    within(limit, query.execute(&mut **connection))
                        .await?
                        .rows_affected()
                }
            })
        })
        .await
    }

    async fn run_rows(&mut self, sql: SqlStr, rows: &[Params]) -> Result<u64, StoreError> {
        let limit = self.statement_timeout;
        let mut values = SqliteArguments::default();
        values.reserve(rows.iter().map(|row| row.0.len()).sum(), 0);
        for param in rows.iter().flat_map(|row| &row.0) {
            add_sqlite(&mut values, param).map_err(StoreError::Backend)?;
        }
        self.guarded(async |connection| match connection {
            Connection::Sqlite(connection) => {
                let query = sqlx::query_with(sql, values);
                Ok(within(limit, query.execute(&mut **connection))
                    .await?
                    .rows_affected())
            }
            Connection::Postgres(..) => Err(StoreError::Backend(
                "PostgreSQL takes rows by column".into(),
            )),
        })
        .await
    }

    async fn run_columns(
        &mut self,
        sql: SqlStr,
        columns: Vec<Column<'_>>,
    ) -> Result<u64, StoreError> {
        let limit = self.statement_timeout;
        self.guarded(async |connection| match connection {
            Connection::Sqlite(_) => {
                Err(StoreError::Backend("SQLite has no array parameters".into()))
            }
            Connection::Postgres(connection, preparing) => {
                let query = sqlx::query(sql).persistent(*preparing == Preparing::Kept);
                let query = columns
                    .into_iter()
                    .fold(query, |query, column| column.bind(query));
                Ok(within(limit, query.execute(&mut **connection))
                    .await?
                    .rows_affected())
            }
        })
        .await
    }

    /// Runs one step and remembers when it did not come to its end.
    pub(crate) async fn guarded<T>(
        &mut self,
        step: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = self
            .connection
            .as_mut()
            .ok_or_else(|| StoreError::Backend("the transaction has ended".into()))?;
        self.progress = Progress::UnderWay;
        let result = step(connection).await;
        self.progress = match (&result, connection) {
            // After trouble with the connection or the file nothing is known about its state.
            (Err(error), _) if error.is_passing() || matches!(error, StoreError::Damaged(_)) => {
                Progress::Lost
            }
            (Err(_), Connection::Postgres(..)) => Progress::Refused,
            (Ok(_), _) | (Err(_), Connection::Sqlite(_)) => Progress::Done,
        };
        result
    }
}

impl Connection {
    /// Gives the connection, which is in order and in no transaction, to whoever comes next.
    pub(crate) fn put_back(self) {
        match self {
            Self::Sqlite(connection) => connection.put_back(),
            Self::Postgres(connection, _) => connection.put_back(),
        }
    }

    /// Closes the connection instead of returning it to the pool; the database undoes what was open.
    pub(crate) fn discard(self) {
        match self {
            Self::Sqlite(connection) => connection.discard(),
            Self::Postgres(connection, _) => connection.discard(),
        }
    }
}

/// Has SQLite end its statements once `unwanted` is set. Replaces what an earlier transaction of the connection had set.
async fn end_when(
    connection: &mut Lent<Sqlite>,
    unwanted: Arc<AtomicBool>,
) -> Result<(), StoreError> {
    let mut handle = within(STATEMENT_TIMEOUT, connection.lock_handle()).await?;
    handle.set_progress_handler(STEPS_BETWEEN_LOOKS, move || {
        !unwanted.load(Ordering::Relaxed)
    });
    Ok(())
}

/// Runs statements without parameters.
pub(crate) async fn run_script(
    connection: &mut Connection,
    limit: Duration,
    sql: SqlStr,
) -> Result<(), StoreError> {
    match connection {
        Connection::Sqlite(connection) => {
            within(limit, sqlx::raw_sql(sql).execute(&mut **connection)).await?;
        }
        Connection::Postgres(connection, _) => {
            within(limit, sqlx::raw_sql(sql).execute(&mut **connection)).await?;
        }
    }
    Ok(())
}

pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match timeout(limit, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(StoreError::timed_out()),
    }
}
