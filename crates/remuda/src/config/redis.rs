//! `[redis]`: accepted and checked, so that one file serves every version; this version does not connect to it.

use primitives::Secret;
use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;

/// Redis, for several replicas.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSection {
    /// `redis://…` or `rediss://…`. Unset: one process keeps everything itself.
    pub url: Option<Secret<String>>,
}

impl RedisSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        match &self.url {
            Some(url)
                if !url.expose().starts_with("redis://")
                    && !url.expose().starts_with("rediss://") =>
            {
                Err(at.bad(["redis", "url"], "must start with redis:// or rediss://"))
            }
            _ => Ok(()),
        }
    }
}
