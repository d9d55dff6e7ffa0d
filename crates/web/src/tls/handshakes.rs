//! How many handshakes are under way, and how they ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Handshakes under way at once. Whoever only opens connections and says nothing takes no more of them than this.
const MOST: usize = 2_048;

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeOutcome {
    /// Both sides speak TLS.
    Done,
    /// They found nothing that both speak, or the client went away or did not believe the certificate.
    Failed,
    /// The client took too long.
    Timeout,
    /// The client speaks HTTP without TLS.
    Plain,
    /// Too many others were under way.
    Refused,
}

impl HandshakeOutcome {
    const ALL: [Self; 5] = [
        Self::Done,
        Self::Failed,
        Self::Timeout,
        Self::Plain,
        Self::Refused,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Plain => "plain",
            Self::Refused => "refused",
        }
    }
}

/// Counts handshakes.
#[derive(Debug, Default)]
pub struct Handshakes {
    under_way: AtomicUsize,
    ended: [AtomicU64; HandshakeOutcome::ALL.len()],
}

/// A handshake that is under way, until dropped.
#[derive(Debug)]
pub struct Handshake(Arc<Handshakes>);

impl Handshakes {
    /// Begins a handshake; `None`, counted as refused, while 2,048 are under way.
    pub fn begin(self: &Arc<Self>) -> Option<Handshake> {
        let handshake = Handshake(Arc::clone(self));
        if self.under_way.fetch_add(1, Ordering::Relaxed) < MOST {
            return Some(handshake);
        }
        self.count(HandshakeOutcome::Refused);
        None
    }

    /// Lists how many ended how, by the name of the outcome.
    pub fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = HandshakeOutcome::ALL.iter().zip(&self.ended);
        counts.map(|(outcome, count)| (outcome.as_str(), count.load(Ordering::Relaxed)))
    }

    fn count(&self, outcome: HandshakeOutcome) {
        let counts = HandshakeOutcome::ALL.iter().zip(&self.ended);
        for (_, count) in counts.filter(|(one, _)| **one == outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Handshake {
    /// Ends it.
    pub fn end(self, outcome: HandshakeOutcome) {
        self.0.count(outcome);
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_bound_a_handshake_is_refused_until_another_ends() {
        let handshakes = Arc::new(Handshakes::default());
        let mut held: Vec<_> = (0..MOST).map(|_| handshakes.begin().unwrap()).collect();
        assert!(handshakes.begin().is_none());
        held.pop().unwrap().end(HandshakeOutcome::Done);
        drop(handshakes.begin().unwrap());
        let ended: Vec<_> = handshakes.ended().filter(|(_, count)| *count > 0).collect();
        assert_eq!(ended, [("done", 1), ("refused", 1)]);
    }
}
