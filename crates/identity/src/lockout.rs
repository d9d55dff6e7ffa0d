//! Slows down guessing: after some free attempts each further one must wait longer. Pure and clocked.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use primitives::MonotonicTime;

/// The most names remembered; at the bound the one that was quiet the longest is forgotten.
const CAPACITY: usize = 10_000;

/// After this time without an attempt a name starts afresh.
const FORGET_AFTER: Duration = Duration::from_mins(15);

/// How patient a lockout is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Attempts without a wait.
    pub(crate) free_attempts: u32,
    /// The longest wait; it starts at one second and doubles.
    pub(crate) longest_wait: Duration,
}

/// Remembers failed attempts by name.
#[derive(Debug)]
pub(crate) struct Lockout<K> {
    patience: Patience,
    attempts: Mutex<HashMap<K, Attempts>>,
}

#[derive(Clone, Copy, Debug)]
struct Attempts {
    count: u32,
    last: MonotonicTime,
    blocked_until: MonotonicTime,
}

impl<K: Eq + Hash + Clone> Lockout<K> {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            patience,
            attempts: Mutex::new(HashMap::new()),
        }
    }

    /// Counts an attempt before its outcome is known, so that parallel guesses count too. Returns the time to wait when it may not
    /// be made; such attempts do not make the wait longer.
    pub(crate) fn attempt(&self, name: &K, now: MonotonicTime) -> Result<(), Duration> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Attempts {
            count: 0,
            last: now,
            blocked_until: now,
        };
        let mut entry = attempts
            .get(name)
            .filter(|entry| now.since(entry.last) < FORGET_AFTER)
            .copied()
            .unwrap_or(fresh);
        let wait = entry.blocked_until.since(now);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
        entry.blocked_until = now.after(self.wait_after(entry.count));
        if attempts.len() >= CAPACITY && !attempts.contains_key(name) {
            let quietest = attempts
                .iter()
                .min_by_key(|(_, entry)| entry.last)
                .map(|(name, _)| name.clone());
            if let Some(quietest) = quietest {
                attempts.remove(&quietest);
            }
        }
        attempts.insert(name.clone(), entry);
        Ok(())
    }

    /// Forgets a name after a success.
    pub(crate) fn succeed(&self, name: &K) {
        self.attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    fn wait_after(&self, count: u32) -> Duration {
        match count.checked_sub(self.patience.free_attempts) {
            None => Duration::ZERO,
            Some(excess) => {
                Duration::from_secs(1_u64 << excess.min(30)).min(self.patience.longest_wait)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        free_attempts: 3,
        longest_wait: Duration::from_secs(10),
    };

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn waits_double_after_the_free_attempts_and_stop_growing() {
        let lockout = Lockout::new(PATIENCE);
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            lockout.attempt(&"a", now).unwrap();
            let wait = lockout.attempt(&"a", now).err().unwrap_or_default();
            if wait.is_zero() {
                continue;
            }
            waits.push(wait.as_secs());
            now = now.after(wait);
        }
        assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10]);
    }

    #[test]
    fn success_and_silence_start_afresh_and_others_are_not_touched() {
        let lockout = Lockout::new(PATIENCE);
        for _ in 0..3 {
            lockout.attempt(&"a", at(0)).unwrap();
        }
        assert!(lockout.attempt(&"a", at(0)).is_err());
        assert!(lockout.attempt(&"b", at(0)).is_ok());
        lockout.succeed(&"a");
        assert!(lockout.attempt(&"a", at(0)).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let lockout = Lockout::new(PATIENCE);
        for name in 0..CAPACITY as u64 + 10 {
            lockout.attempt(&name, at(name)).unwrap();
        }
        assert_eq!(lockout.attempts.lock().unwrap().len(), CAPACITY);
        assert!(!lockout.attempts.lock().unwrap().contains_key(&0));
    }
}
