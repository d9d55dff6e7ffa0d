//! The database as it is: its health, what is slow, its tables, what is in it, and removing what has expired.

use std::time::Duration;

use ::store::{Engine, StoreError};
use identity::journal::{self, Action, Actor, Change};
use primitives::Timestamp;
use serde_json::json;

use crate::store;
use crate::surface::System;

/// How long statistics count: many dashboards must not become many counts.
const FRESH: Duration = Duration::from_secs(15);
/// The time that statistics of requests go back.
const WINDOW: Duration = Duration::from_hours(24);

/// How the database is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Health {
    pub(crate) server_version: String,
    pub(crate) size_bytes: u64,
    pub(crate) connections: u64,
    pub(crate) active: u64,
    pub(crate) blocked: u64,
    pub(crate) oldest_transaction_s: u64,
    pub(crate) cache_hit_ratio: Option<f64>,
    pub(crate) index_use_ratio: Option<f64>,
}

/// A kind of statement that takes long.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SlowQuery {
    pub(crate) query: String,
    pub(crate) calls: u64,
    pub(crate) mean_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) total_ms: f64,
    pub(crate) rows: u64,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TableSize {
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) size_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) dead_rows: Option<u64>,
    pub(crate) sequential_scans: Option<u64>,
    pub(crate) index_scans: Option<u64>,
}

/// What is in the database.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statistics {
    pub(crate) counted_at: Timestamp,
    pub(crate) organisations: u64,
    pub(crate) users: u64,
    pub(crate) users_disabled: u64,
    pub(crate) sessions: u64,
    pub(crate) keys: u64,
    pub(crate) nodes: u64,
    pub(crate) requests: Vec<(String, u64)>,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) changes: u64,
}

/// What was removed, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cleaned {
    pub(crate) sessions: u64,
    pub(crate) password_resets: u64,
    pub(crate) invitations: u64,
    pub(crate) idempotency_keys: u64,
}

impl Cleaned {
    fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl System {
    /// Returns the engine.
    pub(crate) fn engine(&self) -> Engine {
        self.inner.db.engine()
    }

    /// Looks how the database is.
    pub(crate) async fn database_health(&self) -> Result<Health, StoreError> {
        let mut tx = self.inner.db.read().await?;
        let health = store::health(&mut tx).await?;
        tx.commit().await?;
        Ok(health)
    }

    /// Lists what takes longest, the slowest first; `None` where the database does not keep count.
    pub(crate) async fn slow_queries(&self) -> Result<Option<Vec<SlowQuery>>, StoreError> {
        let mut tx = self.inner.db.read().await?;
        let found = if store::counts_statements(&mut tx).await? {
            Some(store::slow_queries(&mut tx).await?)
        } else {
            None
        };
        tx.commit().await?;
        Ok(found)
    }

    /// Lists the tables by size.
    pub(crate) async fn tables(&self) -> Result<Vec<TableSize>, StoreError> {
        let mut tx = self.inner.db.read().await?;
        let tables = store::tables(&mut tx).await?;
        tx.commit().await?;
        Ok(tables)
    }

    /// Counts what is in the database, at most every 15 s.
    pub(crate) async fn statistics(&self) -> Result<Statistics, StoreError> {
        let mut last = self.inner.statistics.lock().await;
        let now = self.inner.clock.monotonic();
        if let Some((at, statistics)) = &*last
            && now.since(*at) < FRESH
        {
            return Ok(statistics.clone());
        }
        let civil = self.inner.clock.now();
        let mut tx = self.inner.db.read().await?;
        let statistics = store::statistics(&mut tx, civil, civil.before(WINDOW)).await?;
        tx.commit().await?;
        *last = Some((now, statistics.clone()));
        Ok(statistics)
    }

    /// Removes what has expired: sessions, ways back and in, remembered requests. Has the database renew what it plans by.
    pub(crate) async fn clean(&self, by: &Actor) -> Result<Cleaned, StoreError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        let cleaned = store::clean(&mut tx, now).await?;
        if !cleaned.is_nothing() {
            let change = Change {
                action: Action::DatabaseClean,
                org: None,
                subject: ("database", None),
                old: None,
                new: Some(json!({
                    "sessions": cleaned.sessions,
                    "password_resets": cleaned.password_resets,
                    "invitations": cleaned.invitations,
                    "idempotency_keys": cleaned.idempotency_keys,
                })),
            };
            journal::record(&mut tx, now, by, change).await?;
        }
        tx.commit().await?;
        let mut tx = self.inner.db.write().await?;
        store::analyse(&mut tx).await?;
        tx.commit().await?;
        Ok(cleaned)
    }
}
