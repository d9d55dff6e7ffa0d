//! A token bucket: holds at most what a minute allows and fills evenly.
//!
//! The algorithm is the classic one of traffic shaping (Turner, "New directions in communications", 1986), with amounts that may be
//! taken back and debts that are paid by waiting.

use std::time::Duration;

use primitives::MonotonicTime;

/// The time in which an empty bucket becomes full.
const WINDOW: Duration = Duration::from_mins(1);

/// How much is left of what a minute allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// What a minute allows, at least one.
    capacity: f64,
    /// What is there; below zero after more was used than reserved.
    level: f64,
    filled_at: MonotonicTime,
}

impl Bucket {
    /// Makes a full one.
    pub(super) fn full(capacity: u64, now: MonotonicTime) -> Self {
        let capacity = capacity.max(1) as f64;
        Self {
            capacity,
            level: capacity,
            filled_at: now,
        }
    }

    /// Changes what a minute allows, keeping what was used.
    pub(super) fn resize(&mut self, capacity: u64, now: MonotonicTime) {
        self.fill(now);
        let capacity = capacity.max(1) as f64;
        self.level += capacity - self.capacity;
        self.capacity = capacity;
    }

    fn fill(&mut self, now: MonotonicTime) {
        let share = now.since(self.filled_at).as_secs_f64() / WINDOW.as_secs_f64();
        self.level = (self.level + share * self.capacity).min(self.capacity);
        self.filled_at = self.filled_at.max(now);
    }

    /// Returns how long to wait until `amount` is there; nothing when it is. An amount beyond the capacity asks for a full bucket:
    /// such a request would else never be let in.
    pub(super) fn wait_for(&mut self, amount: u64, now: MonotonicTime) -> Option<Duration> {
        self.fill(now);
        let missing = (amount as f64).min(self.capacity) - self.level;
        // A bucket that was filled in steps lacks what rounding took.
        if missing <= 1e-6 {
            return None;
        }
        Some(WINDOW.mul_f64(missing / self.capacity))
    }

    /// Takes an amount, whether it is there or not.
    pub(super) fn take(&mut self, amount: u64) {
        self.level -= amount as f64;
    }

    /// Puts an amount back.
    pub(super) fn put_back(&mut self, amount: u64) {
        self.level = (self.level + amount as f64).min(self.capacity);
    }

    /// Returns what is there, below zero for debts.
    pub(super) fn level(&mut self, now: MonotonicTime) -> f64 {
        self.fill(now);
        self.level
    }

    /// Learns what is there.
    pub(super) fn set_level(&mut self, level: f64, now: MonotonicTime) {
        self.fill(now);
        self.level = level.min(self.capacity);
    }

    /// Returns what a minute allows.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity as u64
    }

    /// Returns what is left, in whole units.
    pub(super) fn left(&mut self, now: MonotonicTime) -> u64 {
        self.fill(now);
        (self.level + 1e-6).max(0.0) as u64
    }

    /// Returns the time until it is full.
    pub(super) fn full_in(&mut self, now: MonotonicTime) -> Duration {
        self.fill(now);
        WINDOW.mul_f64(((self.capacity - self.level) / self.capacity).max(0.0))
    }

    /// Tells whether nothing is lost by forgetting it.
    pub(super) fn is_full(&mut self, now: MonotonicTime) -> bool {
        self.fill(now);
        self.level >= self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_bucket_gives_a_minutes_worth_and_then_at_its_rate() {
        let mut bucket = Bucket::full(60, at(0));
        for _ in 0..60 {
            assert_eq!(bucket.wait_for(1, at(0)), None);
            bucket.take(1);
        }
        assert_eq!(bucket.wait_for(1, at(0)), Some(Duration::from_secs(1)));
        assert_eq!(bucket.wait_for(30, at(10)), Some(Duration::from_secs(20)));
        assert_eq!(bucket.wait_for(30, at(30)), None);
        assert_eq!((bucket.left(at(30)), bucket.left(at(1000))), (30, 60));
    }

    #[test]
    fn what_was_used_beyond_the_reservation_is_paid_by_waiting() {
        let mut bucket = Bucket::full(600, at(0));
        bucket.take(100);
        bucket.take(800);
        assert_eq!(bucket.left(at(0)), 0);
        assert_eq!(
            bucket.wait_for(1, at(0)),
            Some(Duration::from_millis(30_100))
        );
        bucket.put_back(300);
        assert_eq!(bucket.wait_for(1, at(0)), Some(Duration::from_millis(100)));
        bucket.put_back(10_000);
        assert_eq!(bucket.left(at(0)), 600, "never more than a minute's worth");
    }

    #[test]
    fn a_request_larger_than_the_limit_waits_for_a_full_bucket_and_then_goes() {
        let mut bucket = Bucket::full(100, at(0));
        assert_eq!(bucket.wait_for(1_000, at(0)), None);
        bucket.take(1_000);
        assert_eq!(
            bucket.wait_for(1, at(540)),
            Some(Duration::from_millis(600))
        );
    }

    #[test]
    fn another_limit_keeps_what_was_used() {
        let mut bucket = Bucket::full(100, at(0));
        bucket.take(90);
        bucket.resize(200, at(0));
        assert_eq!(bucket.left(at(0)), 110);
        bucket.resize(50, at(0));
        assert_eq!(bucket.left(at(0)), 0);
        assert!(!bucket.is_full(at(0)) && bucket.is_full(at(600)));
    }
}
