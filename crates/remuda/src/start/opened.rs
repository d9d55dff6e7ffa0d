//! The configured database for commands that need no server.

use std::path::{Path, PathBuf};

use primitives::Classify as _;
use store::{Applied, Db, MigrateError, Sealer, Step};

use super::database::{KEY_FILE, describe, refused, store_config};
use super::error::{StartError, one_line};
use crate::config::{Config, ConfigError, Environment, Overrides};

/// An open database and the configuration that names it.
pub(crate) struct Opened {
    pub(crate) db: Db,
    config: Config,
    name: String,
}

impl Opened {
    /// Reads the configuration as `remuda up` does.
    pub(crate) fn config(
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Config, ConfigError> {
        Ok(Config::load(environment, overrides)?.config)
    }

    /// Returns the data directory.
    pub(crate) fn data_dir(config: &Config) -> Result<PathBuf, ConfigError> {
        config.server.data_dir.clone().ok_or(ConfigError::NoHome)
    }

    /// Opens the configured database, which must be there. A server may run on it.
    pub(crate) async fn existing(config: Config) -> Result<Self, StartError> {
        let data_dir = Self::data_dir(&config)?;
        let url = store_config(&config.store, &data_dir).url;
        if let Some(path) = url.expose().strip_prefix("sqlite:")
            && !Path::new(path).exists()
        {
            return Err(StartError::Database {
                database: describe(&config.store, &data_dir),
                reason:
                    "there is none: start `remuda up` once, or name another with --data or --config"
                        .to_owned(),
            });
        }
        Self::open(config, &data_dir).await
    }

    /// Opens the configured database; an absent SQLite file is made.
    pub(crate) async fn open(config: Config, data_dir: &Path) -> Result<Self, StartError> {
        let name = describe(&config.store, data_dir);
        let db = Db::open(&store_config(&config.store, data_dir))
            .await
            .map_err(|error| refused(&name, &error))?;
        Ok(Self { db, config, name })
    }

    /// Compares the schema with this build's.
    pub(crate) async fn steps(&self) -> Result<Vec<Step>, StartError> {
        let steps = self.db.migration_steps().await;
        steps.map_err(|error| refused(&self.name, &error))
    }

    /// Brings the schema up to this build's.
    pub(crate) async fn migrate(&self) -> Result<Applied, StartError> {
        self.db.migrate().await.map_err(|error| match error {
            MigrateError::Store(error) => refused(&self.name, &error),
            error => StartError::Database {
                database: self.name.clone(),
                reason: one_line(&error.public_message()),
            },
        })
    }

    /// Opens the key that seals, which must be there.
    pub(crate) fn sealer(&self) -> Result<Sealer, StartError> {
        Self::existing_sealer(&self.config)
    }

    /// Opens the key that the configuration gives, or the one in the data directory, which must be there.
    pub(crate) fn existing_sealer(config: &Config) -> Result<Sealer, StartError> {
        match &config.store.encryption_key {
            Some(key) => Sealer::from_configured(key, &config.store.previous_encryption_keys),
            None => Sealer::open_file(&Self::data_dir(config)?.join(KEY_FILE)),
        }
        .map_err(|error| StartError::part("the key that seals backups", &error))
    }
}
