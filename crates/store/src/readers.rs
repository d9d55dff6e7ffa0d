//! Connections to SQLite that read: two that stay, and more while those are not enough.
//!
//! Each takes half a MiB (it knows the schema for itself) and a thread, and a pool alone would keep as many as have ever been asked for at
//! the same moment: the timers of a program that rests fire together, for reads of a tenth of a millisecond each.

use std::time::Duration;

use sqlx::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use crate::metrics::PoolState;
use crate::shelf::{Lent, Shelf};

/// Connections that stay open.
const KEPT: u32 = 2;
/// How long one of those is waited for before another one is asked for as well. Most reads are through sooner.
const PATIENCE: Duration = Duration::from_millis(5);
/// The others are closed after so long without use.
const SPARE_FOR: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(crate) struct Readers {
    kept: Shelf<Sqlite>,
    /// Absent where no more than the kept ones are allowed.
    more: Option<SqlitePool>,
}

impl Readers {
    /// Makes room for at most `most` connections, at least one. None is opened yet; waiting for one ends after `acquire_timeout`.
    pub(crate) fn new(
        options: &SqliteConnectOptions,
        most: u32,
        acquire_timeout: Duration,
    ) -> Self {
        let options = options.clone().pragma("query_only", "ON");
        let pool = |most: u32| {
            SqlitePoolOptions::new()
                .max_connections(most)
                .acquire_timeout(acquire_timeout)
                .test_before_acquire(false)
        };
        let kept = most.clamp(1, KEPT);
        let more = (most > kept).then(|| {
            pool(most - kept)
                .idle_timeout(SPARE_FOR)
                .connect_lazy_with(options.clone())
        });
        Self {
            kept: Shelf::new(pool(kept).connect_lazy_with(options)),
            more,
        }
    }

    /// Waits for a connection.
    pub(crate) async fn acquire(&self) -> Result<Lent<Sqlite>, sqlx::Error> {
        let Some(more) = &self.more else {
            return self.kept.acquire().await;
        };
        tokio::select! {
            biased;
            kept = self.kept.acquire() => kept,
            another = async {
                tokio::time::sleep(PATIENCE).await;
                more.acquire().await.map(Lent::of_pool)
            } => another,
        }
    }

    /// Tells how many there are.
    pub(crate) fn state(&self) -> PoolState {
        let both = || std::iter::once(self.kept.pool()).chain(&self.more);
        let idle = self.kept.idle() + self.more.as_ref().map_or(0, SqlitePool::num_idle);
        PoolState {
            pool: "readers",
            open: both().map(SqlitePool::size).sum(),
            idle: u32::try_from(idle).unwrap_or(u32::MAX),
            most: both()
                .map(|pool| pool.options().get_max_connections())
                .sum(),
        }
    }

    /// Closes all, waiting for those in use.
    pub(crate) async fn close(&self) {
        self.kept.close().await;
        if let Some(more) = &self.more {
            more.close().await;
        }
    }
}
