//! Pools of connections, the one that was used last first.
//!
//! The driver's own pool asks each connection that comes back for an answer, which is one more round trip for every transaction, and
//! lends the one that has rested longest: all of them are in use then, and behind each a process of PostgreSQL whose caches know little
//! of what the others do. Here a connection that is known to be in order goes from one transaction to the next as it is, and any other
//! one is closed.

use std::fmt;
use std::io::ErrorKind;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use deadpool::managed::{
    Manager, Metrics, Object, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult,
};
use sqlx::{ConnectOptions as _, Connection as _, Database};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::metrics::PoolState;
use crate::{Durability, StoreError};

/// A connection that is older is replaced: the process of PostgreSQL behind it has kept what it once needed.
const OLDEST: Duration = Duration::from_mins(30);
/// One that nobody has needed for so long is closed, where nothing else is said.
pub(crate) const SPARE_AFTER: Duration = Duration::from_mins(10);
/// The longest wait for the end of a connection that is closed. The last one to SQLite folds the log into the file meanwhile.
const CLOSING: Duration = Duration::from_mins(1);
/// The first pause before a database that is starting is asked again. Each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

const LENT: &str = "a connection on loan is not being closed";

type Options<D> = <<D as Database>::Connection as sqlx::Connection>::Options;

/// A pool. Clones share the connections.
pub(crate) struct Pool<D: Database>(Arc<Inner<D>>);

struct Inner<D: Database> {
    connections: deadpool::managed::Pool<Opener<D>>,
    bounds: Bounds,
    lent: AtomicUsize,
    /// Those that are lent, and those that are being closed.
    out: TaskTracker,
    _care: AbortOnDropHandle<()>,
}

/// What a pool holds to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The most connections, at least one.
    pub(crate) most: u32,
    /// The longest wait for one.
    pub(crate) patience: Duration,
    /// One that nobody has needed for so long is closed.
    pub(crate) spare_after: Duration,
}

struct Opener<D: Database> {
    options: Options<D>,
    out: TaskTracker,
}

/// A connection. Dropped, it is closed beside whatever goes on.
struct Held<D: Database> {
    /// Nothing once it is being closed.
    connection: Option<D::Connection>,
    out: TaskTracker,
    /// Whether the next one may have it.
    in_order: bool,
    /// What its `synchronous` setting is on SQLite, where that is known.
    durability: Option<Durability>,
}

/// A connection on loan. Nobody gets it after this one but by [`Lent::put_back`].
pub(crate) struct Lent<D: Database> {
    object: Object<Opener<D>>,
    _loan: Loan<D>,
}

/// Counts one that is lent.
struct Loan<D: Database> {
    pool: Arc<Inner<D>>,
    _out: TaskTrackerToken,
}

impl<D: Database> Drop for Loan<D> {
    fn drop(&mut self) {
        self.pool.lent.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<D: Database> Manager for Opener<D> {
    type Type = Held<D>;
    type Error = sqlx::Error;

    /// Connects, as soon as there is somebody to connect to.
    async fn create(&self) -> Result<Held<D>, sqlx::Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            // Large, and of no use to the many who get one that is open.
            match Box::pin(self.options.connect()).await {
                Ok(connection) => {
                    return Ok(Held {
                        connection: Some(connection),
                        out: self.out.clone(),
                        in_order: false,
                        durability: Some(Durability::Full),
                    });
                }
                Err(error) if is_starting(&error) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn recycle(&self, held: &mut Held<D>, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        let in_order = mem::take(&mut held.in_order);
        if !in_order || metrics.age() > OLDEST {
            return Err(RecycleError::message("it is to be replaced"));
        }
        Ok(())
    }
}

/// Tells whether a database that is not there yet, or has no place for the moment, may answer soon.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        // too_many_connections, cannot_connect_now (PostgreSQL, appendix A).
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some("53300" | "57P03"))
        }
        _ => false,
    }
}

impl<D: Database> Pool<D> {
    /// Makes a pool. No connection is opened yet. Must be called within a runtime.
    pub(crate) fn new(options: Options<D>, bounds: Bounds) -> Result<Self, StoreError> {
        let config = PoolConfig {
            max_size: usize::try_from(bounds.most.max(1)).unwrap_or(usize::MAX),
            queue_mode: QueueMode::Lifo,
            ..PoolConfig::default()
        };
        let out = TaskTracker::new();
        let opener = Opener {
            options,
            out: out.clone(),
        };
        let connections = deadpool::managed::Pool::builder(opener)
            .config(config)
            .build()
            .map_err(|error| StoreError::Backend(error.into()))?;
        Ok(Self(Arc::new_cyclic(|pool| Inner {
            connections,
            bounds,
            lent: AtomicUsize::new(0),
            out,
            _care: AbortOnDropHandle::new(tokio::spawn(care(
                Weak::clone(pool),
                bounds.spare_after,
            ))),
        })))
    }

    /// Waits for a connection, in the order of those who ask.
    pub(crate) async fn acquire(&self) -> Result<Lent<D>, sqlx::Error> {
        let out = self.0.out.token();
        let object = timeout(self.0.bounds.patience, self.0.connections.get())
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
            .map_err(|error| match error {
                PoolError::Backend(error) => error,
                PoolError::Closed => sqlx::Error::PoolClosed,
                PoolError::Timeout(_)
                | PoolError::NoRuntimeSpecified
                | PoolError::PostCreateHook(_) => sqlx::Error::PoolTimedOut,
            })?;
        self.0.lent.fetch_add(1, Ordering::Relaxed);
        let loan = Loan {
            pool: Arc::clone(&self.0),
            _out: out,
        };
        Ok(Lent {
            object,
            _loan: loan,
        })
    }

    /// Closes the connections that rest. Those who come next get new ones.
    pub(crate) fn renew(&self) {
        drop(self.0.connections.retain(|_, _| false));
    }

    /// Closes all connections, waiting for those in use. Further ones are refused.
    pub(crate) async fn close(&self) {
        drop(self.0.connections.retain(|_, _| false));
        self.0.connections.close();
        self.0.out.close();
        self.0.out.wait().await;
    }

    /// Tells how many connections there are.
    pub(crate) fn state(&self, name: &'static str) -> PoolState {
        let open = self.0.connections.status().size;
        let lent = self.0.lent.load(Ordering::Relaxed);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        PoolState {
            pool: name,
            open: count(open),
            idle: count(open.saturating_sub(lent)),
            most: self.0.bounds.most.max(1),
        }
    }
}

/// Closes what nobody has needed for `spare_after`, and what is not in order, as long as there is the pool.
async fn care<D: Database>(pool: Weak<Inner<D>>, spare_after: Duration) {
    let every = spare_after / 2;
    let mut looks = tokio::time::interval_at(Instant::now() + every, every);
    loop {
        looks.tick().await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let needed =
            |held: &Held<D>, metrics: Metrics| held.in_order && metrics.last_used() < spare_after;
        drop(pool.connections.retain(needed));
    }
}

impl<D: Database> Drop for Held<D> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        // Without a runtime nobody could say goodbye: the other side sees that the connection has ended.
        if let Ok(runtime) = Handle::try_current() {
            let closed = timeout(CLOSING, connection.close());
            self.out.spawn_on(closed, &runtime);
        }
    }
}

impl<D: Database> Lent<D> {
    /// Tells whether others have had it before.
    pub(crate) fn was_lent_before(&self) -> bool {
        Object::metrics(&self.object).recycle_count > 0
    }

    /// Gives it to whoever comes next. No transaction may be open in it, and its last statement must have come to its end.
    pub(crate) fn put_back(mut self) {
        self.object.in_order = true;
    }

    /// Closes it; the database undoes what was open.
    pub(crate) fn discard(self) {
        drop(Object::take(self.object));
    }

    /// Returns what its `synchronous` setting is on SQLite, where that is known, for whoever changes it.
    pub(crate) fn durability(&mut self) -> &mut Option<Durability> {
        &mut self.object.durability
    }
}

#[expect(clippy::expect_used, reason = "only the end of `Held` takes it out")]
impl<D: Database> Deref for Lent<D> {
    type Target = D::Connection;

    fn deref(&self) -> &Self::Target {
        self.object.connection.as_ref().expect(LENT)
    }
}

#[expect(clippy::expect_used, reason = "only the end of `Held` takes it out")]
impl<D: Database> DerefMut for Lent<D> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.object.connection.as_mut().expect(LENT)
    }
}

impl<D: Database> Clone for Pool<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Database> fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl<D: Database> fmt::Debug for Lent<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").finish_non_exhaustive()
    }
}
