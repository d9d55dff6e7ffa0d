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
use std::sync::{Arc, Weak};
use std::time::Duration;

use deadpool::managed::{
    Manager, Metrics, Object, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult,
};
use sqlx::{ConnectOptions as _, Connection as _, Database};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::metrics::PoolState;
use crate::{Durability, StoreError};

/// A connection that is older is replaced: the process of PostgreSQL behind it has kept what it once needed.
const OLDEST: Duration = Duration::from_mins(30);
/// One that nobody has needed for so long is closed, where nothing else is said.
pub(crate) const SPARE_AFTER: Duration = Duration::from_mins(10);
/// The longest wait for the end of a connection that is closed.
const CLOSING: Duration = Duration::from_secs(5);
/// The first pause before a database that is starting is asked again. Each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

type Options<D> = <<D as Database>::Connection as sqlx::Connection>::Options;

/// A pool. Clones share the connections.
pub(crate) struct Pool<D: Database>(Arc<Inner<D>>);

struct Inner<D: Database> {
    connections: deadpool::managed::Pool<Opener<D>>,
    bounds: Bounds,
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
}

/// A connection.
pub(crate) struct Held<D: Database> {
    connection: D::Connection,
    /// Whether the next one may have it.
    in_order: bool,
    /// What its `synchronous` setting is on SQLite, where that is known.
    durability: Option<Durability>,
}

/// A connection on loan. Nobody gets it after this one but by [`Lent::put_back`].
pub(crate) struct Lent<D: Database> {
    object: Object<Opener<D>>,
    pool: Arc<Inner<D>>,
    _out: TaskTrackerToken,
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
                        connection,
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
        let connections = deadpool::managed::Pool::builder(Opener { options })
            .config(config)
            .build()
            .map_err(|error| StoreError::Backend(error.into()))?;
        Ok(Self(Arc::new_cyclic(|pool| Inner {
            connections,
            bounds,
            out: TaskTracker::new(),
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
        Ok(Lent {
            object,
            pool: Arc::clone(&self.0),
            _out: out,
        })
    }

    /// Closes all connections, waiting for those in use. Further ones are refused.
    pub(crate) async fn close(&self) {
        let resting = self.0.connections.retain(|_, _| false).removed;
        self.0.connections.close();
        for held in resting {
            held.close().await;
        }
        self.0.out.close();
        self.0.out.wait().await;
    }

    /// Tells how many connections there are.
    pub(crate) fn state(&self, name: &'static str) -> PoolState {
        let status = self.0.connections.status();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        PoolState {
            pool: name,
            open: count(status.size),
            idle: count(status.available),
            most: self.0.bounds.most.max(1),
        }
    }
}

/// Closes what nobody has needed for `spare_after`, as long as there is the pool.
async fn care<D: Database>(pool: Weak<Inner<D>>, spare_after: Duration) {
    let mut looks = tokio::time::interval(spare_after / 2);
    loop {
        looks.tick().await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let needed = |_: &Held<D>, metrics: Metrics| metrics.last_used() < spare_after;
        for held in pool.connections.retain(needed).removed {
            pool.close_beside(held);
        }
    }
}

impl<D: Database> Inner<D> {
    fn close_beside(&self, held: Held<D>) {
        // Without a runtime nobody could say goodbye: the other side sees that the connection has ended.
        if let Ok(runtime) = Handle::try_current() {
            self.out.spawn_on(held.close(), &runtime);
        }
    }
}

impl<D: Database> Held<D> {
    async fn close(self) {
        // Whatever comes of it, the connection is gone.
        drop(timeout(CLOSING, self.connection.close()).await);
    }
}

impl<D: Database> Lent<D> {
    /// Gives it to whoever comes next. No transaction may be open in it, and its last statement must have come to its end.
    pub(crate) fn put_back(mut self) {
        if self.pool.connections.is_closed() {
            return self.discard();
        }
        self.object.in_order = true;
        drop(self.object);
    }

    /// Closes it; the database undoes what was open.
    pub(crate) fn discard(self) {
        self.pool.close_beside(Object::take(self.object));
    }

    /// Returns what its `synchronous` setting is on SQLite, where that is known, for whoever changes it.
    pub(crate) fn durability(&mut self) -> &mut Option<Durability> {
        &mut self.object.durability
    }
}

impl<D: Database> Deref for Lent<D> {
    type Target = D::Connection;

    fn deref(&self) -> &Self::Target {
        &self.object.connection
    }
}

impl<D: Database> DerefMut for Lent<D> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.object.connection
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
