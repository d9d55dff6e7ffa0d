//! What everybody was given so far: the virtual times of organisations and users.

use std::collections::VecDeque;
use std::hash::Hash;

use crate::hashing::NumberMap;

/// One participant's account.
#[derive(Clone, Debug)]
pub(super) struct Account<K> {
    key: K,
    /// Weighted tokens it was given, on the scale of those it competes with. Never gets smaller.
    pub(super) time: u64,
    /// What it was charged too much, to be taken off its next charge.
    credit: u64,
    /// The start of the last call given to somebody below this account: where newcomers there begin.
    pub(super) newest_start: u64,
    /// Calls that wait.
    pub(super) waiting: u32,
    /// Calls that wait or run.
    pub(super) held: u32,
    /// Which of its idle times this is.
    idle_stamp: u64,
}

impl<K> Account<K> {
    /// Charges the start of a call; returns the virtual time at which it started.
    pub(super) fn charge(&mut self, cost: u64) -> u64 {
        let start = self.time;
        let due = cost.saturating_sub(self.credit);
        self.credit -= cost - due;
        self.time = self.time.saturating_add(due);
        start
    }

    /// Corrects a charge by what was really used.
    pub(super) fn settle(&mut self, charged: u64, used: u64) {
        if used >= charged {
            self.charge(used - charged);
        } else {
            self.credit = self.credit.saturating_add(charged - used);
        }
    }
}

/// Accounts by key. Those with nothing waiting or running are remembered for a while, so that going away does not wipe out
/// what one was given; at most [`IDLE`] of them.
#[derive(Debug)]
pub(super) struct Accounts<K> {
    index: NumberMap<K, u32>,
    slots: Vec<Option<Account<K>>>,
    free: Vec<u32>,
    idle: VecDeque<(u32, u64)>,
    stamps: u64,
    active: usize,
}

/// Idle accounts remembered.
const IDLE: usize = 4_096;

impl<K: Copy + Eq + Hash> Accounts<K> {
    pub(super) fn new() -> Self {
        Self {
            index: NumberMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            idle: VecDeque::new(),
            stamps: 0,
            active: 0,
        }
    }

    /// Returns the account of `key`, made at first use with the virtual time `start`; one more call holds it.
    pub(super) fn hold(&mut self, key: K, start: u64) -> u32 {
        let index = if let Some(index) = self.index.get(&key) {
            *index
        } else {
            let account = Account {
                key,
                time: start,
                credit: 0,
                newest_start: 0,
                waiting: 0,
                held: 0,
                idle_stamp: 0,
            };
            let index = if let Some(index) = self.free.pop() {
                if let Some(slot) = self.slots.get_mut(index as usize) {
                    *slot = Some(account);
                }
                index
            } else {
                self.slots.push(Some(account));
                self.slots.len() as u32 - 1
            };
            self.index.insert(key, index);
            index
        };
        if let Some(account) = self.get_mut(index) {
            if account.waiting == 0 {
                // Whoever was away cannot have saved up the time.
                account.time = account.time.max(start);
            }
            account.held += 1;
            if account.held == 1 {
                self.active += 1;
            }
        }
        index
    }

    /// Counts the accounts that have calls waiting or running.
    pub(super) const fn active(&self) -> usize {
        self.active
    }

    /// Lets go of a call's hold.
    pub(super) fn release(&mut self, index: u32) {
        self.stamps += 1;
        let stamp = self.stamps;
        let Some(account) = self.get_mut(index) else {
            return;
        };
        account.held = account.held.saturating_sub(1);
        if account.held > 0 {
            return;
        }
        account.idle_stamp = stamp;
        self.active = self.active.saturating_sub(1);
        self.idle.push_back((index, stamp));
        while self.idle.len() > IDLE {
            if let Some((index, stamp)) = self.idle.pop_front() {
                self.forget(index, stamp);
            }
        }
    }

    fn forget(&mut self, index: u32, stamp: u64) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        if let Some(account) = slot.take_if(|a| a.held == 0 && a.idle_stamp == stamp) {
            self.index.remove(&account.key);
            self.free.push(index);
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<&Account<K>> {
        self.slots.get(index as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Account<K>> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn find(&self, key: &K) -> Option<u32> {
        self.index.get(key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_a_million_visitors_are_not_kept() {
        let mut accounts = Accounts::new();
        for visitor in 0..1_000_000_u32 {
            let index = accounts.hold(visitor, 0);
            accounts.release(index);
        }
        assert_eq!(accounts.active(), 0);
        assert_eq!(accounts.index.len(), IDLE);
        assert!(accounts.slots.len() <= IDLE + 1);
    }

    #[test]
    fn going_away_does_not_wipe_out_what_one_was_given() {
        let mut accounts = Accounts::new();
        let index = accounts.hold(7_u32, 0);
        if let Some(account) = accounts.get_mut(index) {
            account.charge(500);
            account.settle(500, 300);
            account.charge(100);
        }
        accounts.release(index);
        let again = accounts.hold(7_u32, 10);
        assert_eq!(accounts.get(again).map(|a| a.time), Some(500));
    }
}
