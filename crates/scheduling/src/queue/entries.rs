//! The calls themselves, in slots that are used again: a ticket is a slot's number and how often it was used.

use primitives::MonotonicTime;

use super::class::Class;

/// A call that waits or runs. Only a number: copying it does nothing, and once the call has ended it means nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    slot: u32,
    generation: u32,
}

impl Ticket {
    /// Returns the ticket as one number, for logs and maps.
    pub const fn as_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    pub(super) const fn slot(self) -> u32 {
        self.slot
    }
}

/// Stands for "no slot" in links.
pub(super) const NONE: u32 = u32::MAX;

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In a flow, between two others.
    Waiting { flow: u32, prev: u32, next: u32 },
    /// Started; `preemptible` until its first token.
    Running { preemptible: bool },
    /// Started, and asked to give its place up.
    GivesWay,
}

/// One call.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) payload: Option<T>,
    pub(super) standing: Standing,
    pub(super) class: Class,
    /// The lane it waits in, or runs at.
    pub(super) lane: u32,
    pub(super) organisation: u32,
    pub(super) user: u32,
    /// Weighted tokens, as estimated.
    pub(super) cost: u64,
    /// Whether they were charged: when it has its turn, which is before it runs if it waits for a seat then.
    pub(super) charged: bool,
    /// Orders the calls of one user.
    pub(super) sequence: u64,
    pub(super) since: MonotonicTime,
    /// How often it gave its place up for another call.
    pub(super) gave_way: u8,
    /// Whether a call was asked to give its place up for this one.
    pub(super) way_made: bool,
}

#[derive(Debug)]
enum Slot<T> {
    Used(Entry<T>),
    Free { next: u32 },
}

/// All calls that wait or run.
#[derive(Debug)]
pub(super) struct Entries<T> {
    slots: Vec<(u32, Slot<T>)>,
    first_free: u32,
    used: usize,
}

impl<T> Entries<T> {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            first_free: NONE,
            used: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.used
    }

    pub(super) fn insert(&mut self, entry: Entry<T>) -> Ticket {
        self.used += 1;
        if let Some((generation, slot)) = self.slots.get_mut(self.first_free as usize) {
            let index = self.first_free;
            if let Slot::Free { next } = *slot {
                self.first_free = next;
            }
            *slot = Slot::Used(entry);
            return Ticket {
                slot: index,
                generation: *generation,
            };
        }
        self.slots.push((0, Slot::Used(entry)));
        Ticket {
            slot: self.slots.len() as u32 - 1,
            generation: 0,
        }
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Entry<T>> {
        self.get(ticket)?;
        let (generation, slot) = self.slots.get_mut(ticket.slot as usize)?;
        *generation = generation.wrapping_add(1);
        let freed = Slot::Free {
            next: self.first_free,
        };
        self.first_free = ticket.slot;
        self.used -= 1;
        match std::mem::replace(slot, freed) {
            Slot::Used(entry) => Some(entry),
            Slot::Free { .. } => None,
        }
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Entry<T>> {
        match self.slots.get(ticket.slot as usize)? {
            (generation, Slot::Used(entry)) if *generation == ticket.generation => Some(entry),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Entry<T>> {
        match self.slots.get_mut(ticket.slot as usize)? {
            (generation, Slot::Used(entry)) if *generation == ticket.generation => Some(entry),
            _ => None,
        }
    }

    /// Returns the ticket of whoever uses `slot` now.
    pub(super) fn ticket(&self, slot: u32) -> Option<Ticket> {
        match self.slots.get(slot as usize)? {
            (generation, Slot::Used(_)) => Some(Ticket {
                slot,
                generation: *generation,
            }),
            _ => None,
        }
    }

    pub(super) fn at(&self, slot: u32) -> Option<&Entry<T>> {
        match self.slots.get(slot as usize)? {
            (_, Slot::Used(entry)) => Some(entry),
            _ => None,
        }
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> Option<&mut Entry<T>> {
        match self.slots.get_mut(slot as usize)? {
            (_, Slot::Used(entry)) => Some(entry),
            _ => None,
        }
    }
}
