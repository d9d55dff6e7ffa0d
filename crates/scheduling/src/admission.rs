//! Brings queue and policy together: who waits is offered what has room, and the policy says whether it goes there, waits for a
//! node that is worth waiting for, or waits for any.
//!
//! The live gateway and the simulator both go through [`offer`]; neither decides anything about order or place by itself.

use primitives::MonotonicTime;

use crate::call::Call;
use crate::capacity::Portion;
use crate::policy::RoutingPolicy;
use crate::queue::{FairQueue, Lane, Ticket};
use crate::row::{LeaveOut, MAX_RESERVED, Row, View};

/// What happens to a call now. Candidates are named by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It starts at this candidate.
    Start(usize),
    /// It waits for this candidate, which has no room now, although others may have.
    WaitFor(usize),
    /// It waits until any candidate has room.
    WaitForAny,
    /// Nobody may serve it now, with room or without.
    Nobody,
}

/// A prefix is worth standing in line for when more than this part of the prompt would have to be read again elsewhere.
const WORTH_A_LINE: u32 = 4;

/// Tells whether one more call that [waits for](Step::WaitFor) a seat gets its turn there at once ([`Placement::Reserve`]), when
/// `reserved` calls have theirs. Further ones wait in line for the seat without a turn ([`Placement::Move`]): they would hold
/// their places against whoever comes later with more right to them.
pub const fn may_reserve(reserved: u32) -> bool {
    reserved < MAX_RESERVED
}

/// Decides for a call to which waiting for a certain node is never worth it: any with room will do.
pub fn step_anywhere(policy: &dyn RoutingPolicy, call: &Call<'_>, view: View<'_>) -> Step {
    match policy.pick_of(call, &view.leaving_out(LeaveOut::Full)) {
        Some(index) => Step::Start(index),
        None if view.rows.iter().any(|row| view.is_eligible(call, row)) => Step::WaitForAny,
        None => Step::Nobody,
    }
}

/// Decides what happens to a call among candidates of which some are [full](crate::Candidate::full).
///
/// Where all are full the decision is left for later, when more is known. A call that cannot use the room there is goes to wait
/// for a node that it can use, so that it does not stand before those who can. While others have room, the full ones are left out for
/// policies that do not [wait for nodes](RoutingPolicy::waits_for_nodes).
pub fn step_of(policy: &dyn RoutingPolicy, call: &Call<'_>, view: View<'_>) -> Step {
    let view = view.yielding(call);
    let mut room = false;
    let mut room_for_others = false;
    let mut eligible = false;
    for row in view.rows {
        if view.is_eligible(call, row) {
            eligible = true;
            room = !view.is_full(row);
            if room {
                break;
            }
        } else {
            room_for_others |= !view.is_full(row);
        }
    }
    if !eligible {
        return Step::Nobody;
    }
    if !room && !room_for_others {
        return Step::WaitForAny;
    }
    let view = if room && !policy.waits_for_nodes() {
        view.leaving_out(LeaveOut::Full)
    } else {
        view
    };
    let Some(first) = policy.pick_of(call, &view) else {
        return Step::Nobody;
    };
    let is_full = |index| view.get(index).is_some_and(|row| view.is_full(row));
    let blocks = |index| {
        view.get(index)
            .map_or(0, |row| u32::from(row.prefix_blocks))
    };
    if !is_full(first) {
        return Step::Start(first);
    }
    if !room || !view.get(first).is_some_and(Row::has_long_line) {
        return Step::WaitFor(first);
    }
    // Standing in a line is worth it for a cache, not for a faster node: that one will have lost its lead by then.
    match policy.pick_of(call, &view.leaving_out(LeaveOut::FullWithLongLine)) {
        Some(second)
            if blocks(first).saturating_sub(blocks(second)) * WORTH_A_LINE
                <= call.prefix.len() as u32 =>
        {
            if is_full(second) {
                Step::WaitFor(second)
            } else {
                Step::Start(second)
            }
        }
        _ => Step::WaitFor(first),
    }
}

/// What the owner of the queue does for [`offer`]: decides and starts with its own view of the fleet.
pub trait Dispatch<T> {
    /// Decides what happens to a waiting call now, usually by [`step_of`]. The candidates' lanes stand for them. What is
    /// [full](crate::Candidate::full) depends on the portion of each capacity that the call may use.
    fn decide(&mut self, ticket: Ticket, waiting: &T, portion: Portion) -> Placement;
    /// Starts a call at the seat it was given. The queue counts it as running.
    fn start(&mut self, ticket: Ticket, waiting: T, seat: Lane);
}

/// A [`Step`] with the lanes of the candidates in place of their indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Start at this seat.
    Start(Lane),
    /// Wait for this seat: it has its turn, and goes before those who wait for any.
    Reserve(Lane),
    /// Wait in another lane, without a turn: nobody can serve it now, or somebody can again.
    Move(Lane),
    /// Stay.
    Stay,
}

/// Decisions made for one event at most: what is left is decided at the next one.
const DECISIONS: usize = 16;

/// Offers room to those who wait in `lanes`, in the queue's order, until nobody more can start; returns how many started.
///
/// To be called when a call was pushed (with its lane), and when something became free: first with the lane of those who have
/// their turn there, then with the lanes of those who wait in line for it and of the models that could use it, together.
pub fn offer<T>(
    queue: &mut FairQueue<T>,
    lanes: &[Lane],
    now: MonotonicTime,
    dispatch: &mut impl Dispatch<T>,
) -> usize {
    let mut started = 0;
    // Lanes whose next call cannot start: nobody behind it can either, but those in other lanes may.
    let mut stuck: Vec<Lane> = Vec::new();
    for _ in 0..DECISIONS {
        let open = lanes.iter().filter(|lane| !stuck.contains(lane));
        let Some(ticket) = queue.next(open.copied()) else {
            break;
        };
        let portion = queue.portion(ticket, now);
        let Some(waiting) = queue.payload(ticket) else {
            break;
        };
        match dispatch.decide(ticket, waiting, portion) {
            Placement::Start(seat) => {
                if let Some(waiting) = queue.start(ticket, seat, now) {
                    dispatch.start(ticket, waiting, seat);
                    started += 1;
                }
            }
            Placement::Stay if portion != Portion::Whole && queue.give_way(ticket) => {}
            Placement::Reserve(lane) => queue.reserve(ticket, lane),
            Placement::Move(lane) => queue.move_to(ticket, lane),
            Placement::Stay => stuck.extend(queue.lane_of(ticket)),
        }
    }
    started
}
