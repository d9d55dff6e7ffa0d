//! The requests under way: what people see of them, and how one is stopped from outside.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use dialects::{ApiError, Dialect};
use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use primitives::{ErrorKind, OrgId, RequestId, Timestamp};
use scheduling::queue::Class;

use crate::admission::Standing;
use crate::routing::RETRY_AFTER;

/// Parts of the list, so that workers seldom wait for each other.
const PARTS: usize = 16;

/// Who stopped a request before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Administrator = 1,
    /// The server ends, and its time for draining is over.
    Shutdown = 2,
}

/// A request from its arrival to its end, as others see it.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) facts: Facts,
    standing: Mutex<Standing>,
    /// The execution that it shares with identical requests: that one is at a node.
    carried_by: OnceLock<Arc<Self>>,
    begun: AtomicBool,
    /// Why it was stopped, as [`Stop`] numbers it; 0 while it was not.
    stopped: AtomicU8,
    /// Wakes whoever makes its answer.
    task: AtomicWaker,
}

/// What is known of a request at its arrival.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) id: RequestId,
    pub(crate) dialect: Dialect,
    /// As records name it.
    pub(crate) operation: &'static str,
    pub(crate) model: Arc<str>,
    pub(crate) caller: Arc<str>,
    pub(crate) organisation: OrgId,
    pub(crate) class: Class,
    pub(crate) stream: bool,
    pub(crate) received_at: Timestamp,
}

impl UnderWay {
    /// Makes the state of a request that has just arrived.
    pub(crate) fn new(facts: Facts) -> Arc<Self> {
        Arc::new(Self {
            facts,
            standing: Mutex::default(),
            carried_by: OnceLock::new(),
            begun: AtomicBool::new(false),
            stopped: AtomicU8::new(0),
            task: AtomicWaker::new(),
        })
    }

    /// Makes the state of a call on behalf of this request: it is not listed and not stopped by itself.
    pub(crate) fn errand(&self) -> Arc<Self> {
        Self::new(self.facts.clone())
    }

    /// Returns where it stands, to be read or changed.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock()
    }

    /// Returns where it stands, or where the execution stands that it shares.
    pub(crate) fn standing(&self) -> Standing {
        let stands = self.carried_by.get().map_or(self, |other| &**other);
        stands.standing.lock().clone()
    }

    /// Notes which execution it shares.
    pub(crate) fn is_carried_by(&self, execution: Arc<Self>) {
        // There is one in a request's life.
        drop(self.carried_by.set(execution));
    }

    /// Notes that its answer has begun.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Tells whether its answer has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Ends it: whoever makes its answer hears of it.
    pub(crate) fn stop(&self, why: Stop) {
        self.stopped.store(why as u8, Ordering::Release);
        self.task.wake();
    }

    /// Returns what its client hears if it was stopped.
    pub(crate) fn stopped_with(&self) -> Option<ApiError> {
        let why = self.stopped.load(Ordering::Acquire);
        if why == Stop::Administrator as u8 {
            return Some(ApiError::new(
                ErrorKind::Cancelled,
                "an administrator has cancelled this request",
            ));
        }
        (why == Stop::Shutdown as u8).then(|| {
            ApiError::new(
                ErrorKind::Unavailable,
                "the server is stopping and could not wait longer for this answer: send the request again soon",
            )
            .with_retry_after(RETRY_AFTER)
        })
    }

    /// Tells whether it was stopped; if not, the task is woken when it is. One task asks at a time.
    pub(crate) fn poll_stopped(&self, cx: &Context<'_>) -> Poll<ApiError> {
        self.task.register(cx.waker());
        self.stopped_with().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits until it is stopped; returns what its client hears.
    pub(crate) async fn stopped(&self) -> ApiError {
        poll_fn(|cx| self.poll_stopped(cx)).await
    }
}

/// All requests under way. They are at most as many as may be in flight.
#[derive(Debug, Default)]
pub(crate) struct UnderWayList {
    parts: [Mutex<HashMap<RequestId, Arc<UnderWay>>>; PARTS],
}

impl UnderWayList {
    /// Lists a request.
    pub(crate) fn enter(&self, request: Arc<UnderWay>) {
        let id = request.facts.id;
        self.part(id).lock().insert(id, request);
    }

    /// Takes a request off the list.
    pub(crate) fn leave(&self, id: RequestId) {
        let left = self.part(id).lock().remove(&id);
        // Not under the lock.
        drop(left);
    }

    /// Finds a request.
    pub(crate) fn find(&self, id: RequestId) -> Option<Arc<UnderWay>> {
        self.part(id).lock().get(&id).cloned()
    }

    /// Returns all of them, the earliest first.
    pub(crate) fn all(&self) -> Vec<Arc<UnderWay>> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(part.lock().values().cloned());
        }
        // Ids of one millisecond are in no order.
        all.sort_unstable_by_key(|request| (request.facts.received_at, request.facts.id));
        all
    }

    fn part(&self, id: RequestId) -> &Mutex<HashMap<RequestId, Arc<UnderWay>>> {
        // The last bits of an id are random.
        let [.., last] = *id.as_uuid().as_bytes();
        &self.parts[usize::from(last) % PARTS]
    }
}
