//! Databases for tests: one of its own for each test, on every engine.
//!
//! `TEST_POSTGRES_URL` names a PostgreSQL server where databases may be created, `TEST_PGBOUNCER_URL` a PgBouncer in transaction
//! mode before it. `cargo xtask test` provides both; without them the tests fail instead of passing unproven.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use primitives::Secret;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use url::Url;

use crate::{Db, StoreConfig};

/// Stamps each named `async fn(TestStore)` as one test per engine: SQLite, PostgreSQL, and PostgreSQL through PgBouncer.
///
/// The functions stand in the module that invokes the macro. The test crate needs `tokio` with `macros` and `rt`.
#[macro_export]
macro_rules! on_every_engine {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        $crate::on_every_engine!(@engine sqlite, $($(#[$attribute])* $name),*);
        $crate::on_every_engine!(@engine postgres, $($(#[$attribute])* $name),*);
        $crate::on_every_engine!(@engine pgbouncer, $($(#[$attribute])* $name),*);
    };
    (@engine $engine:ident, $($(#[$attribute:meta])* $name:ident),*) => {
        mod $engine {
            $(
                $(#[$attribute])*
                #[tokio::test]
                async fn $name() {
                    super::$name($crate::testing::TestStore::$engine().await).await;
                }
            )*
        }
    };
}

/// The plans of the queries that were read with a [`Db::explained`]. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Plans(Arc<Mutex<Vec<Plan>>>);

/// How the database went about a query.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The query.
    pub sql: String,
    /// The plan, as the database words it.
    pub lines: Vec<String>,
}

impl Plans {
    pub(crate) fn note(&self, sql: &str, lines: Vec<String>) {
        let plan = Plan {
            sql: sql.to_owned(),
            lines,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(plan);
    }

    /// Returns what was noted since the last time.
    pub fn take(&self) -> Vec<Plan> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A database that lives as long as its test.
#[derive(Debug)]
pub struct TestStore {
    config: StoreConfig,
    home: Home,
}

#[derive(Debug)]
enum Home {
    Folder(#[expect(dead_code, reason = "removes the folder when dropped")] TempDir),
    Server { admin_url: String, database: String },
}

impl TestStore {
    /// Makes an SQLite file in a folder of its own.
    #[expect(
        clippy::unused_async,
        reason = "stamped tests await every engine alike"
    )]
    pub async fn sqlite() -> Self {
        let folder = must(TempDir::new(), "make a temporary folder");
        let path = folder.path().join("test.db");
        Self {
            config: StoreConfig::new(format!("sqlite:{}", path.display())),
            home: Home::Folder(folder),
        }
    }

    /// Makes a database on the PostgreSQL server of `TEST_POSTGRES_URL`.
    pub async fn postgres() -> Self {
        let admin_url = required("TEST_POSTGRES_URL");
        let database = create_database(&admin_url).await;
        Self {
            config: small_pool(StoreConfig::new(with_database(&admin_url, &database))),
            home: Home::Server {
                admin_url,
                database,
            },
        }
    }

    /// Makes a database on the PostgreSQL server and reaches it through the PgBouncer of `TEST_PGBOUNCER_URL`.
    pub async fn pgbouncer() -> Self {
        let admin_url = required("TEST_POSTGRES_URL");
        let pooler_url = required("TEST_PGBOUNCER_URL");
        let database = create_database(&admin_url).await;
        let mut config = small_pool(StoreConfig::new(with_database(&pooler_url, &database)));
        config.direct_url = Some(Secret::new(with_database(&admin_url, &database)));
        Self {
            config,
            home: Home::Server {
                admin_url,
                database,
            },
        }
    }

    /// Returns how to reach the database, for tests that open it more than once.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Opens the database as it is.
    pub async fn open(&self) -> Db {
        must(Db::open(&self.config).await, "open the test database")
    }

    /// Opens the database and brings its schema up to date.
    pub async fn migrated(&self) -> Db {
        let db = self.open().await;
        must(db.migrate().await, "migrate the test database");
        db
    }

    /// Stops the database as its users see it: PostgreSQL ends all connections to it and takes no new ones until [`Self::resume`].
    /// An SQLite file has no server to stop, so `db` itself is closed.
    pub async fn stop(&self, db: &Db) {
        let Home::Server {
            admin_url,
            database,
        } = &self.home
        else {
            db.close().await;
            return;
        };
        let mut admin = connect(admin_url).await;
        run(
            &mut admin,
            format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false"),
        )
        .await;
        run(
            &mut admin,
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"),
        )
        .await;
    }

    /// Makes a role that may do everything in this PostgreSQL database, and returns its name. It ends with the database.
    pub async fn make_role(&self) -> String {
        let (mut admin, database) = self.server().await;
        let role = format!("{database}_role");
        // A superuser, so that what this database's owner made is its own too.
        run(&mut admin, format!("CREATE ROLE {role} LOGIN SUPERUSER")).await;
        role
    }

    /// Returns how to reach the database as another role.
    pub fn config_of(&self, role: &str) -> StoreConfig {
        let mut url = must(Url::parse(self.config.url.expose()), "read the address");
        must(url.set_username(role), "name the role");
        StoreConfig {
            url: Secret::new(url.into()),
            ..self.config.clone()
        }
    }

    /// Ends a role's connections and lets it sign in no more.
    pub async fn lock_role(&self, role: &str) {
        let (mut admin, _) = self.server().await;
        run(&mut admin, format!("ALTER ROLE {role} NOLOGIN")).await;
        run(
            &mut admin,
            format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
            ),
        )
        .await;
    }

    /// Lets a role sign in again.
    pub async fn unlock_role(&self, role: &str) {
        let (mut admin, _) = self.server().await;
        run(&mut admin, format!("ALTER ROLE {role} LOGIN")).await;
    }

    async fn server(&self) -> (PgConnection, &str) {
        match &self.home {
            Home::Server {
                admin_url,
                database,
            } => (connect(admin_url).await, database),
            Home::Folder(_) => fail("use roles", "SQLite has none"),
        }
    }

    /// Lets the database be used again. An SQLite database must be opened anew; on PostgreSQL the stopped [`Db`] recovers.
    pub async fn resume(&self) {
        if let Home::Server {
            admin_url,
            database,
        } = &self.home
        {
            let mut admin = connect(admin_url).await;
            run(
                &mut admin,
                format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true"),
            )
            .await;
        }
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        let Home::Server {
            admin_url,
            database,
        } = &self.home
        else {
            return;
        };
        let (admin_url, database) = (admin_url.clone(), database.clone());
        // A runtime of its own: the test's may be of one thread, and that thread is here.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = must(runtime, "start a runtime");
            runtime.block_on(async {
                let mut admin = connect(&admin_url).await;
                run(
                    &mut admin,
                    format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"),
                )
                .await;
                run(&mut admin, format!("DROP ROLE IF EXISTS {database}_role")).await;
            });
        });
        if dropping.join().is_err() && !std::thread::panicking() {
            fail("remove the test database", "see above");
        }
    }
}

fn small_pool(mut config: StoreConfig) -> StoreConfig {
    // Many tests share one server, whose connections are few.
    config.max_connections = 3;
    config
}

async fn create_database(admin_url: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut noise = [0; 4];
    must(aws_lc_rs::rand::fill(&mut noise), "get random bytes");
    let database = format!(
        "remuda_test_{}_{number}_{}",
        std::process::id(),
        hex::encode(noise)
    );
    let mut admin = connect(admin_url).await;
    run(&mut admin, format!("CREATE DATABASE {database}")).await;
    database
}

async fn connect(url: &str) -> PgConnection {
    must(
        PgConnection::connect(url).await,
        "connect to the test server",
    )
}

async fn run(connection: &mut PgConnection, sql: String) {
    let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    must(result, "prepare the test database");
}

fn with_database(url: &str, database: &str) -> String {
    let mut url = must(Url::parse(url), "read the address of the test server");
    url.set_path(database);
    url.into()
}

fn required(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        fail(
            "find the database servers for tests",
            &format!("{variable} is not set: run `cargo xtask test`, which starts them"),
        )
    })
}

fn must<T, E: std::fmt::Debug>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|error| fail(what, &format!("{error:?}")))
}

#[expect(clippy::panic, reason = "a test without its database must fail")]
fn fail(what: &str, why: &str) -> ! {
    panic!("cannot {what}: {why}")
}
