//! Whose turn it is: charging, settling, and who holds more than its share.

use std::time::Duration;

use primitives::MonotonicTime;

use super::class::Class;
use super::entries::{Entry, Ticket};
use super::fair::FairQueue;
use crate::capacity::Portion;

/// One class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClassAccount {
    pub(super) time: u64,
    pub(super) newest_start: u64,
    pub(super) waiting: u32,
}

/// An organisation that called within this time may call again: a place is kept free for it.
const RECENT: Duration = Duration::from_mins(1);

impl<T> FairQueue<T> {
    /// Returns what a call may use of each capacity. Whose organisation runs more than a quarter of all that runs, and more than one
    /// and a half times its share, although others call too, leaves some [headroom](Portion::AllButHeadroom), so that the others do
    /// not wait for its calls to end.
    pub fn portion(&self, ticket: Ticket, now: MonotonicTime) -> Portion {
        let Some(organisation) = self.entries.get(ticket).map(|e| e.organisation) else {
            return Portion::Whole;
        };
        let others_call = self
            .callers
            .iter()
            .flatten()
            .any(|(caller, at)| *caller != organisation && now.since(*at) < RECENT);
        let runs = self
            .organisations
            .get(organisation)
            .map_or(0, |account| account.held - account.waiting);
        let sharing = self.organisations.active().max(2);
        let (runs, all) = (runs as usize, self.running());
        if others_call && runs * 4 > all && runs * sharing * 2 > all * 3 {
            Portion::AllButHeadroom {
                others: u32::try_from(all - runs).unwrap_or(u32::MAX),
            }
        } else {
            Portion::Whole
        }
    }

    /// Tells whether a call may not use [all](Portion::Whole) of each capacity: it then takes its turn through
    /// [`offer`](crate::offer) although nobody waits before it.
    pub fn is_heavy(&self, ticket: Ticket, now: MonotonicTime) -> bool {
        self.portion(ticket, now) != Portion::Whole
    }

    /// Lets the next organisation of a call's lane go before the call's own, which cannot use the room there is. Tells whether
    /// there is one.
    pub fn give_way(&mut self, ticket: Ticket) -> bool {
        let Some(entry) = self.entries.get(ticket) else {
            return false;
        };
        let Some(second) = self.lanes.second_time(entry.lane, entry.class) else {
            return false;
        };
        if let Some(account) = self.organisations.get_mut(entry.organisation) {
            account.time = account.time.max(second.saturating_add(1));
        }
        true
    }

    pub(super) fn note_caller(&mut self, organisation: u32, now: MonotonicTime) {
        let [last, before] = self.callers;
        if last.is_some_and(|(caller, _)| caller != organisation) {
            self.callers = [Some((organisation, now)), last];
        } else {
            self.callers = [Some((organisation, now)), before];
        }
    }

    /// Charges a call that gets its turn, once.
    pub(super) fn charge(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.get_mut(ticket) else {
            return;
        };
        if std::mem::replace(&mut entry.charged, true) {
            return;
        }
        let (class, cost) = (entry.class, entry.cost);
        let (organisation, user) = (entry.organisation, entry.user);
        let user_start = self.users.get_mut(user).map_or(0, |u| u.charge(cost));
        let account = &mut self.classes[class.index()];
        let class_start = account.time;
        account.time = account
            .time
            .saturating_add(cost.saturating_mul(1_024) / class.weight());
        if let Some(organisation) = self.organisations.get_mut(organisation) {
            let start = organisation.charge(cost);
            organisation.newest_start = organisation.newest_start.max(user_start);
            account.newest_start = account.newest_start.max(start);
        }
        if class != Class::System {
            self.newest_start = self.newest_start.max(class_start);
        }
    }

    /// Takes a charge back: the turn was not used.
    pub(super) fn refund(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.get_mut(ticket) else {
            return;
        };
        if !std::mem::take(&mut entry.charged) {
            return;
        }
        let (cost, organisation, user) = (entry.cost, entry.organisation, entry.user);
        if let Some(account) = self.organisations.get_mut(organisation) {
            account.settle(cost, 0);
        }
        if let Some(account) = self.users.get_mut(user) {
            account.settle(cost, 0);
        }
    }

    pub(super) fn settle(&mut self, entry: &Entry<T>, used: u64) {
        if let Some(account) = self.organisations.get_mut(entry.organisation) {
            account.settle(entry.cost, used);
        }
        if let Some(account) = self.users.get_mut(entry.user) {
            account.settle(entry.cost, used);
        }
    }

    pub(super) fn count_waiting(&mut self, ticket: Ticket) {
        self.waiting += 1;
        let organisation = self.entries.get(ticket).map(|e| e.organisation);
        if let Some(account) = organisation.and_then(|o| self.organisations.get_mut(o)) {
            account.waiting += 1;
        }
        let user = self.entries.get(ticket).map(|e| e.user);
        if let Some(account) = user.and_then(|u| self.users.get_mut(u)) {
            account.waiting += 1;
        }
    }

    pub(super) fn uncount_waiting(&mut self, class: Class, organisation: u32, user: u32) {
        self.waiting = self.waiting.saturating_sub(1);
        let class = &mut self.classes[class.index()];
        class.waiting = class.waiting.saturating_sub(1);
        if let Some(account) = self.organisations.get_mut(organisation) {
            account.waiting = account.waiting.saturating_sub(1);
        }
        if let Some(account) = self.users.get_mut(user) {
            account.waiting = account.waiting.saturating_sub(1);
        }
    }
}
