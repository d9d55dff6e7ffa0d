//! `[store]`: the database.

use primitives::Secret;
use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// `postgres://…` or `sqlite:PATH`. Unset: SQLite in the data directory.
    pub url: Option<Secret<String>>,
    /// PostgreSQL without the pooler in between, for what a pooler in transaction mode cannot do (LISTEN, advisory locks).
    pub direct_url: Option<Secret<String>>,
    /// The most connections that this process opens; 16 unless set.
    pub max_connections: u32,
    /// The key that seals stored credentials: 32 bytes in base64. Unset: a key file in the data directory, made at the first start.
    pub encryption_key: Option<Secret<String>>,
    /// Keys that sealed what is stored before `encryption_key` did: they open it until `remuda secrets rotate` has sealed it anew.
    pub previous_encryption_keys: Vec<Secret<String>>,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            url: None,
            direct_url: None,
            max_connections: 16,
            encryption_key: None,
            previous_encryption_keys: Vec::new(),
        }
    }
}

impl StoreSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        if let Some(url) = &self.url
            && !is_database_url(url.expose())
        {
            return Err(at.bad(
                ["store", "url"],
                "must start with postgres:// or sqlite: (as in sqlite:/var/lib/remuda/remuda.db)",
            ));
        }
        if let Some(url) = &self.direct_url
            && !is_postgres_url(url.expose())
        {
            return Err(at.bad(["store", "direct_url"], "must start with postgres://"));
        }
        if !self.previous_encryption_keys.is_empty() && self.encryption_key.is_none() {
            return Err(at.bad(
                ["store", "previous_encryption_keys"],
                "go with encryption_key: without it, the key file in the data directory holds the earlier keys, too",
            ));
        }
        if self.max_connections == 0 || self.max_connections > 1000 {
            return Err(at.bad(["store", "max_connections"], "must be 1 to 1000"));
        }
        Ok(())
    }
}

fn is_postgres_url(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

fn is_database_url(url: &str) -> bool {
    is_postgres_url(url) || url.starts_with("sqlite:")
}
