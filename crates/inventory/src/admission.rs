//! How many calls may wait: as many as are carried out within the longest wait.
//!
//! Who stands behind L others waits L / rate (J. D. C. Little, "A Proof for the Queuing Formula: L = λW", Operations Research 9(3),
//! 1961), so that the line's bound follows from how fast it moves. A bound in calls alone would mean a short wait on a fast disk and a
//! long one on a slow disk, and to watch how long the first in line has waited (as `CoDel` does, RFC 8289) tells of an overload only once
//! it has lasted for so long; that is kept for a database that does not answer at all.
//!
//! The rate is measured while transactions are full: with fewer calls it says how many there are, not how many there could be.
//!
//! An overload that lasts leaves a line that is always as long as it may be, in which everybody waits for the longest time and nothing is
//! gained by it. So calls may wait for less then (B. Maurer, "Fail at Scale", ACM Queue 13(8), 2015, calls that controlled delay).

use std::time::Duration;

use primitives::MonotonicTime;

use crate::config::InventoryConfig;

/// The length of one measurement.
const MEASURED: Duration = Duration::from_millis(25);
/// A pause of so many longest waits is no pause of the disk any more.
const STANDS_STILL: u32 = 5;
/// As many calls may wait even then.
const ALWAYS_LET_IN: usize = 64;
/// A thread is far behind when so many times that are longer than the wait.
const FAR: u32 = 4;
/// As many calls may wait while a thread is so far behind that none should: what they take tells whether it is still so.
const A_FEW: usize = 1;
/// An overload in which calls were refused for so long lasts, and is over when for so long none was.
const LASTING: Duration = Duration::from_millis(100);
/// The part of the longest wait that is left then.
const SHORTENED: u32 = 2;

/// How many calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowd {
    /// As many as a transaction may have, or more.
    Full,
    /// Fewer, because others were refused.
    KeptSmall,
    /// Fewer.
    None,
}

/// How long calls may wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    /// When the first and the last call of the overload under way were refused.
    refused: Option<(MonotonicTime, MonotonicTime)>,
}

impl Patience {
    /// Takes note of a call that is refused for want of a place.
    pub(super) fn refuses(&mut self, now: MonotonicTime) {
        let goes_on = self.refused.filter(|(_, last)| now.since(*last) <= LASTING);
        let first = goes_on.map_or(now, |(first, _)| first);
        self.refused = Some((first, now));
    }

    /// Returns how long a call may wait that comes now.
    pub(super) fn now(self, config: &InventoryConfig, now: MonotonicTime) -> Duration {
        let lasts = self
            .refused
            .is_some_and(|(first, last)| now.since(last) <= LASTING && now.since(first) > LASTING);
        if lasts {
            config.max_wait / SHORTENED
        } else {
            config.max_wait
        }
    }
}

/// How fast the line moves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Calls a second, smoothed; nothing while transactions are not full.
    rate: Option<f64>,
    /// When the measurement under way began, and the calls since then.
    measuring: Option<(MonotonicTime, usize)>,
}

impl Pace {
    /// Takes note of a transaction that begins.
    pub(super) fn begins(&mut self, crowd: Crowd, now: MonotonicTime) {
        match crowd {
            Crowd::Full if self.measuring.is_none() => self.measuring = Some((now, 0)),
            Crowd::Full => {}
            // What is carried out says how many were let in, not how many could have been.
            Crowd::KeptSmall => self.measuring = None,
            Crowd::None => *self = Self::default(),
        }
    }

    /// Takes note of a transaction that has ended.
    pub(super) fn ends(&mut self, calls: usize, now: MonotonicTime) {
        let Some((since, before)) = self.measuring else {
            return;
        };
        let counted = before + calls;
        let took = now.since(since);
        if took < MEASURED {
            self.measuring = Some((since, counted));
            return;
        }
        let seen = counted as f64 / took.as_secs_f64();
        // One slow moment is no slow database.
        self.rate = Some(self.rate.map_or(seen, |rate| rate + (seen - rate) / 4.0));
        self.measuring = Some((now, 0));
    }

    /// Returns how many calls may wait, for `wait` each, behind the `carried` ones of the transactions under way, when a call comes to a
    /// thread that is so far behind: it has waited for about as long already, and so will its answer.
    pub(super) fn most_waiting(
        self,
        config: &InventoryConfig,
        wait: Duration,
        carried: usize,
        behind: Duration,
    ) -> usize {
        let most = config.max_waiting;
        self.rate.map_or(most, |rate| {
            let left = wait.saturating_sub(behind * 2);
            // From floating point to an integer saturates.
            let in_time = (rate * left.as_secs_f64()).round() as usize;
            let least = if is_far(wait, behind) {
                A_FEW
            } else {
                config.max_batch
            };
            in_time.saturating_sub(carried).max(least).min(most)
        })
    }

    /// Tells whether the first in a line of `waiting` calls has waited for so long that the line does not move, or moves too slowly as long
    /// as no more is known of it than that there is a crowd.
    pub(super) fn stands_still(
        self,
        wait: Duration,
        waiting: usize,
        first: MonotonicTime,
        now: MonotonicTime,
    ) -> bool {
        let is_unknown_crowd = self.rate.is_none() && self.measuring.is_some();
        let longest = if is_unknown_crowd {
            wait / SHORTENED
        } else {
            wait * STANDS_STILL
        };
        waiting >= ALWAYS_LET_IN && now.since(first) > longest
    }
}

/// Tells whether a thread is so far behind that it needs more of the processors, where calls may wait for so long.
pub(super) fn is_far(wait: Duration, behind: Duration) -> bool {
    behind * FAR > wait
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> InventoryConfig {
        InventoryConfig {
            max_batch: 100,
            max_waiting: 5_000,
            max_wait: Duration::from_millis(50),
            ..InventoryConfig::default()
        }
    }

    /// How many may wait behind others that are carried out, on a thread that is so far behind.
    fn waiting(pace: Pace, carried: usize, behind_ms: u64) -> usize {
        let config = config();
        pace.most_waiting(
            &config,
            config.max_wait,
            carried,
            Duration::from_millis(behind_ms),
        )
    }

    /// Carries out full transactions of `millis` each, one after the other.
    fn run(pace: &mut Pace, from: MonotonicTime, millis: u64, count: u32) -> MonotonicTime {
        let mut now = from;
        for _ in 0..count {
            pace.begins(Crowd::Full, now);
            now = now.after(Duration::from_millis(millis));
            pace.ends(100, now);
        }
        now
    }

    #[test]
    fn the_slower_the_line_the_fewer_may_wait() {
        let most = |millis| {
            let mut pace = Pace::default();
            run(&mut pace, MonotonicTime::default(), millis, 200);
            waiting(pace, 0, 0)
        };
        assert_eq!(waiting(Pace::default(), 0, 0), 5_000);
        assert_eq!(most(1), 5_000);
        assert_eq!(most(10), 500);
        assert_eq!(most(25), 200);
        // As many as one transaction takes, however slow it is.
        assert_eq!(most(1_000), 100);
    }

    #[test]
    fn a_thread_that_is_behind_takes_fewer() {
        let mut pace = Pace::default();
        run(&mut pace, MonotonicTime::default(), 10, 200);
        let most = |millis| waiting(pace, 0, millis);
        assert_eq!((most(0), most(10), most(22), most(60)), (500, 300, 60, 1));
        // Those that are under way come first.
        assert_eq!(waiting(pace, 200, 0), 300);
        // Without a crowd it does not matter.
        let calm = Pace::default();
        assert_eq!(waiting(calm, 0, 60), 5_000);
    }

    #[test]
    fn transactions_with_room_left_say_nothing_of_the_pace() {
        let mut pace = Pace::default();
        let now = run(&mut pace, MonotonicTime::default(), 25, 10);
        assert_eq!(waiting(pace, 0, 0), 200);
        pace.begins(Crowd::None, now);
        pace.ends(1, now.after(Duration::from_secs(1)));
        assert_eq!(waiting(pace, 0, 0), 5_000);
    }

    #[test]
    fn transactions_that_were_kept_small_leave_the_pace_as_it_is() {
        let mut pace = Pace::default();
        let mut now = run(&mut pace, MonotonicTime::default(), 25, 10);
        for _ in 0..10 {
            pace.begins(Crowd::KeptSmall, now);
            now = now.after(Duration::from_millis(100));
            pace.ends(A_FEW, now);
        }
        assert_eq!(waiting(pace, 0, 0), 200);
    }

    #[test]
    fn one_pause_of_the_disk_is_no_slow_line() {
        let mut pace = Pace::default();
        let now = run(&mut pace, MonotonicTime::default(), 10, 30);
        let now = run(&mut pace, now, 300, 1);
        assert!(waiting(pace, 0, 0) > 350);
        run(&mut pace, now, 10, 30);
        assert!(waiting(pace, 0, 0) > 450);
    }

    #[test]
    fn a_line_that_does_not_move_takes_no_more() {
        let first = MonotonicTime::default();
        let still = |pace: Pace, waiting, millis| {
            let now = first.after(Duration::from_millis(millis));
            pace.stands_still(config().max_wait, waiting, first, now)
        };
        let mut pace = Pace::default();
        assert!(!still(pace, 1_000, 250));
        assert!(still(pace, 1_000, 251));
        assert!(!still(pace, 63, 10_000));
        // A crowd has come, and how fast it is served is not known yet.
        pace.begins(Crowd::Full, first);
        assert!(!still(pace, 1_000, 25));
        assert!(still(pace, 1_000, 26));
        run(&mut pace, first, 30, 1);
        assert!(!still(pace, 1_000, 26));
    }

    #[test]
    fn in_an_overload_that_lasts_calls_wait_for_less() {
        let at = |millis| MonotonicTime::default().after(Duration::from_millis(millis));
        let mut patience = Patience::default();
        let wait = |patience: Patience, millis| patience.now(&config(), at(millis)).as_millis();
        assert_eq!(wait(patience, 0), 50);
        for millis in (0..=100).step_by(50) {
            patience.refuses(at(millis));
            assert_eq!(wait(patience, millis), 50);
        }
        patience.refuses(at(150));
        assert_eq!((wait(patience, 150), wait(patience, 250)), (25, 25));
        // Nobody was refused for a while; the next refusal is a new beginning.
        assert_eq!(wait(patience, 251), 50);
        patience.refuses(at(300));
        assert_eq!(wait(patience, 350), 50);
    }
}
