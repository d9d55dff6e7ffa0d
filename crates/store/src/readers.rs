//! Connections to SQLite that read: two that stay, and more while those are not enough.
//!
//! Each takes half a MiB (it knows the schema for itself) and a thread, and a pool alone would keep as many as have ever been asked for at
//! the same moment: the timers of a program that rests fire together, for reads of a tenth of a millisecond each.

use std::time::Duration;

use sqlx::Sqlite;
use sqlx::sqlite::SqliteConnectOptions;

use crate::StoreError;
use crate::metrics::PoolState;
use crate::pool::{Bounds, Lent, Pool, SPARE_AFTER};

/// Connections that stay open.
const KEPT: u32 = 2;
/// How long one of those is waited for before another one is asked for as well. Most reads are through sooner.
const PATIENCE: Duration = Duration::from_millis(5);
/// The others are closed after so long without use.
const SPARE_FOR: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(crate) struct Readers {
    kept: Pool<Sqlite>,
    /// Absent where no more than the kept ones are allowed.
    more: Option<Pool<Sqlite>>,
}

impl Readers {
    /// Makes room for at most `most` connections, at least one. None is opened yet; waiting for one ends after `patience`.
    pub(crate) fn new(
        options: &SqliteConnectOptions,
        most: u32,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let options = options.clone().pragma("query_only", "ON");
        let pool = |most, spare_after| {
            let bounds = Bounds {
                most,
                patience,
                spare_after,
            };
            Pool::new(options.clone(), bounds)
        };
        let kept = most.clamp(1, KEPT);
        let more = (most > kept).then(|| pool(most - kept, SPARE_FOR));
        Ok(Self {
            kept: pool(kept, SPARE_AFTER)?,
            more: more.transpose()?,
        })
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
                more.acquire().await
            } => another,
        }
    }

    /// Tells how many there are.
    pub(crate) fn state(&self) -> PoolState {
        let mut state = self.kept.state("readers");
        if let Some(more) = &self.more {
            let more = more.state("readers");
            state.open += more.open;
            state.idle += more.idle;
            state.most += more.most;
        }
        state
    }

    /// Closes all, waiting for those in use.
    pub(crate) async fn close(&self) {
        self.kept.close().await;
        if let Some(more) = &self.more {
            more.close().await;
        }
    }
}
