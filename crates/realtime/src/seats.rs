//! Who is connected: places are counted, and a credential that ends takes its connections with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use identity::Snapshot;
use parking_lot::Mutex;
use primitives::{Secret, Timestamp};
use tokio::sync::Notify;

use crate::closing::CloseReason;
use crate::standing::{CallerId, Standing};

/// A place of one connection.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) number: u64,
    /// Rung when there is something to send or the connection is to end.
    pub(crate) bell: Arc<Notify>,
    /// A [`CloseReason`], 0 while there is none.
    end: AtomicU8,
    credential: Mutex<Option<Credential>>,
}

/// What the connection's client presented, and what it amounted to.
struct Credential {
    token: Secret<String>,
    standing: Standing,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}

impl Seat {
    /// Has the connection end. The first reason counts.
    pub(crate) fn end(&self, reason: CloseReason) {
        // Whoever comes second changes nothing.
        self.end
            .compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire)
            .ok();
        self.bell.notify_one();
    }

    /// Returns why the connection is to end.
    pub(crate) fn ending(&self) -> Option<CloseReason> {
        CloseReason::from_number(self.end.load(Ordering::Acquire))
    }

    /// Returns who is connected, by what `snapshot` says now; `None` when nobody has said it yet, or when that is not true any more.
    pub(crate) fn standing(&self, snapshot: &Snapshot, now: Timestamp) -> Option<Standing> {
        let credential = self.credential.lock();
        let credential = credential.as_ref()?;
        standing_of(&credential.token, snapshot, now).filter(|now| *now == credential.standing)
    }

    /// Ends the connection when its credential does not stand any more.
    pub(crate) fn check(&self, snapshot: &Snapshot, now: Timestamp) {
        let is_known = self.credential.lock().is_some();
        if is_known && self.standing(snapshot, now).is_none() {
            self.end(CloseReason::Revoked);
        }
    }
}

/// Returns who presents the token; `None` when it is not good, or is nobody's.
pub(crate) fn standing_of(
    token: &Secret<String>,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Option<Standing> {
    let principal = snapshot.authenticate(Some(token.expose()), now).ok()?;
    Standing::of(&principal)
}

/// All places.
#[derive(Debug)]
pub(crate) struct Seats {
    taken: Mutex<Taken>,
    numbers: AtomicU64,
    most: usize,
    most_per_caller: usize,
    /// The most that have not said who they are.
    most_strangers: usize,
}

#[derive(Debug, Default)]
struct Taken {
    seats: HashMap<u64, Arc<Seat>>,
    by_caller: HashMap<CallerId, usize>,
    strangers: usize,
    closed: bool,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are taken, or the program stops.
    InAll,
    /// The caller has as many as one may.
    OfCaller,
}

impl Seats {
    pub(crate) fn new(most: usize, most_per_caller: usize) -> Self {
        Self {
            taken: Mutex::default(),
            numbers: AtomicU64::new(1),
            most,
            most_per_caller,
            most_strangers: (most / 10).max(1),
        }
    }

    /// Takes a place for who has not said yet who they are.
    pub(crate) fn take(self: &Arc<Self>) -> Result<Taker, Full> {
        let mut taken = self.taken.lock();
        if taken.closed || taken.seats.len() >= self.most || taken.strangers >= self.most_strangers
        {
            return Err(Full::InAll);
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat {
            number,
            bell: Arc::default(),
            end: AtomicU8::new(0),
            credential: Mutex::default(),
        });
        taken.seats.insert(number, Arc::clone(&seat));
        taken.strangers += 1;
        Ok(Taker {
            seats: Arc::clone(self),
            seat,
            caller: None,
        })
    }

    /// Returns those who are connected.
    pub(crate) fn all(&self) -> Vec<Arc<Seat>> {
        self.taken.lock().seats.values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.taken.lock().seats.len()
    }

    /// Gives out no more places, and has all connections end.
    pub(crate) fn close(&self) {
        let seats = {
            let mut taken = self.taken.lock();
            taken.closed = true;
            taken.seats.values().cloned().collect::<Vec<_>>()
        };
        for seat in seats {
            seat.end(CloseReason::Stopping);
        }
    }
}

/// Holds a place until dropped.
#[derive(Debug)]
pub(crate) struct Taker {
    seats: Arc<Seats>,
    pub(crate) seat: Arc<Seat>,
    caller: Option<CallerId>,
}

impl Taker {
    /// Notes who is connected. May be called again with another token of the same caller.
    pub(crate) fn sit(&mut self, token: Secret<String>, standing: Standing) -> Result<(), Full> {
        if self.caller.is_none() {
            let mut places = self.seats.taken.lock();
            let count = places.by_caller.entry(standing.caller).or_insert(0);
            if *count >= self.seats.most_per_caller {
                return Err(Full::OfCaller);
            }
            *count += 1;
            places.strangers -= 1;
            self.caller = Some(standing.caller);
        }
        *self.seat.credential.lock() = Some(Credential { token, standing });
        Ok(())
    }

    /// Tells whether somebody has said who they are.
    pub(crate) const fn is_known(&self) -> bool {
        self.caller.is_some()
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        taken.seats.remove(&self.seat.number);
        match self.caller {
            None => taken.strangers -= 1,
            Some(caller) => {
                if let Some(count) = taken.by_caller.get_mut(&caller) {
                    *count -= 1;
                    if *count == 0 {
                        taken.by_caller.remove(&caller);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::{DEFAULT_ORG, Role};
    use primitives::UserId;

    fn person(number: i64) -> Standing {
        let now = Timestamp::from_micros(number * 1_000_000);
        Standing {
            caller: CallerId::User(UserId::generate(now)),
            org: DEFAULT_ORG,
            role: Role::User,
            platform: false,
        }
    }

    fn token() -> Secret<String> {
        Secret::new("t".to_owned())
    }

    #[test]
    fn places_are_bounded_in_all_for_strangers_and_for_each_caller() {
        let seats = Arc::new(Seats::new(10, 2));
        let (one, other) = (person(1), person(2));
        let mut held = Vec::new();
        for who in [one, one] {
            let mut taker = seats.take().unwrap();
            assert_eq!(
                seats.take().err(),
                Some(Full::InAll),
                "one stranger at a time"
            );
            taker.sit(token(), who).unwrap();
            held.push(taker);
        }
        let mut third = seats.take().unwrap();
        assert_eq!(third.sit(token(), one), Err(Full::OfCaller));
        assert_eq!(third.sit(token(), other), Ok(()));
        held.clear();
        let mut again = seats.take().unwrap();
        assert_eq!(again.sit(token(), one), Ok(()));
        drop((third, again));
        assert_eq!(seats.len(), 0);
    }

    #[test]
    fn nobody_gets_a_place_when_the_program_stops() {
        let seats = Arc::new(Seats::new(10, 10));
        let taker = seats.take().unwrap();
        seats.close();
        assert_eq!(taker.seat.ending(), Some(CloseReason::Stopping));
        taker.seat.end(CloseReason::Slow);
        assert_eq!(taker.seat.ending(), Some(CloseReason::Stopping));
        drop(taker);
        assert_eq!(seats.take().err(), Some(Full::InAll));
    }
}
