//! The database: pools of connections, and the transactions they give.

use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use primitives::Secret;
use sqlx::Sqlite;
use sqlx::postgres::{PgConnectOptions, Postgres};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::begin::Begin;
use crate::config::Address;
use crate::direct;
use crate::group::Group;
use crate::metrics::{Kind, Metrics};
use crate::migrate;
use crate::migrate::Step;
use crate::param::Params;
use crate::pool::{Bounds, Pool, SPARE_AFTER};
use crate::readers::Readers;
use crate::tx::{Connection, Preparing, STATEMENT_TIMEOUT};
use crate::{Applied, Engine, MigrateError, Row, Statement, StoreConfig, StoreError, Tx};

/// The longest wait for a connection. Short, so that callers who can go on without the database do so soon.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest wait for another process's lock on the SQLite file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// What must survive a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Everything committed: keys, users, nodes. The disk is waited for at each commit.
    Full,
    /// Everything but the last moments, never consistency: for records that arrive in batches (request records, last-used times).
    ///
    /// SQLite runs with `synchronous=NORMAL` and PostgreSQL with `synchronous_commit=off`: after a crash of the process nothing is
    /// missing; after a loss of power the last batches may be. In exchange a batch does not hold up the one writer for the disk.
    Relaxed,
}

/// A database. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Db {
    pools: Pools,
    /// The address that migrations use.
    direct_url: Secret<String>,
    statement_timeout: Duration,
    metrics: Arc<Metrics>,
    #[cfg(feature = "testing")]
    plans: Option<crate::testing::Plans>,
}

#[derive(Clone, Debug)]
enum Pools {
    Sqlite {
        readers: Readers,
        /// One connection: SQLite has one writer at a time, and waiting in our queue is fairer than in SQLite's.
        writer: Pool<Sqlite>,
        /// Those who wait for it.
        turns: Arc<Group>,
    },
    Postgres {
        pool: Pool<Postgres>,
        preparing: Preparing,
        /// Those whose changes stand in one order anyway.
        turns: Arc<Group>,
    },
}

impl Db {
    /// Opens the database and makes sure that it answers. An absent SQLite file is created, readable by its owner only.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let pools = match Address::parse(&config.url)? {
            Address::Sqlite(path) => sqlite_pools(&path, config.max_connections)?,
            // Large, and of no use to the many that open SQLite.
            Address::Postgres(options) => {
                Box::pin(postgres_pool(*options, config.max_connections)).await?
            }
        };
        let direct_url = config.direct_url.as_ref().unwrap_or(&config.url).clone();
        let db = Self {
            pools,
            direct_url,
            statement_timeout: STATEMENT_TIMEOUT,
            metrics: Arc::new(Metrics::new()),
            #[cfg(feature = "testing")]
            plans: None,
        };
        // A new file gets its write-ahead log by a connection that has the file for itself; readers may be two at once.
        if let Pools::Sqlite { writer, .. } = &db.pools {
            writer.acquire().await?.put_back();
        }
        db.ping().await?;
        Ok(db)
    }

    /// Returns the database with another bound on the time of one statement, at least a millisecond; 15 s unless set.
    ///
    /// A statement that takes longer fails as unavailable, and the database stops working on it and releases its locks.
    #[must_use]
    pub const fn with_statement_timeout(mut self, limit: Duration) -> Self {
        self.statement_timeout = limit;
        self
    }

    /// Brings the schema up to this build's, in one transaction. Several processes may do so at the same time.
    pub async fn migrate(&self) -> Result<Applied, MigrateError> {
        self.migrate_to(i64::MAX).await
    }

    /// Compares the schema's steps with those of this build, changing nothing.
    pub async fn migration_steps(&self) -> Result<Vec<Step>, StoreError> {
        let mut tx = self.read().await?;
        let steps = migrate::steps(&mut tx).await?;
        tx.commit().await?;
        Ok(steps)
    }

    /// Brings the schema up to the given version, as an earlier build left it; for tests of the steps that follow.
    #[cfg(feature = "testing")]
    pub async fn migrate_up_to(&self, version: i64) -> Result<Applied, MigrateError> {
        self.migrate_to(version).await
    }

    pub(crate) async fn migrate_to(&self, version: i64) -> Result<Applied, MigrateError> {
        match &self.pools {
            Pools::Sqlite { .. } => migrate::run(self.write().await?, version).await,
            Pools::Postgres { .. } => {
                let config = StoreConfig {
                    url: self.direct_url.clone(),
                    direct_url: None,
                    max_connections: 1,
                };
                let direct = Self::open(&config).await?;
                let result = migrate::run(direct.write().await?, version).await;
                direct.close().await;
                result
            }
        }
    }

    /// Begins a transaction that only reads, and sees one state of the database throughout.
    pub async fn read(&self) -> Result<Tx, StoreError> {
        self.read_as(Begin::Read).await
    }

    /// Begins a transaction like [`Db::read`] whose queries find rows by keys, whatever their parameters are: PostgreSQL keeps one plan
    /// for all of them.
    pub async fn read_by_keys(&self) -> Result<Tx, StoreError> {
        self.read_as(Begin::ReadByKeys).await
    }

    async fn read_as(&self, begin: Begin) -> Result<Tx, StoreError> {
        let asked = Instant::now();
        let tx = self.begin_reading(begin).await;
        let tx = self.metrics.begun(Kind::Read, asked, tx)?;
        #[cfg(feature = "testing")]
        let tx = tx.explained(self.plans.clone());
        Ok(tx)
    }

    /// Returns the database with the plans of what it reads noted in `plans`, for tests that look at them.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn explained(mut self, plans: crate::testing::Plans) -> Self {
        self.plans = Some(plans);
        self
    }

    async fn begin_reading(&self, begin: Begin) -> Result<Tx, StoreError> {
        match &self.pools {
            Pools::Sqlite { readers, .. } => {
                let connection = Connection::Sqlite(readers.acquire().await?);
                Tx::begin(connection, begin, self.statement_timeout).await
            }
            Pools::Postgres {
                pool, preparing, ..
            } => {
                let (tx, _) = self.begin_at(pool, *preparing, begin, None).await?;
                Ok(tx)
            }
        }
    }

    /// Begins a transaction of PostgreSQL. Where a connection has rested, the server may have closed it meanwhile, and most likely all
    /// others that rest, too: then nothing has begun yet, and a new one serves.
    async fn begin_at(
        &self,
        pool: &Pool<Postgres>,
        preparing: Preparing,
        begin: Begin,
        first: Option<Statement>,
    ) -> Result<(Tx, Vec<Row>), StoreError> {
        let limit = self.statement_timeout;
        let lent = pool.acquire().await?;
        let has_rested = lent.was_lent_before();
        let connection = Connection::Postgres(lent, preparing);
        match Tx::begin_with(connection, begin, limit, first).await {
            Err(error) if has_rested && error.is_lost_connection() => {
                pool.renew();
                let connection = Connection::Postgres(pool.acquire().await?, preparing);
                Tx::begin_with(connection, begin, limit, first).await
            }
            tx => tx,
        }
    }

    /// Begins a transaction that may write, and whose commit lasts ([`Durability::Full`]).
    pub async fn write(&self) -> Result<Tx, StoreError> {
        self.write_with(Durability::Full).await
    }

    /// Begins a transaction that may write, with the durability that its content needs.
    ///
    /// On SQLite writers take turns, and those who wait at the same time share a commit.
    pub async fn write_with(&self, durability: Durability) -> Result<Tx, StoreError> {
        let asked = Instant::now();
        let tx = match &self.pools {
            Pools::Sqlite { .. } => self.write_in_turn(durability, None).await.map(|(tx, _)| tx),
            Pools::Postgres {
                pool, preparing, ..
            } => self.write_alone(pool, *preparing, durability).await,
        };
        self.metrics.begun(Kind::Write, asked, tx)
    }

    /// Begins a transaction like [`Db::write`] that takes turns with others begun so on PostgreSQL too: for changes that wait for
    /// each other in any case, by a lock that they hold until their commit. Here they share the commit, with an outcome each.
    pub async fn write_ordered(&self) -> Result<Tx, StoreError> {
        let asked = Instant::now();
        let tx = self.write_in_turn(Durability::Full, None).await;
        self.metrics.begun(Kind::Write, asked, tx.map(|(tx, _)| tx))
    }

    /// Begins a transaction like [`Db::write_ordered`] with statements without parameters, which cost no further round trip, and
    /// returns their rows, one statement's after the other's.
    pub async fn write_ordered_from(
        &self,
        first: impl Into<Statement>,
    ) -> Result<(Tx, Vec<Row>), StoreError> {
        let asked = Instant::now();
        let first = Some(first.into());
        let (tx, rows) = match self.write_in_turn(Durability::Full, first).await {
            Ok((tx, rows)) => (Ok(tx), rows),
            Err(error) => (Err(error), Vec::new()),
        };
        Ok((self.metrics.begun(Kind::Write, asked, tx)?, rows))
    }

    async fn write_alone(
        &self,
        pool: &Pool<Postgres>,
        preparing: Preparing,
        durability: Durability,
    ) -> Result<Tx, StoreError> {
        let begin = Begin::Write(durability);
        let (tx, _) = self.begin_at(pool, preparing, begin, None).await?;
        Ok(tx)
    }

    async fn write_in_turn(
        &self,
        durability: Durability,
        first: Option<Statement>,
    ) -> Result<(Tx, Vec<Row>), StoreError> {
        let limit = self.statement_timeout;
        let (Pools::Sqlite { turns, .. } | Pools::Postgres { turns, .. }) = &self.pools;
        let (turn, open) = turns.turn(ACQUIRE_TIMEOUT).await?;
        if let Some((connection, unwanted)) = open {
            return Tx::join(connection, unwanted, turn, limit, first).await;
        }
        let begin = Begin::WriteInTurn(durability);
        let (tx, rows) = match &self.pools {
            Pools::Sqlite { writer, .. } => {
                let mut connection = writer.acquire().await?;
                if *connection.durability() != Some(durability) {
                    // Unknown until it is changed.
                    *connection.durability() = None;
                    let pragma = match durability {
                        Durability::Full => "PRAGMA synchronous = FULL",
                        Durability::Relaxed => "PRAGMA synchronous = NORMAL",
                    };
                    sqlx::raw_sql(pragma).execute(&mut *connection).await?;
                    *connection.durability() = Some(durability);
                }
                Tx::begin_with(Connection::Sqlite(connection), begin, limit, first).await?
            }
            Pools::Postgres {
                pool, preparing, ..
            } => self.begin_at(pool, *preparing, begin, first).await?,
        };
        // What is less durable is not shared: who joined would be promised more.
        let tx = match durability {
            Durability::Full => tx.in_turn(turn),
            Durability::Relaxed => tx.alone_in_turn(turn),
        };
        Ok((tx, rows))
    }

    /// Returns how many wait for their turn to write, for tests of what they share.
    #[cfg(feature = "testing")]
    pub fn writers_waiting(&self) -> usize {
        let (Pools::Sqlite { turns, .. } | Pools::Postgres { turns, .. }) = &self.pools;
        turns.waiting()
    }

    /// Runs one query by itself and returns its first row. It sees what was committed before. That is one round trip, but with parameters
    /// through a pooler, where it is three. Made for queries that find rows by keys: PostgreSQL keeps one plan for all parameters.
    pub async fn glance(
        &self,
        sql: impl Into<Statement>,
        params: impl Into<Params>,
    ) -> Result<Option<Row>, StoreError> {
        let sql = sql.into().text(self.engine());
        let (limit, params) = (self.statement_timeout, params.into());
        match &self.pools {
            Pools::Sqlite { readers, .. } => {
                let connection = Connection::Sqlite(readers.acquire().await?);
                Tx::glance(connection, limit, sql, params).await
            }
            Pools::Postgres {
                pool, preparing, ..
            } => {
                let lent = pool.acquire().await?;
                let has_rested = lent.was_lent_before();
                let connection = Connection::Postgres(lent, *preparing);
                match Tx::glance(connection, limit, sql, params.clone()).await {
                    Err(error) if has_rested && error.is_lost_connection() => {
                        pool.renew();
                        let connection = Connection::Postgres(pool.acquire().await?, *preparing);
                        Tx::glance(connection, limit, sql, params).await
                    }
                    row => row,
                }
            }
        }
    }

    /// Returns the metrics of the database's use in the text format, with its end mark.
    pub fn render_metrics(&self) -> String {
        match &self.pools {
            Pools::Sqlite {
                readers, writer, ..
            } => {
                let pools = [readers.state(), writer.state("writer")];
                self.metrics.render(pools)
            }
            Pools::Postgres { pool, .. } => self.metrics.render([pool.state("all")]),
        }
    }

    /// Returns the address that goes past any pooler.
    pub(crate) const fn direct_url(&self) -> &Secret<String> {
        &self.direct_url
    }

    /// Returns the engine.
    pub fn engine(&self) -> Engine {
        match &self.pools {
            Pools::Sqlite { .. } => Engine::Sqlite,
            Pools::Postgres { .. } => Engine::Postgres,
        }
    }

    /// Asks the database for an answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut tx = self.read().await?;
        tx.fetch_optional("SELECT CAST(1 AS BIGINT) AS one", ())
            .await?;
        tx.commit().await
    }

    /// Closes all connections, waiting for transactions under way. Afterwards every operation is refused as unavailable.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite {
                readers, writer, ..
            } => {
                // The writer last: the last connection folds the write-ahead log into the file.
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres { pool, .. } => pool.close().await,
        }
    }
}

/// The server has to answer: what is at the address decides how it is spoken to.
async fn postgres_pool(
    options: PgConnectOptions,
    max_connections: u32,
) -> Result<Pools, StoreError> {
    let pool = |options: PgConnectOptions| Pool::new(options, bounds(max_connections));
    let asked = pool(options.clone())?;
    let mut preparing = direct::preparing(&options, &asked).await?;
    let pool = match preparing {
        Preparing::Once => asked,
        Preparing::Kept => {
            let kept = pool(direct::keeping(options))?;
            // A pooler that looks like PostgreSQL refuses to set what these connections need.
            if let Ok(connection) = kept.acquire().await {
                connection.put_back();
                asked.close().await;
                kept
            } else {
                preparing = Preparing::Once;
                asked
            }
        }
    };
    Ok(Pools::Postgres {
        pool,
        preparing,
        turns: Group::new(),
    })
}

const fn bounds(most: u32) -> Bounds {
    Bounds {
        most,
        patience: ACQUIRE_TIMEOUT,
        spare_after: SPARE_AFTER,
    }
}

fn sqlite_pools(path: &Path, max_connections: u32) -> Result<Pools, StoreError> {
    create_private(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("journal_size_limit", "67108864");
    let readers = Readers::new(&options, max_connections, ACQUIRE_TIMEOUT)?;
    let writer = Pool::new(options, bounds(1))?;
    Ok(Pools::Sqlite {
        readers,
        writer,
        turns: Group::new(),
    })
}

/// Creates the file with mode 0600 when absent, and takes other people's access away when present. The log files inherit the mode.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let refused = |error: std::io::Error| StoreError::Config {
        reason: format!("cannot open the database file {}: {error}", path.display()),
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(refused)?;
    let mode = file.metadata().map_err(refused)?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
            .map_err(refused)?;
    }
    Ok(())
}
