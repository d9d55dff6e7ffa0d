//! Where a waiting call stands: in the flow of its user, in the order of arrival.

use super::entries::{NONE, Standing, Ticket};
use super::fair::{CurrentTimes, FairQueue};

impl<T> FairQueue<T> {
    /// Links an entry into its user's flow in `lane`, in the order of arrival.
    pub(super) fn link(&mut self, ticket: Ticket, lane: u32) {
        let Some(entry) = self.entries.get(ticket) else {
            return;
        };
        let sequence = entry.sequence;
        let times = CurrentTimes(&self.organisations, &self.users);
        let index = self
            .lanes
            .join(lane, entry.class, entry.organisation, entry.user, &times);
        let Some(flow) = self.lanes.flow_mut(index) else {
            return;
        };
        // Who comes from another lane is mostly older than everybody here or younger: seldom more than a step.
        let mut next = NONE;
        let mut prev = flow.tail;
        if let Some(head) = self.entries.at(flow.head)
            && head.sequence > sequence
        {
            next = flow.head;
            prev = NONE;
        }
        while let Some(older) = self.entries.at(prev) {
            if older.sequence < sequence {
                break;
            }
            next = prev;
            prev = match older.standing {
                Standing::Waiting { prev, .. } => prev,
                Standing::Running { .. } | Standing::GivesWay => NONE,
            };
        }
        if prev == NONE {
            flow.head = ticket.slot();
        }
        if next == NONE {
            flow.tail = ticket.slot();
        }
        flow.len += 1;
        self.set_next(prev, ticket.slot());
        self.set_prev(next, ticket.slot());
        if let Some(entry) = self.entries.get_mut(ticket) {
            entry.lane = lane;
            entry.standing = Standing::Waiting {
                flow: index,
                prev,
                next,
            };
        }
    }

    /// Takes a waiting entry out of its flow; returns its lane, or `None` when it does not wait.
    pub(super) fn unlink(&mut self, ticket: Ticket) -> Option<u32> {
        let entry = self.entries.get_mut(ticket)?;
        let Standing::Waiting { flow, prev, next } = entry.standing else {
            return None;
        };
        entry.standing = Standing::Running { preemptible: false };
        let lane = entry.lane;
        self.set_next(prev, next);
        self.set_prev(next, prev);
        if let Some(flow) = self.lanes.flow_mut(flow) {
            if prev == NONE {
                flow.head = next;
            }
            if next == NONE {
                flow.tail = prev;
            }
            flow.len = flow.len.saturating_sub(1);
        }
        self.lanes.leave(flow);
        Some(lane)
    }

    fn set_next(&mut self, slot: u32, to: u32) {
        if let Some(entry) = self.entries.at_mut(slot)
            && let Standing::Waiting { next, .. } = &mut entry.standing
        {
            *next = to;
        }
    }

    fn set_prev(&mut self, slot: u32, to: u32) {
        if let Some(entry) = self.entries.at_mut(slot)
            && let Standing::Waiting { prev, .. } = &mut entry.standing
        {
            *prev = to;
        }
    }
}
