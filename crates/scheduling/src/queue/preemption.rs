//! Who gives its place up before its first token, so that somebody in front of a screen does not wait behind batch work.
//!
//! The owner of the queue asks [`FairQueue::preempt`] for a call that waits although seats could serve it. It stops the call that is
//! named, unless its first token came in the meantime ([`FairQueue::gives_way`]), puts it back to wait and offers the seat.

use super::class::Class;
use super::entries::{Standing, Ticket};
use super::fair::FairQueue;
use super::lanes::Lane;

/// How often one call is asked to give its place up: after that it runs to its end wherever it starts.
pub(super) const MAX_GAVE_WAY: u8 = 2;

/// A running call that gives its place up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// The call to be stopped and [put back](FairQueue::put_back).
    pub victim: Ticket,
    /// The seat where it runs. The call for which it goes has its turn there.
    pub seat: Lane,
}

impl<T> FairQueue<T> {
    /// Finds the running call that gives its place up for `waiting`: of those at `seats` that are of a class which
    /// [gives way](Class::may_preempt), have sent nothing and gave way less than twice, the one that started last, because it loses
    /// least. The waiting call gets its turn at that seat and goes first there.
    ///
    /// `seats` are the lanes of those seats that could serve the waiting call. `None` when nobody has to go, or when somebody goes
    /// for this call already: each call that waits costs one other its place at most.
    pub fn preempt(
        &mut self,
        waiting: Ticket,
        seats: impl IntoIterator<Item = Lane>,
    ) -> Option<Preemption> {
        let entry = self.entries.get(waiting)?;
        let waits = matches!(entry.standing, Standing::Waiting { .. });
        if !waits || entry.way_made || !entry.class.may_preempt(Class::Batch) {
            return None;
        }
        let ((_, slot), seat) = seats
            .into_iter()
            .filter_map(|seat| {
                let lane = self.lanes.get(self.lanes.find(seat)?)?;
                Some((*lane.preemptible.last()?, seat))
            })
            .max_by_key(|((start, _), _)| *start)?;
        let victim = self.entries.ticket(slot)?;
        let going = self.entries.get_mut(victim)?;
        going.standing = Standing::GivesWay;
        going.gave_way += 1;
        let lane = going.lane;
        self.unlist_preemptible(victim, lane);
        self.reserve(waiting, seat);
        if let Some(entry) = self.entries.get_mut(waiting) {
            entry.way_made = true;
        }
        Some(Preemption { victim, seat })
    }

    /// Tells whether a call was asked to give its place up and has sent nothing since: it may still be stopped.
    pub fn gives_way(&self, ticket: Ticket) -> bool {
        self.entries
            .get(ticket)
            .is_some_and(|entry| entry.standing == Standing::GivesWay)
    }

    /// Notes that a running call has its first token: from now on nothing pushes it back, not even when it was asked to give way.
    pub fn first_token(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.get_mut(ticket) else {
            return;
        };
        if let Standing::Running { preemptible: true } | Standing::GivesWay = entry.standing {
            entry.standing = Standing::Running { preemptible: false };
            let lane = entry.lane;
            self.unlist_preemptible(ticket, lane);
        }
    }

    pub(super) fn unlist_preemptible(&mut self, ticket: Ticket, lane: u32) {
        if let Some(lane) = self.lanes.get_mut(lane)
            && let Some(at) = lane
                .preemptible
                .iter()
                .rposition(|(_, slot)| *slot == ticket.slot())
        {
            lane.preemptible.remove(at);
        }
    }
}
