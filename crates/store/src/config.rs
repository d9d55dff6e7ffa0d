//! Which database, and how it is reached.

use std::path::PathBuf;
use std::str::FromStr as _;

use primitives::Secret;
use sqlx::postgres::PgConnectOptions;

use crate::StoreError;

/// Where the data is kept.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `sqlite:PATH`, or a `postgres://` address; it may name a PgBouncer in transaction mode.
    pub url: Secret<String>,
    /// An address of the same PostgreSQL that does not go through a pooler. Used for migrations; `url` when absent.
    pub direct_url: Option<Secret<String>>,
    /// The most connections of this process: of the whole pool on PostgreSQL, of the readers on SQLite. At least one.
    pub max_connections: u32,
}

impl StoreConfig {
    /// Makes the configuration for `url` with 8 connections and no direct address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url.into()),
            direct_url: None,
            max_connections: 8,
        }
    }
}

/// The database engines that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// An SQLite file of this process.
    Sqlite,
    /// A PostgreSQL server, version 15 or later.
    Postgres,
}

impl Engine {
    /// Names the engine in messages and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A checked address.
pub(crate) enum Address {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

impl Address {
    pub(crate) fn parse(url: &Secret<String>) -> Result<Self, StoreError> {
        let text = url.expose();
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(":memory:") {
                return Err(StoreError::Config {
                    reason: "the SQLite address names no file: write sqlite:PATH".to_owned(),
                });
            }
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            // The driver's own message may quote parts of the address, and with it the password.
            let options = PgConnectOptions::from_str(text).map_err(|_| StoreError::Config {
                reason: "the PostgreSQL address is not valid: write postgres://USER:PASSWORD@HOST:PORT/DATABASE"
                    .to_owned(),
            })?;
            return Ok(Self::Postgres(Box::new(pooler_safe(options))));
        }
        Err(StoreError::Config {
            reason: "the database address must begin with sqlite: or postgres://".to_owned(),
        })
    }
}

/// Leaves out everything that a pooler in transaction mode refuses or loses: prepared statements and unusual start-up parameters. Where
/// no pooler answers, statements are kept after all.
fn pooler_safe(options: PgConnectOptions) -> PgConnectOptions {
    options
        .statement_cache_capacity(0)
        .extra_float_digits(None)
        .application_name("remuda")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        match Address::parse(&Secret::new(url.to_owned())) {
            Err(StoreError::Config { reason }) => reason,
            _ => panic!("{url} was accepted"),
        }
    }

    #[test]
    fn sqlite_paths_are_taken_literally() {
        for (url, path) in [
            ("sqlite:/a b/x.db", "/a b/x.db"),
            ("sqlite:///var/x.db", "/var/x.db"),
            ("sqlite:data/x.db", "data/x.db"),
        ] {
            let Ok(Address::Sqlite(found)) = Address::parse(&Secret::new(url.to_owned())) else {
                panic!("{url} was refused");
            };
            assert_eq!(found, PathBuf::from(path));
        }
    }

    #[test]
    fn bad_addresses_are_refused_without_showing_them() {
        assert!(refusal("mysql://root:hunter2@x/y").contains("sqlite: or postgres://"));
        assert!(refusal("sqlite::memory:").contains("no file"));
        assert!(!refusal("postgres://u:hunter2@h:notaport/d").contains("hunter2"));
    }
}
