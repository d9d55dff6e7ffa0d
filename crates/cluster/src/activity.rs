//! What the gateway does at a node right now: plain atomics, so that telling costs nothing on the way of a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use primitives::{MonotonicTime, Timestamp};

/// The value that stands for "never".
const NEVER: u64 = u64::MAX;
const NEVER_SEEN: i64 = i64::MIN;

/// Counts of running requests and the times of the last signs of life. Shared by all views of one node.
#[derive(Debug)]
pub struct NodeActivity {
    in_flight: AtomicU32,
    queued_tokens: AtomicU64,
    last_progress: AtomicU64,
    last_seen: AtomicI64,
}

impl NodeActivity {
    /// Makes the activity of a node that does nothing and was never seen.
    pub fn new() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            queued_tokens: AtomicU64::new(0),
            last_progress: AtomicU64::new(NEVER),
            last_seen: AtomicI64::new(NEVER_SEEN),
        }
    }

    /// Counts a request that is expected to cost `tokens`, until the guard is dropped.
    pub fn begin(self: &Arc<Self>, tokens: u64) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.queued_tokens.fetch_add(tokens, Ordering::Relaxed);
        InFlight {
            activity: Arc::clone(self),
            tokens,
        }
    }

    /// Returns the number of requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns the tokens that the requests in flight are still expected to cost.
    pub fn queued_tokens(&self) -> u64 {
        self.queued_tokens.load(Ordering::Relaxed)
    }

    /// Notes that an answer made progress. As cheap as one store: may be called for every frame.
    pub fn progressed(&self, now: MonotonicTime) {
        self.last_progress.store(now.as_micros(), Ordering::Relaxed);
    }

    /// Returns when an answer last made progress.
    pub fn last_progress(&self) -> Option<MonotonicTime> {
        match self.last_progress.load(Ordering::Relaxed) {
            NEVER => None,
            micros => Some(MonotonicTime::from_micros(micros)),
        }
    }

    pub(crate) fn seen(&self, now: Timestamp) {
        self.last_seen.store(now.as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn last_seen(&self) -> Option<Timestamp> {
        match self.last_seen.load(Ordering::Relaxed) {
            NEVER_SEEN => None,
            micros => Some(Timestamp::from_micros(micros)),
        }
    }
}

impl Default for NodeActivity {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts as one request in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    activity: Arc<NodeActivity>,
    tokens: u64,
}

impl InFlight {
    /// Takes tokens that are done off the expected work.
    pub fn done(&mut self, tokens: u64) {
        let done = tokens.min(self.tokens);
        self.tokens -= done;
        self.activity
            .queued_tokens
            .fetch_sub(done, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.activity
            .queued_tokens
            .fetch_sub(self.tokens, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_until_its_guard_is_dropped() {
        let activity = Arc::new(NodeActivity::new());
        let mut first = activity.begin(100);
        let second = activity.begin(50);
        first.done(30);
        first.done(1_000);
        assert_eq!((activity.in_flight(), activity.queued_tokens()), (2, 50));
        drop(second);
        drop(first);
        assert_eq!((activity.in_flight(), activity.queued_tokens()), (0, 0));
    }
}
