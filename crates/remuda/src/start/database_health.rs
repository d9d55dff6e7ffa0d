//! Whether the database answers, and whether it takes changes: a full disk still lets everything be read.

use std::sync::Arc;
use std::time::Duration;

use primitives::{Classify as _, Clock, MonotonicTime};
use store::{Db, Durability, Engine, StoreError};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long the database may take to answer, and then to take a change.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long an answer of the database counts: many probes must not become many queries.
const FRESH: Duration = Duration::from_secs(1);

/// A change that leaves nothing behind. Only one that is committed shows whether there is room, and it has to be a true
/// one: an update to the same value writes nothing.
const CHANGE: [&str; 2] = [
    "INSERT INTO _migrations (version, name, checksum) VALUES (-1, 'health', '')",
    "DELETE FROM _migrations WHERE version = -1",
];

/// How the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DatabaseHealth {
    /// It answers and takes changes.
    Well,
    /// It answers, but a change takes long.
    Slow,
    /// It answers, but takes no changes, for a reason that people may read.
    Unwritable(String),
    /// It does not answer.
    Silent,
}

impl DatabaseHealth {
    /// Says it in words, with what to do.
    pub(super) fn describe(&self, engine: Engine) -> String {
        const MEANWHILE: &str = "inference goes on, records wait in memory";
        let name = engine.as_str();
        match self {
            Self::Well => format!("{name} answers"),
            Self::Slow => format!("{name} answers, but takes more than {PATIENCE:?} for a change"),
            Self::Unwritable(reason) => {
                format!("{name} can be read but not written; {MEANWHILE}: {reason}")
            }
            Self::Silent => format!("{name} does not answer; {MEANWHILE}: start it again"),
        }
    }
}

/// Asks the database how it is, at most once a second.
#[derive(Clone)]
pub(super) struct DatabaseProbe {
    db: Db,
    clock: Arc<dyn Clock>,
    last: Arc<Mutex<Option<(MonotonicTime, DatabaseHealth)>>>,
}

impl DatabaseProbe {
    pub(super) fn new(db: Db, clock: Arc<dyn Clock>) -> Self {
        Self {
            db,
            clock,
            last: Arc::default(),
        }
    }

    /// Returns the engine.
    pub(super) fn engine(&self) -> Engine {
        self.db.engine()
    }

    /// Returns how the database is now, or was within the last second.
    pub(super) async fn look(&self) -> DatabaseHealth {
        let mut last = self.last.lock().await;
        match *last {
            Some((at, ref health)) if self.clock.monotonic().since(at) < FRESH => health.clone(),
            _ => {
                let health = self.ask().await;
                *last = Some((self.clock.monotonic(), health.clone()));
                health
            }
        }
    }

    async fn ask(&self) -> DatabaseHealth {
        match timeout(PATIENCE, self.db.ping()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return DatabaseHealth::Silent,
        }
        match timeout(PATIENCE, self.change()).await {
            Ok(Ok(())) => DatabaseHealth::Well,
            Ok(Err(error)) => DatabaseHealth::Unwritable(error.public_message()),
            Err(_) => DatabaseHealth::Slow,
        }
    }

    async fn change(&self) -> Result<(), StoreError> {
        let mut tx = self.db.write_with(Durability::Relaxed).await?;
        for statement in CHANGE {
            tx.execute(statement, ()).await?;
        }
        tx.commit().await
    }
}
