//! Opening the database and bringing its schema up to date.

use std::path::Path;

use primitives::{Classify as _, Secret};
use store::{Db, MigrateError, Sealer, StoreConfig, StoreError};
use url::Url;

use super::error::{StartError, causes, one_line};
use crate::config::StoreSection;

/// The SQLite file in the data directory.
const FILE: &str = "remuda.db";
/// The file with the key that seals stored credentials.
pub(super) const KEY_FILE: &str = "sealing.key";

/// Opens the configured database and migrates it.
pub(crate) async fn open(section: &StoreSection, data_dir: &Path) -> Result<Db, StartError> {
    let database = describe(section, data_dir);
    let db = Db::open(&store_config(section, data_dir))
        .await
        .map_err(|error| refused(&database, &error))?;
    match db.migrate().await {
        Ok(applied) => {
            tracing::debug!(version = applied.version, steps = ?applied.steps, "the schema is up to date");
            Ok(db)
        }
        Err(MigrateError::Store(error)) => Err(refused(&database, &error)),
        Err(error) => Err(StartError::Database {
            database,
            reason: one_line(&error.public_message()),
        }),
    }
}

/// Opens the key that seals stored credentials: the configured one, or the one in the data directory.
pub(super) fn sealer(section: &StoreSection, data_dir: &Path) -> Result<Sealer, StartError> {
    match &section.encryption_key {
        Some(key) => Sealer::from_configured(key, &section.previous_encryption_keys),
        None => Sealer::open_or_create(&data_dir.join(KEY_FILE)),
    }
    .map_err(|error| StartError::part("encryption of stored credentials", &error))
}

/// Turns the section into what the store wants.
pub(crate) fn store_config(section: &StoreSection, data_dir: &Path) -> StoreConfig {
    StoreConfig {
        url: section
            .url
            .clone()
            .unwrap_or_else(|| Secret::new(format!("sqlite:{}", data_dir.join(FILE).display()))),
        direct_url: section.direct_url.clone(),
        max_connections: section.max_connections,
    }
}

/// Names the database without user and password.
pub(crate) fn describe(section: &StoreSection, data_dir: &Path) -> String {
    let Some(url) = &section.url else {
        return format!("SQLite, {}", data_dir.join(FILE).display());
    };
    match url.expose().strip_prefix("sqlite:") {
        Some(path) => format!("SQLite, {path}"),
        None => match Url::parse(url.expose()) {
            Ok(url) => format!(
                "PostgreSQL, {}{}{}",
                url.host_str().unwrap_or("local socket"),
                url.port().map_or(String::new(), |port| format!(":{port}")),
                url.path()
            ),
            Err(_) => "PostgreSQL".to_owned(),
        },
    }
}

/// Names what is wrong with a database, and what to do.
pub(crate) fn refused(database: &str, error: &StoreError) -> StartError {
    let reason = match error {
        StoreError::Unavailable(cause) => format!(
            "it cannot be reached ({}); start it, or correct [store] url",
            causes(cause.as_ref())
        ),
        StoreError::Backend(cause) => format!(
            "it refused to work ({}); is it a database of Remuda? correct [store] url, or restore a backup",
            causes(cause.as_ref())
        ),
        other => other.public_message(),
    };
    StartError::Database {
        database: database.to_owned(),
        reason: one_line(&reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_without_its_password() {
        let section = StoreSection {
            url: Some(Secret::new(
                "postgres://u:hunter2@db:6432/remuda".to_owned(),
            )),
            ..StoreSection::default()
        };
        assert_eq!(
            describe(&section, Path::new("/d")),
            "PostgreSQL, db:6432/remuda"
        );
        assert_eq!(
            describe(&StoreSection::default(), Path::new("/d")),
            "SQLite, /d/remuda.db"
        );
    }
}
