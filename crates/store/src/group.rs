//! One commit for several writers. Each has a savepoint, and so its own outcome; the disk is waited for once, for all of them.
//!
//! This is the group commit of databases (`DeWitt` et al., "Implementation Techniques for Main Memory Database Systems", 1984), done by
//! hand where there is one writer at a time: SQLite, and changes that take turns on PostgreSQL. Turns go in the order in which they
//! were asked for. Who finishes while others wait leaves the transaction open to them; the one that closes it asks for its turn when
//! the first of them is through, so that a group is whoever waited then. Nobody is told of a success before the commit.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::SqlSafeStr as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::StoreError;
use crate::tx::{Connection, run_script};

/// How a shared transaction ended; nothing while it is open. When nobody is left who could end it, it was undone.
type Outcome = Option<Result<(), Arc<StoreError>>>;

/// Those who write one after the other.
#[derive(Debug)]
pub(crate) struct Group {
    turn: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// What was left open to the next one. Only who has the turn looks here.
    open: Mutex<Option<Shared>>,
}

/// A transaction that several share.
#[derive(Debug)]
struct Shared {
    connection: Connection,
    unwanted: Arc<AtomicBool>,
    /// How many have written in it.
    parts: u32,
    outcome: watch::Sender<Outcome>,
}

/// The right to write, until dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    group: Arc<Group>,
    /// Whom others wait with for the end of the transaction, once it is shared.
    outcome: Option<watch::Sender<Outcome>>,
    /// How many have written in the same transaction before.
    part: u32,
    _permit: OwnedSemaphorePermit,
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Group {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            turn: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
            open: Mutex::new(None),
        })
    }

    /// Waits for the turn, and returns it with what the one before left open.
    pub(crate) async fn turn(
        self: &Arc<Self>,
        patience: Duration,
    ) -> Result<(Turn, Option<(Connection, Arc<AtomicBool>)>), StoreError> {
        let permit = {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let _waiting = Waiting(&self.waiting);
            timeout(patience, Arc::clone(&self.turn).acquire_owned())
                .await
                .map_err(|_| StoreError::Unavailable("no turn to write came in time".into()))?
                .map_err(|_| StoreError::Unavailable("the database is closed".into()))?
        };
        let mut turn = Turn {
            group: Arc::clone(self),
            outcome: None,
            part: 0,
            _permit: permit,
        };
        let open = self.take_open().map(|shared| {
            turn.outcome = Some(shared.outcome);
            turn.part = shared.parts;
            (shared.connection, shared.unwanted)
        });
        Ok((turn, open))
    }

    /// Returns how many wait for their turn.
    #[cfg(feature = "testing")]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    fn take_open(&self) -> Option<Shared> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.take()
    }

    /// Ends what is left open when those who wait now are through.
    async fn close(self: Arc<Self>, limit: Duration) {
        let Ok(_permit) = Arc::clone(&self.turn).acquire_owned().await else {
            return;
        };
        if let Some(mut shared) = self.take_open() {
            let result = run_script(&mut shared.connection, limit, "COMMIT".into_sql_str()).await;
            // Before the next one comes, who needs it.
            match &result {
                Ok(()) => shared.connection.put_back(),
                Err(_) => shared.connection.discard(),
            }
            shared.outcome.send_replace(Some(result.map_err(Arc::new)));
        }
    }
}

impl Turn {
    /// Tells whether others have written in the same transaction, who wait for its end.
    pub(crate) fn is_shared(&self) -> bool {
        self.outcome.is_some()
    }

    /// Returns the number of this writer's part: no other one of the transaction has it.
    pub(crate) fn part(&self) -> u32 {
        self.part
    }

    /// Tells whether somebody waits to write.
    pub(crate) fn others_wait(&self) -> bool {
        self.group.waiting.load(Ordering::SeqCst) > 0
    }

    /// Leaves the transaction open to the next one, who has the turn when this returns. The outcome comes with the commit.
    pub(crate) fn leave_open(
        self,
        connection: Connection,
        unwanted: Arc<AtomicBool>,
        limit: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let first = self.outcome.is_none();
        let outcome = self.outcome.unwrap_or_else(|| watch::channel(None).0);
        let mut told = outcome.subscribe();
        let shared = Shared {
            connection,
            unwanted,
            parts: self.part + 1,
            outcome,
        };
        *self
            .group
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(shared);
        if first {
            tokio::spawn(Arc::clone(&self.group).close(limit));
        }
        async move {
            let undone = || StoreError::Unavailable("the shared transaction was undone".into());
            let ended = told.wait_for(Option::is_some).await.map_err(|_| undone())?;
            match ended.as_ref() {
                Some(Ok(())) => Ok(()),
                Some(Err(error)) => Err(StoreError::shared(error)),
                None => Err(undone()),
            }
        }
    }
}
