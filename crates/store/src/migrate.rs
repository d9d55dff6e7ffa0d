//! Bringing the schema up to date. Migrations come in pairs: the same number and name for each engine, never changed once released.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use primitives::{Classify, ErrorKind};
use sqlx::SqlSafeStr as _;

use crate::{Engine, Statement, StoreError, Tx, params};

/// One step of the schema, worded for both engines.
pub(crate) struct Migration {
    pub(crate) version: i64,
    pub(crate) name: &'static str,
    pub(crate) sql: Statement,
}

macro_rules! migrations {
    ($($version:literal $file:literal)*) => {
        &[$(Migration {
            version: $version,
            name: $file,
            sql: Statement::per_engine(
                include_str!(concat!("../migrations/sqlite/", $file, ".sql")),
                include_str!(concat!("../migrations/postgres/", $file, ".sql")),
            ),
        }),*]
    };
}

pub(crate) const MIGRATIONS: &[Migration] = migrations! {
    1 "0001_identity"
    2 "0002_nodes"
    3 "0003_requests"
    4 "0004_request_indexes"
    5 "0005_organisations"
    6 "0006_shared_answers"
    7 "0007_live_keys"
    8 "0008_sessions"
    9 "0009_people"
    10 "0010_second_factor"
    11 "0011_audit"
    12 "0012_idempotency"
    13 "0013_settings"
    14 "0014_oidc"
    15 "0015_roles"
    16 "0016_jobs"
    17 "0017_requests_not_ok"
    18 "0018_inventory"
    19 "0019_audit_commitments"
    20 "0020_repeated_refreshes"
    21 "0021_agents"
    22 "0022_work"
    23 "0023_statistics"
    24 "0024_agent_control_planes"
    25 "0025_placement"
    26 "0026_rollouts"
    27 "0027_credential_changes"
    28 "0028_agent_updates"
    29 "0029_inventory_plans"
    30 "0030_inventory_both_sides"
    31 "0031_take_place"
};

/// What [`Db::migrate`](crate::Db::migrate) did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The schema's version now.
    pub version: i64,
    /// The names of the steps that were missing, in order.
    pub steps: Vec<&'static str>,
}

/// Why the schema could not be brought up to date. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer build has used this database.
    #[error("the database is at version {database}, this build knows versions up to {build}")]
    Newer {
        /// The schema's version in the database.
        database: i64,
        /// The newest version this build knows.
        build: i64,
    },
    /// A step was applied in another form than this build has it.
    #[error("migration {name} was changed after it had been applied")]
    Changed {
        /// The step.
        name: &'static str,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for MigrateError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Newer { .. } | Self::Changed { .. } => ErrorKind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Newer { .. } => format!(
                "{self}: start the newer build, or restore a backup made before the upgrade"
            ),
            Self::Changed { .. } => format!("{self}: start the build that made this database"),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// The number of our advisory lock: `remuda` in ASCII.
const LOCK: i64 = 0x7265_6d75_6461;

const CREATE_JOURNAL: Statement = Statement::per_engine(
    "CREATE TABLE IF NOT EXISTS _migrations (
        version BIGINT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        checksum TEXT NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS _migrations (
        version BIGINT NOT NULL CONSTRAINT _migrations_version PRIMARY KEY,
        name TEXT NOT NULL,
        checksum TEXT NOT NULL
    )",
);

/// Applies what is missing, up to the version `last`.
pub(crate) async fn run(tx: Tx, last: i64) -> Result<Applied, MigrateError> {
    let mut tx = tx.without_statement_timeout().await?;
    // On SQLite the write transaction itself keeps other processes out.
    if tx.engine() == Engine::Postgres {
        tx.fetch_optional(
            "SELECT CAST(pg_advisory_xact_lock($1) AS TEXT) AS locked",
            params![LOCK],
        )
        .await?;
    }
    tx.execute(CREATE_JOURNAL, ()).await?;
    let applied = applied_checksums(&mut tx).await?;
    let build = newest_version();
    if let Some((&database, _)) = applied.last_key_value()
        && database > build
    {
        return Err(MigrateError::Newer { database, build });
    }
    let mut steps = Vec::new();
    for migration in MIGRATIONS
        .iter()
        .filter(|migration| migration.version <= last)
    {
        let sql = migration.sql.text(tx.engine());
        let checksum = checksum(sql);
        match applied.get(&migration.version) {
            Some(stored) if *stored == checksum => {}
            Some(_) => {
                return Err(MigrateError::Changed {
                    name: migration.name,
                });
            }
            None => {
                tx.script(sql.into_sql_str()).await?;
                tx.execute(
                    "INSERT INTO _migrations (version, name, checksum) VALUES ($1, $2, $3)",
                    params![migration.version, migration.name, checksum],
                )
                .await?;
                steps.push(migration.name);
            }
        }
    }
    tx.commit().await?;
    Ok(Applied {
        version: build.min(last),
        steps,
    })
}

/// Returns the newest version that this build knows.
pub(crate) fn newest_version() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}

/// Returns the version of the schema.
pub(crate) async fn applied_version(tx: &mut Tx) -> Result<i64, StoreError> {
    // Health checks put a row below zero there for a moment.
    let row = tx
        .fetch_optional(
            "SELECT CAST(COALESCE(max(version), 0) AS BIGINT) AS version FROM _migrations WHERE version > 0",
            (),
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("version"))
}

/// One step of the schema, and whether a database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// Whether it was applied.
    pub state: StepState,
}

/// Whether a step was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// It was, as this build has it.
    Applied,
    /// It was not.
    Missing,
    /// It was, in another form than this build has it.
    Changed,
    /// It was, by a newer build.
    Newer,
}

/// Compares the steps of this build with those of the database, which need not have any.
pub(crate) async fn steps(tx: &mut Tx) -> Result<Vec<Step>, StoreError> {
    let mut applied = if has_journal(tx).await? {
        applied_checksums(tx).await?
    } else {
        BTreeMap::new()
    };
    let mut steps: Vec<Step> = MIGRATIONS
        .iter()
        .map(|migration| {
            let checksum = checksum(migration.sql.text(tx.engine()));
            let state = match applied.remove(&migration.version) {
                None => StepState::Missing,
                Some(stored) if stored == checksum => StepState::Applied,
                Some(_) => StepState::Changed,
            };
            Step {
                version: migration.version,
                name: migration.name.to_owned(),
                state,
            }
        })
        .collect();
    let newer = applied.into_keys().filter(|version| *version > 0);
    steps.extend(newer.map(|version| Step {
        version,
        name: format!("{version:04}"),
        state: StepState::Newer,
    }));
    Ok(steps)
}

const HAS_JOURNAL: Statement = Statement::per_engine(
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name = '_migrations'",
    "SELECT CAST(tablename AS TEXT) AS name FROM pg_tables WHERE schemaname = current_schema() AND tablename = '_migrations'",
);

async fn has_journal(tx: &mut Tx) -> Result<bool, StoreError> {
    Ok(tx.fetch_optional(HAS_JOURNAL, ()).await?.is_some())
}

async fn applied_checksums(tx: &mut Tx) -> Result<BTreeMap<i64, String>, StoreError> {
    tx.fetch_all("SELECT version, checksum FROM _migrations", ())
        .await?
        .iter()
        .map(|row| Ok((row.get("version")?, row.get("checksum")?)))
        .collect()
}

fn checksum(sql: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, sql.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_file_is_listed_for_both_engines_and_numbered_without_gaps() {
        for engine in ["sqlite", "postgres"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("migrations")
                .join(engine);
            let mut files: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| {
                    entry
                        .unwrap()
                        .path()
                        .file_stem()
                        .unwrap()
                        .to_string_lossy()
                        .into_owned()
                })
                .collect();
            files.sort();
            let listed: Vec<_> = MIGRATIONS.iter().map(|migration| migration.name).collect();
            assert_eq!(files, listed);
        }
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, i64::try_from(index).unwrap() + 1);
            assert!(
                migration
                    .name
                    .starts_with(&format!("{:04}_", migration.version))
            );
        }
    }
}
