//! What the gateway does at a node right now: plain atomics, so that telling costs nothing on the way of a token. What calls wait for
//! their first token is under a lock that is taken at the beginning and the end of that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use primitives::{MonotonicTime, Timestamp};
use scheduling::Silence;

/// The value that stands for "never".
const NEVER: u64 = u64::MAX;
const NEVER_SEEN: i64 = i64::MIN;
/// A silence that a call has broken off counts half as much after this time, as latencies do in linkerd's balancer.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// Counts of running requests and the times of the last signs of life. Shared by all views of one node.
#[derive(Debug)]
pub struct NodeActivity {
    in_flight: AtomicU32,
    queued_tokens: AtomicU64,
    last_progress: AtomicU64,
    last_seen: AtomicI64,
    owed: Mutex<Owed>,
}

/// The signs of work that the node owes to calls.
#[derive(Debug, Default)]
struct Owed {
    /// Calls whose answer has not begun.
    calls: u32,
    /// Since when there are such calls.
    since: MonotonicTime,
    /// How long all of them together were expected to wait.
    expected: Duration,
    /// The silence that a call left behind which waited in vain.
    left: Option<Left>,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    silence: Silence,
    at: MonotonicTime,
}

impl Left {
    /// Returns what is left of it.
    fn now(self, now: MonotonicTime) -> Silence {
        let halved = now.since(self.at).div_duration_f32(HALF_LIFE);
        Silence {
            time: self.silence.time.mul_f32((-halved).exp2()),
            ..self.silence
        }
    }
}

impl Owed {
    /// Returns the silence as it is, of a node that last gave a sign then.
    fn silence(&self, sign: Option<MonotonicTime>, now: MonotonicTime) -> Option<Silence> {
        let waiting = (self.calls > 0).then(|| Silence {
            time: now.since(sign.map_or(self.since, |sign| sign.max(self.since))),
            expected: self.expected / self.calls.max(1),
        });
        let left = self
            .left
            .filter(|left| sign.is_none_or(|sign| sign < left.at))
            .map(|left| left.now(now));
        waiting.into_iter().chain(left).max_by_key(|s| s.time)
    }
}

impl NodeActivity {
    /// Makes the activity of a node that does nothing and was never seen.
    pub fn new() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            queued_tokens: AtomicU64::new(0),
            last_progress: AtomicU64::new(NEVER),
            last_seen: AtomicI64::new(NEVER_SEEN),
            owed: Mutex::default(),
        }
    }

    /// Counts a request that is expected to cost `tokens`, until the guard is dropped.
    pub fn begin(self: &Arc<Self>, tokens: u64) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.queued_tokens.fetch_add(tokens, Ordering::Relaxed);
        InFlight {
            activity: Arc::clone(self),
            tokens,
            expected: None,
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

    /// Returns for how many milliseconds the node has given no sign of its work, when that is much longer than was to be expected of
    /// the calls that wait there ([`Silence::late_ms`]); otherwise 0. Calls that gave up waiting count, too, the less the longer ago
    /// that is, until an answer makes progress.
    pub fn late_ms(&self, now: MonotonicTime) -> f32 {
        self.silence(now).map_or(0.0, Silence::late_ms)
    }

    fn silence(&self, now: MonotonicTime) -> Option<Silence> {
        self.owed.lock().silence(self.last_progress(), now)
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
    /// How long it was expected to wait, until its answer has begun.
    expected: Option<Duration>,
}

impl InFlight {
    /// Notes that from now on the request waits for its answer to begin, which is expected to take so long.
    #[must_use]
    pub fn waiting(mut self, expected: Duration, now: MonotonicTime) -> Self {
        self.answered();
        let mut owed = self.activity.owed.lock();
        if owed.calls == 0 {
            owed.since = now;
            owed.expected = Duration::ZERO;
        }
        owed.calls += 1;
        owed.expected = owed.expected.saturating_add(expected);
        drop(owed);
        self.expected = Some(expected);
        self
    }

    /// Notes that its answer has begun, and takes the tokens that are done off the expected work.
    pub fn done(&mut self, tokens: u64) {
        self.answered();
        let done = tokens.min(self.tokens);
        self.tokens -= done;
        self.activity
            .queued_tokens
            .fetch_sub(done, Ordering::Relaxed);
    }

    /// Ends it. Where nothing made progress since it began to wait, how long that was is remembered for a while.
    pub fn end(self, now: MonotonicTime) {
        if self.expected.is_some() {
            let sign = self.activity.last_progress();
            let mut owed = self.activity.owed.lock();
            let silence = owed.silence(sign, now);
            owed.left = silence.map(|silence| Left { silence, at: now });
        }
    }

    fn answered(&mut self) {
        if let Some(expected) = self.expected.take() {
            let mut owed = self.activity.owed.lock();
            owed.calls = owed.calls.saturating_sub(1);
            owed.expected = owed.expected.saturating_sub(expected);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.answered();
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

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_micros(seconds * 1_000_000)
    }

    fn seconds(activity: &NodeActivity, now: u64) -> Option<u64> {
        Some(activity.silence(at(now))?.time.as_secs())
    }

    const EXPECTED: Duration = Duration::from_secs(2);

    #[test]
    fn a_node_owes_a_sign_from_the_oldest_waiting_call_or_the_last_sign_on() {
        let activity = Arc::new(NodeActivity::new());
        assert_eq!(seconds(&activity, 5), None);
        let unwatched = activity.begin(10);
        assert_eq!(
            seconds(&activity, 90),
            None,
            "nobody waits for a sign of it"
        );
        let mut first = activity.begin(10).waiting(EXPECTED, at(100));
        let second = activity.begin(10).waiting(3 * EXPECTED, at(105));
        let silence = activity.silence(at(110)).unwrap();
        assert_eq!(
            (silence.time.as_secs(), silence.expected),
            (10, 2 * EXPECTED)
        );
        first.done(5);
        activity.progressed(at(112));
        assert_eq!(seconds(&activity, 115), Some(3));
        activity.progressed(at(120));
        second.end(at(120));
        drop((first, unwatched));
        assert_eq!(seconds(&activity, 500), None);
        assert_eq!((activity.in_flight(), activity.queued_tokens()), (0, 0));
    }

    #[test]
    fn who_waited_in_vain_is_remembered_until_the_node_gives_a_sign() {
        let activity = Arc::new(NodeActivity::new());
        let call = activity.begin(10).waiting(EXPECTED, at(100));
        call.end(at(112));
        assert_eq!(activity.in_flight(), 0);
        assert_eq!(seconds(&activity, 112), Some(12));
        assert!((activity.late_ms(at(112)) - 12_000.0).abs() < 1.0);
        assert_eq!(seconds(&activity, 122), Some(6));
        activity.begin(10).waiting(EXPECTED, at(122)).end(at(123));
        assert_eq!(seconds(&activity, 123), Some(5), "the longer one counts");
        activity.progressed(at(124));
        assert_eq!(seconds(&activity, 124), None);
    }
}
