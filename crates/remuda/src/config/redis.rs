//! `[redis]`: what several processes share.

use std::time::Duration;

use bus::RedisConfig;
use primitives::Secret;
use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::Period;

/// Redis, for several replicas.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSection {
    /// `redis://…` or `rediss://…`. Unset: each process counts and remembers for itself.
    pub url: Option<Secret<String>>,
    /// What the names of everything kept there begin with; `remuda` unless set.
    pub prefix: String,
    /// The longest that a request waits for Redis; 25 ms unless set.
    pub timeout: Period,
}

impl Default for RedisSection {
    fn default() -> Self {
        Self {
            url: None,
            prefix: "remuda".to_owned(),
            timeout: Period(Duration::from_millis(25)),
        }
    }
}

impl RedisSection {
    /// Returns what the bus needs; `None` where there is no Redis.
    pub(crate) fn bus(&self) -> Option<RedisConfig> {
        Some(RedisConfig {
            url: self.url.clone()?,
            prefix: self.prefix.clone(),
            patience: self.timeout.0,
        })
    }

    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        if let Some(url) = &self.url
            && !url.expose().starts_with("redis://")
            && !url.expose().starts_with("rediss://")
        {
            return Err(at.bad(["redis", "url"], "must start with redis:// or rediss://"));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.chars().all(is_plain) {
            let rule = "must be 1 to 64 letters, digits, - and _";
            return Err(at.bad(["redis", "prefix"], rule));
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(1)).contains(&self.timeout.0) {
            return Err(at.bad(["redis", "timeout"], "must be 1ms to 1s"));
        }
        Ok(())
    }
}
