//! The requests that are in the system, in slots that are used again: memory goes with how many there are at a time.

use super::spot::Spot;
use crate::queue::Ticket;

/// One request from its arrival to its end.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) model: u32,
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u32,
    pub(super) blocks: Vec<u64>,
    pub(super) tenant: u64,
    pub(super) floods: bool,
    pub(super) ticket: Option<Ticket>,
    pub(super) arrived_us: u64,
    pub(super) sent_us: u64,
    pub(super) first_token_us: Option<u64>,
    pub(super) cached_tokens: u32,
    pub(super) tries: u32,
    /// What it waits for.
    pub(super) waits_for: Option<Spot>,
    /// The seat it runs at.
    pub(super) seat: Option<u32>,
    /// Tokens it will probably cost a node.
    pub(super) expected_tokens: u64,
    /// Prompt tokens counted where it waits.
    pub(super) parked_prompt_tokens: u64,
    /// Prompt tokens counted as unread where it runs.
    pub(super) pending_prompt_tokens: u64,
    /// Tokens counted as queued where it runs.
    pub(super) queued_tokens: u64,
}

/// All requests in the system.
#[derive(Debug, Default)]
pub(super) struct Requests {
    slots: Vec<Option<Request>>,
    free: Vec<u32>,
}

impl Requests {
    pub(super) fn insert(&mut self, request: Request) -> u32 {
        if let Some(free) = self.free.pop() {
            if let Some(slot) = self.slots.get_mut(free as usize) {
                *slot = Some(request);
            }
            return free;
        }
        self.slots.push(Some(request));
        self.slots.len() as u32 - 1
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<Request> {
        let request = self.slots.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(request)
    }

    pub(super) fn get(&self, number: u32) -> Option<&Request> {
        self.slots.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Request> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    /// Returns the blocks of a request's prompt.
    pub(super) fn blocks(&self, number: u32) -> &[u64] {
        self.get(number).map_or(&[], |request| &request.blocks)
    }
}
