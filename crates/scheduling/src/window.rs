//! Two counters over the last seconds, in a ring of buckets: the memory of the breaker and of the retry budget.

use std::time::Duration;

use primitives::MonotonicTime;

/// Counts of two things within the last `N` buckets of time.
#[derive(Clone, Debug)]
pub(crate) struct Window<const N: usize> {
    bucket: Duration,
    /// Number of the newest bucket since the clock's origin.
    newest: u64,
    counts: [(u32, u32); N],
}

impl<const N: usize> Window<N> {
    /// Makes an empty window of `N` buckets that each last `bucket`.
    pub(crate) const fn new(bucket: Duration) -> Self {
        Self {
            bucket,
            newest: 0,
            counts: [(0, 0); N],
        }
    }

    /// Adds to the two counts.
    pub(crate) fn add(&mut self, now: MonotonicTime, first: u32, second: u32) {
        self.advance(now);
        if let Some(count) = self.counts.get_mut(self.newest as usize % N) {
            count.0 = count.0.saturating_add(first);
            count.1 = count.1.saturating_add(second);
        }
    }

    /// Returns the two sums over the window.
    pub(crate) fn sums(&mut self, now: MonotonicTime) -> (u32, u32) {
        self.advance(now);
        self.counts.iter().fold((0, 0), |sum, count| {
            (sum.0.saturating_add(count.0), sum.1.saturating_add(count.1))
        })
    }

    /// Returns how long the window looks back.
    pub(crate) fn length(&self) -> Duration {
        self.bucket * N as u32
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counts = [(0, 0); N];
    }

    fn advance(&mut self, now: MonotonicTime) {
        let micros = u64::try_from(self.bucket.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        let current = now.as_micros() / micros;
        // A time before the newest bucket (calls end out of order) counts as now.
        let passed = current.saturating_sub(self.newest);
        if passed >= N as u64 {
            self.clear();
            self.newest = current;
        } else {
            for _ in 0..passed {
                self.newest += 1;
                if let Some(count) = self.counts.get_mut(self.newest as usize % N) {
                    *count = (0, 0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn counts_leave_the_window_as_time_passes() {
        let mut window = Window::<3>::new(Duration::from_secs(1));
        window.add(at(10), 2, 1);
        window.add(at(11), 1, 0);
        assert_eq!(window.sums(at(12)), (3, 1));
        assert_eq!(window.sums(at(13)), (1, 0));
        assert_eq!(window.sums(at(14)), (0, 0));
        window.add(at(5), 1, 1);
        assert_eq!(window.sums(at(14)), (1, 1), "a late call counts as now");
        assert_eq!(window.sums(at(1_000_000)), (0, 0));
    }
}
