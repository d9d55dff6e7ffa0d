//! How many calls may wait: as many as are carried out within the longest wait.
//!
//! Who stands behind others waits for the transactions that take them along, each of which lasts about as long as the ones before. So
//! the line's bound follows from how fast it moves (J. D. C. Little, "A Proof for the Queuing Formula: L = λW", Operations Research
//! 9(3), 1961): a bound in calls alone means a short wait on a fast disk and a long one on a slow disk. Watching how long the first in
//! line has waited tells of an overload only once it has lasted for so long; that is kept for a database that does not answer at all.

use std::time::Duration;

use primitives::MonotonicTime;

use crate::config::InventoryConfig;

/// As many calls may wait however slow the database is: a pause of the disk is no overload.
const ALWAYS_LET_IN: usize = 64;

/// How fast the line moves: the smoothed length of a transaction, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace(Option<f64>);

impl Pace {
    /// Takes note of a transaction's length, commit included. Smoothed as TCP does its round trips (RFC 6298, section 2.3).
    pub(super) fn note(&mut self, took: Duration) {
        let took = took.as_micros() as f64;
        self.0 = Some(self.0.map_or(took, |known| known + (took - known) / 8.0));
    }

    /// Returns how many calls may wait, when so many transactions run at the same time.
    pub(super) fn most_waiting(self, config: &InventoryConfig, writers: usize) -> usize {
        let most = config.max_waiting;
        let Some(transaction_us) = self.0.filter(|micros| *micros > 0.0) else {
            return most;
        };
        let rounds = config.max_wait.as_micros() as f64 / transaction_us;
        let in_time = rounds * (config.max_batch.max(1) * writers) as f64;
        // From floating point to an integer saturates.
        (in_time as usize).max(ALWAYS_LET_IN).min(most)
    }
}

/// Tells whether the first in a line of `waiting` calls has waited for longer than anybody should.
pub(super) fn stands_still(
    config: &InventoryConfig,
    waiting: usize,
    first: MonotonicTime,
    now: MonotonicTime,
) -> bool {
    waiting >= ALWAYS_LET_IN && now.since(first) > config.max_wait
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_the_database_the_fewer_may_wait() {
        let config = InventoryConfig {
            max_batch: 100,
            max_waiting: 1_000,
            max_wait: Duration::from_millis(60),
            ..InventoryConfig::default()
        };
        let most = |millis| {
            let mut pace = Pace::default();
            pace.note(Duration::from_millis(millis));
            pace.most_waiting(&config, 2)
        };
        assert_eq!(Pace::default().most_waiting(&config, 2), 1_000);
        assert_eq!(most(0), 1_000);
        assert_eq!(most(1), 1_000);
        assert_eq!(most(20), 600);
        assert_eq!(most(60), 200);
        assert_eq!(most(10_000), ALWAYS_LET_IN);
    }

    #[test]
    fn one_slow_transaction_is_no_slow_database() {
        let config = InventoryConfig::default();
        let mut pace = Pace::default();
        for _ in 0..20 {
            pace.note(Duration::from_millis(10));
        }
        let before = pace.most_waiting(&config, 2);
        pace.note(Duration::from_millis(100));
        assert!(pace.most_waiting(&config, 2) > before / 3);
        for _ in 0..20 {
            pace.note(Duration::from_millis(10));
        }
        assert!(pace.most_waiting(&config, 2) > before * 8 / 10);
    }
}
