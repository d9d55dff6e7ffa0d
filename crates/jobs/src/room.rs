//! Whether there is room for one more job, without counting all of them each time.
//!
//! What was counted a moment ago, and what this process has accepted since, is more than there is: jobs end, too. Where that is far below
//! the bounds, one more is accepted without a look; near them, and after a second, they are counted. What other processes accept within
//! that second fits into the tenth that is kept free.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use primitives::{MonotonicTime, OrgId};

/// How long a count is believed.
const BELIEVED: Duration = Duration::from_secs(1);
/// The most organisations whose counts are remembered; then all are counted anew.
const MOST: usize = 1_000;

/// The counts, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Those of everybody that were accepted since the start.
    accepted: u64,
    of: HashMap<OrgId, Counted>,
}

#[derive(Debug)]
struct Counted {
    at: MonotonicTime,
    all: u64,
    own: u64,
    /// What [`Known::accepted`] was then.
    accepted_before: u64,
}

/// The most jobs that have not ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) all: u64,
    pub(crate) own: u64,
}

impl Room {
    /// Accepts one more where there is room beyond doubt.
    pub(crate) fn accept(&self, org: OrgId, bounds: Bounds, now: MonotonicTime) -> bool {
        let mut known = self.0.lock();
        let accepted = known.accepted;
        let Some(counted) = known.of.get_mut(&org) else {
            return false;
        };
        let far = |count: u64, bound: u64| count < bound / 10 * 9;
        let all = counted.all + accepted - counted.accepted_before;
        let beyond_doubt = now.since(counted.at) < BELIEVED
            && far(all, bounds.all)
            && far(counted.own, bounds.own);
        if beyond_doubt {
            counted.own += 1;
            known.accepted += 1;
        }
        beyond_doubt
    }

    /// Remembers what was counted, with one more that is being accepted.
    pub(crate) fn counted(&self, org: OrgId, (all, own): (u64, u64), now: MonotonicTime) {
        let mut known = self.0.lock();
        if known.of.len() >= MOST {
            known.of.clear();
        }
        let counted = Counted {
            at: now,
            all,
            own: own + 1,
            accepted_before: known.accepted,
        };
        known.accepted += 1;
        known.of.insert(org, counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use primitives::Timestamp;

    const START: MonotonicTime = MonotonicTime::from_micros(0);
    const BOUNDS: Bounds = Bounds { all: 100, own: 50 };

    #[test]
    fn nothing_is_accepted_without_a_count_nor_near_a_bound_nor_for_long() {
        let (one, other) = (
            OrgId::generate(Timestamp::from_micros(0)),
            OrgId::generate(Timestamp::from_micros(9_000)),
        );
        let room = Room::default();
        assert!(!room.accept(one, BOUNDS, START));
        room.counted(one, (60, 40), START);
        // 41 and 61 with the one that was counted.
        for _ in 0..4 {
            assert!(room.accept(one, BOUNDS, START));
        }
        assert!(!room.accept(one, BOUNDS, START), "its own bound is near");
        room.counted(other, (65, 0), START);
        for _ in 0..24 {
            assert!(room.accept(other, BOUNDS, START));
        }
        assert!(
            !room.accept(other, BOUNDS, START),
            "the bound of all is near"
        );
        room.counted(other, (0, 0), START);
        let later = MonotonicTime::from_micros(1_000_000);
        assert!(!room.accept(other, BOUNDS, later), "the count is old");
    }
}
