//! How the seats stand, as rows to decide over: what changed is described anew before the next decision, the rest stays.

use std::time::Duration;

use primitives::MonotonicTime;

use super::router::{Router, Seat};
use crate::breaker::BreakerVerdict;
use crate::call::{Candidate, Residency};
use crate::capacity::Portion;
use crate::estimate::Priors;
use crate::residency::{NodeModels, RunVerdict, may_run};
use crate::row::Row;

/// A node may have unread prompts for this time in front of it.
const PROMPT_BUDGET_S: f32 = 0.25;

/// Lines at other nodes that are offered what became free: a bound for large fleets.
const OFFERED_ELSEWHERE: usize = 32;

/// Returns how many unread tokens a seat may have before it takes no more.
fn prompt_budget(prefill_tokens_per_s: Option<f32>) -> u64 {
    (prefill_tokens_per_s.unwrap_or(Priors::PREFILL_TOKENS_PER_S) * PROMPT_BUDGET_S) as u64
}

/// Notes that the rows of a node are out of date.
pub(super) fn make_dirty(dirty: &mut Vec<u32>, is_dirty: &mut [bool], node: u32) {
    if let Some(flag) = is_dirty.get_mut(node as usize)
        && !std::mem::replace(flag, true)
    {
        dirty.push(node);
    }
}

/// What is found out about a seat.
struct Described {
    row: Row,
    verdict: RunVerdict,
    /// Whether it changes by time alone, or by what happens elsewhere.
    is_volatile: bool,
}

impl Router<'_> {
    /// Brings the rows of a model up to date.
    pub(super) fn refresh(&mut self, model: u32) {
        while let Some(node) = self.dirty.pop() {
            self.is_dirty[node as usize] = false;
            for place in 0..self.node_seats[node as usize].len() {
                self.describe(self.node_seats[node as usize][place]);
            }
        }
        let mut volatile = std::mem::take(&mut self.models[model as usize].volatile);
        let mut look_again: Option<Duration> = None;
        volatile.retain(|number| {
            self.contest(*number);
            let held = self.describe(*number);
            look_again = look_again.into_iter().chain(held).min();
            self.seats[*number as usize].is_volatile
        });
        // A contest that began or ended changes the rows of the models that hold the node.
        volatile.append(&mut self.models[model as usize].volatile);
        self.models[model as usize].volatile = volatile;
        if let Some(held) = look_again {
            let at = self.now_us + held.as_micros() as u64;
            self.look_again_us = Some(self.look_again_us.map_or(at, |sooner| sooner.min(at)));
        }
    }

    /// Tells whether a seat has room for a call that may use all there is.
    pub(super) fn has_room(&self, number: u32) -> bool {
        let seat = &self.seats[number as usize];
        let budget = prompt_budget(seat.speed.prefill_tokens_per_s());
        seat.capacity.has_room(Portion::Whole, budget)
    }

    /// Tells whether a seat has a place free, although prompts may be unread there.
    pub(super) fn has_place(&self, number: u32) -> bool {
        let capacity = &self.seats[number as usize].capacity;
        capacity.in_flight() < capacity.limit()
    }

    /// Lists seats of a model that calls wait for: all of them if they are few, otherwise some, others each `turn`.
    pub(super) fn awaited(&self, model: u32, turn: u32) -> impl Iterator<Item = u32> {
        let awaited = &self.models[model as usize].awaited;
        let from = if awaited.len() <= OFFERED_ELSEWHERE {
            0
        } else {
            // An odd multiplier spreads the turns over all seats.
            turn.wrapping_mul(0x9E37_79B1) % self.seats.len().max(1) as u32
        };
        awaited
            .range(from..)
            .chain(awaited.range(..from))
            .take(OFFERED_ELSEWHERE)
            .copied()
    }

    /// Notes whether calls for other models wait for the node of a seat.
    fn contest(&mut self, number: u32) {
        let node = self.seats[number as usize].node;
        if !self.swaps(node) {
            return;
        }
        let (now, others) = (self.now(), self.waiting_for(node, false) > 0);
        let hold = &mut self.loads[node as usize].hold;
        if hold.is_contested() != others {
            hold.contest(others, now);
            make_dirty(&mut self.dirty, &mut self.is_dirty, node);
        }
    }

    /// Tells whether the models of a node may have to give way to each other.
    fn swaps(&self, node: u32) -> bool {
        self.node_seats[node as usize].len() > 1 && self.specs[node as usize].memory_bytes.is_some()
    }

    /// Makes a seat's row anew; returns how long its node is held by another model.
    fn describe(&mut self, number: u32) -> Option<Duration> {
        let Described {
            row,
            verdict,
            is_volatile,
        } = self.described(number);
        let seat = &mut self.seats[number as usize];
        let model = &mut self.models[seat.model as usize];
        model.rows.set(seat.position as usize, row);
        let reads_nothing = seat.capacity.is_reading_none();
        if std::mem::replace(&mut seat.reads_nothing, reads_nothing) != reads_nothing {
            if reads_nothing {
                model.idle_readers += 1;
            } else {
                model.idle_readers -= 1;
            }
        }
        if !std::mem::replace(&mut seat.is_volatile, is_volatile) && is_volatile {
            model.volatile.push(number);
        }
        verdict.look_again()
    }

    fn described(&self, number: u32) -> Described {
        let now = self.now();
        let seat = &self.seats[number as usize];
        let verdict = self.verdict(seat, now);
        let candidate = self.candidate(seat, now);
        let budget = prompt_budget(candidate.prefill_tokens_per_s);
        let is_full = |portion| !verdict.has_room() || !seat.capacity.has_room(portion, budget);
        let mut row = Row::of(&candidate, &[]);
        row.set_full(
            is_full(Portion::Whole),
            is_full(Portion::AllButHeadroom { others: 0 }),
        );
        row.set_reading(!seat.capacity.is_reading_none());
        let is_held = self.loads[seat.node as usize].hold.is_contested();
        Described {
            row,
            verdict,
            is_volatile: candidate.breaker != BreakerVerdict::Allow
                || verdict != RunVerdict::Ready
                || (self.swaps(seat.node) && is_held),
        }
    }

    /// Tells whether every row of a model is as if it were made now.
    pub(super) fn is_current(&self, model: u32) -> bool {
        let model = &self.models[model as usize];
        model
            .seats
            .iter()
            .zip(model.rows.as_slice())
            .all(|(seat, row)| self.described(*seat).row == *row)
    }

    fn candidate(&self, seat: &Seat, now: MonotonicTime) -> Candidate<'static> {
        let place = seat.node as usize;
        let (node, spec, load) = (&self.nodes[place], self.specs[place], &self.loads[place]);
        let unread: u64 = self.node_seats[place]
            .iter()
            .map(|seat| self.seats[*seat as usize].capacity.pending_prompt_tokens())
            .sum();
        Candidate {
            residency: if node.is_loaded(seat.model) {
                Residency::Loaded { context: None }
            } else {
                Residency::OnDisk
            },
            in_flight: load.in_flight,
            queued_tokens: load.queued_tokens + load.waiting_tokens,
            pending_prompt_tokens: Some(unread + load.waiting_prompt_tokens),
            waiting: load.waiting,
            slots: Some(spec.slots),
            decode_tokens_per_s: seat.speed.decode_tokens_per_s(),
            prefill_tokens_per_s: seat.speed.prefill_tokens_per_s(),
            ttft_ewma_ms: seat.speed.ttft_ms(),
            context_max: spec.context,
            model_bytes: Some(self.models[seat.model as usize].bytes),
            memory_free_bytes: node.free_bytes(),
            breaker: seat.breaker.verdict(now),
            ..Candidate::new(self.ids[place], "")
        }
    }

    /// Tells whether a seat's model may run on its node now as far as the other models there are concerned.
    fn verdict(&self, seat: &Seat, now: MonotonicTime) -> RunVerdict {
        let place = seat.node as usize;
        let node = &self.nodes[place];
        let present = node.has_or_loads(seat.model);
        if present && !self.swaps(seat.node) {
            return RunVerdict::Ready;
        }
        let model = &self.models[seat.model as usize];
        let memory = NodeModels {
            present,
            loading_elsewhere: !present && self.cold_loads.loading(&model.name, now).is_some(),
            node_loads: node.is_loading(),
            model_bytes: Some(model.bytes),
            free_bytes: node.free_bytes(),
            idle_bytes: node.idle_bytes(),
            waiting_for_present: self.waiting_for(seat.node, true),
            waiting_for_others: self.waiting_for(seat.node, false),
        };
        may_run(&memory, &self.loads[place].hold, self.hold, now)
    }

    /// Counts the calls that wait for models which a node has, or has not.
    fn waiting_for(&self, node: u32, present: bool) -> u32 {
        self.node_seats[node as usize]
            .iter()
            .map(|seat| &self.seats[*seat as usize])
            .filter(|seat| self.nodes[node as usize].has_or_loads(seat.model) == present)
            .map(|seat| {
                let asking = u32::from(self.asking == Some(seat.model));
                seat.reserved + seat.in_line + self.models[seat.model as usize].waiting + asking
            })
            .sum()
    }
}
