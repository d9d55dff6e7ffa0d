//! Connections that were used last, for whoever comes next.
//!
//! A pool of the driver asks every connection that comes back for an answer, which is one more round trip for each transaction, and gives
//! out the one that has rested longest: all of them are in use then, and behind each a process of PostgreSQL whose caches know little of
//! what the others do. What comes back in order stays here instead, outside the pool; the last one back is the first one out. Those who
//! wait get it at once, in the order in which they came. Whatever is not known to be in order goes back to the pool, which looks at it.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A connection that nobody has needed for so long is the pool's again, which closes it in time.
const SPARE_AFTER: Duration = Duration::from_secs(10);
/// A connection in use passes through the pool as often, which replaces what is too old.
const LOOKED_AT_EVERY: Duration = Duration::from_mins(5);

/// A pool, and the connections of it that are at hand. Clones share both.
pub(crate) struct Shelf<D: Database> {
    pool: Pool<D>,
    places: Arc<Places<D>>,
}

struct Places<D: Database>(Mutex<State<D>>);

struct State<D: Database> {
    /// The one used last at the end.
    ready: Vec<Ready<D>>,
    /// Who waits for one, where the pool may open no more. Nobody does for longer than the pool's patience, and those who left are
    /// taken out when they come to the front.
    wanted: VecDeque<oneshot::Sender<Ready<D>>>,
    closed: bool,
}

/// A connection in order.
struct Ready<D: Database> {
    connection: PoolConnection<D>,
    from_pool: Instant,
    used: Instant,
}

/// A connection on loan. Dropped, it is the pool's to look at.
pub(crate) struct Lent<D: Database> {
    ready: Ready<D>,
    /// Where it belongs; nothing where only the pool keeps such.
    places: Option<Arc<Places<D>>>,
}

impl<D: Database> Shelf<D> {
    pub(crate) fn new(pool: Pool<D>) -> Self {
        let state = State {
            ready: Vec::new(),
            wanted: VecDeque::new(),
            closed: false,
        };
        Self {
            pool,
            places: Arc::new(Places(Mutex::new(state))),
        }
    }

    /// Returns the pool behind it.
    pub(crate) const fn pool(&self) -> &Pool<D> {
        &self.pool
    }

    /// Returns how many connections are open and not in use.
    pub(crate) fn idle(&self) -> usize {
        self.pool.num_idle() + self.places.lock().ready.len()
    }

    /// Waits for a connection, as long as the pool does.
    pub(crate) async fn acquire(&self) -> Result<Lent<D>, sqlx::Error> {
        let wanted = {
            let mut state = self.places.lock();
            if let Some(ready) = state.ready.pop() {
                return Ok(self.lend(ready));
            }
            // Who has a connection made waits for that one: given up, it would have to be made again.
            let all_made = self.pool.size() >= self.pool.options().get_max_connections();
            all_made.then(|| state.queue())
        };
        let Some(wanted) = wanted else {
            return Ok(self.lend(Ready::new(self.pool.acquire().await?)));
        };
        tokio::select! {
            biased;
            Ok(ready) = wanted => Ok(self.lend(ready)),
            other = self.pool.acquire() => Ok(self.lend(Ready::new(other?))),
        }
    }

    fn lend(&self, ready: Ready<D>) -> Lent<D> {
        Lent {
            ready,
            places: Some(Arc::clone(&self.places)),
        }
    }

    /// Closes all connections, waiting for those in use. Further ones are refused.
    pub(crate) async fn close(&self) {
        let ready = {
            let mut state = self.places.lock();
            state.closed = true;
            std::mem::take(&mut state.ready)
        };
        // From here on the pool closes what comes back.
        let closed = self.pool.close();
        drop(ready);
        closed.await;
    }
}

impl<D: Database> Places<D> {
    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_back(&self, mut ready: Ready<D>) {
        ready.used = Instant::now();
        if ready.used.duration_since(ready.from_pool) > LOOKED_AT_EVERY {
            return;
        }
        let mut state = self.lock();
        if state.closed {
            return;
        }
        while let Some(wanted) = state.wanted.pop_front() {
            match wanted.send(ready) {
                Ok(()) => return,
                Err(unwanted) => ready = unwanted,
            }
        }
        let now = ready.used;
        state.ready.push(ready);
        let rests = |ready: &Ready<D>| now.duration_since(ready.used) > SPARE_AFTER;
        let spare = state.ready.first().is_some_and(rests);
        let spare = spare.then(|| state.ready.remove(0));
        drop(state);
        drop(spare);
    }
}

impl<D: Database> State<D> {
    fn queue(&mut self) -> oneshot::Receiver<Ready<D>> {
        while self.wanted.front().is_some_and(oneshot::Sender::is_closed) {
            self.wanted.pop_front();
        }
        let (wanted, given) = oneshot::channel();
        self.wanted.push_back(wanted);
        given
    }
}

impl<D: Database> Drop for State<D> {
    fn drop(&mut self) {
        if Handle::try_current().is_ok() {
            return;
        }
        // To return to the pool takes a task, and nobody would run it. The pool goes, too.
        for ready in self.ready.drain(..) {
            drop(ready.connection.leak());
        }
    }
}

impl<D: Database> Ready<D> {
    fn new(connection: PoolConnection<D>) -> Self {
        let now = Instant::now();
        Self {
            connection,
            from_pool: now,
            used: now,
        }
    }
}

impl<D: Database> Lent<D> {
    /// Takes a connection that nobody but its pool keeps.
    pub(crate) fn of_pool(connection: PoolConnection<D>) -> Self {
        Self {
            ready: Ready::new(connection),
            places: None,
        }
    }

    /// Has it closed once it is dropped.
    pub(crate) fn close_on_drop(&mut self) {
        self.ready.connection.close_on_drop();
    }

    /// Gives it to whoever comes next. No transaction may be open in it, and its last statement must have come to its end.
    pub(crate) fn put_back(self) {
        if let Some(places) = self.places {
            places.take_back(self.ready);
        }
    }
}

impl<D: Database> Deref for Lent<D> {
    type Target = D::Connection;

    fn deref(&self) -> &Self::Target {
        &self.ready.connection
    }
}

impl<D: Database> DerefMut for Lent<D> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.ready.connection
    }
}

impl<D: Database> Clone for Shelf<D> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            places: Arc::clone(&self.places),
        }
    }
}

impl<D: Database> fmt::Debug for Shelf<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

impl<D: Database> fmt::Debug for Lent<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").finish_non_exhaustive()
    }
}
