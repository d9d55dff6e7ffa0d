//! How many retries the gateway may add to the load: a share of recent requests, so that an outage is not made worse by retrying.

use std::time::Duration;

use primitives::MonotonicTime;

use crate::window::Window;

/// Buckets of one second that the budget looks back over.
const SECONDS: usize = 10;
/// Retries allowed per second whatever the traffic, so that a quiet gateway can still retry.
const FLOOR_PER_S: u32 = 10;
/// One retry for this many requests: 20 percent.
const REQUESTS_PER_RETRY: u32 = 5;

/// Allows retries up to 20 percent of the requests of the last 10 seconds, plus 10 a second.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    requests_and_retries: Window<SECONDS>,
}

impl RetryBudget {
    /// Makes a budget without past.
    pub const fn new() -> Self {
        Self {
            requests_and_retries: Window::new(Duration::from_secs(1)),
        }
    }

    /// Counts a new request (not a retry).
    pub fn deposit(&mut self, now: MonotonicTime) {
        self.requests_and_retries.add(now, 1, 0);
    }

    /// Takes one retry out of the budget; tells whether there was one.
    #[must_use = "a retry without budget must not be made"]
    pub fn withdraw(&mut self, now: MonotonicTime) -> bool {
        let allowed = self.remaining(now) > 0;
        if allowed {
            self.requests_and_retries.add(now, 0, 1);
        }
        allowed
    }

    /// Returns how many retries could be made right now.
    pub fn remaining(&mut self, now: MonotonicTime) -> u32 {
        let (requests, retries) = self.requests_and_retries.sums(now);
        (requests / REQUESTS_PER_RETRY + FLOOR_PER_S * SECONDS as u32).saturating_sub(retries)
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn retries_end_at_the_floor_plus_a_fifth_of_the_requests() {
        let mut budget = RetryBudget::new();
        for _ in 0..1_000 {
            budget.deposit(at(5));
        }
        let granted = (0..10_000).filter(|_| budget.withdraw(at(6))).count();
        assert_eq!(granted, 100 + 200);
        assert!(!budget.withdraw(at(7)));
    }

    #[test]
    fn the_budget_comes_back_when_the_retries_are_past() {
        let mut budget = RetryBudget::new();
        while budget.withdraw(at(1)) {}
        assert_eq!(budget.remaining(at(5)), 0);
        assert_eq!(budget.remaining(at(20)), 100);
    }
}
