//! Where Redis is and how long it may take.

use std::time::Duration;

use primitives::Secret;

/// Where Redis is and how long it may take.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `redis://[[user]:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub url: Secret<String>,
    /// What the names of everything kept there begin with: installations that share a Redis have different ones.
    pub prefix: String,
    /// The longest that a request waits for Redis before it goes on without, 1 ms to 1 s.
    pub patience: Duration,
}

/// The URL cannot be used. Says why, never what it is: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("cannot be used: {0}; write redis://user:password@host:6379/0")]
pub struct BadRedisUrl(pub(crate) String);
