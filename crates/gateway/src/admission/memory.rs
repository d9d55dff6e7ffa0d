//! What is in the nodes' memory, as far as admission must know: which call would load a model, and whom that would drive out.
//! The rules are those of `scheduling`; this keeps the books for them.
//!
//! Nodes tell what they hold at every probe; between two probes it is followed from here. How much fits is learned: models seen
//! together fit together, and a model that vanished when another one came did not fit beside it. While nobody knows, whoever
//! generates is not risked: one more model is tried when the others have come to an end.

mod loading;

use std::sync::Arc;

use cluster::ModelView;
use primitives::{MonotonicTime, NodeId};
use scheduling::{HoldRule, LearnedMemory, ModelHold, NodeModels, RunVerdict, may_run};

use super::hall::Hall;
use super::spot::ModelKey;

/// A model that vanished within this time after its last call was driven out; nodes keep idle models for minutes.
const DRIVEN_OUT_WITHIN_US: u64 = 30_000_000;
/// What a node tells may be this much older than a load that was seen here: then it is not believed.
const PROBE_LAG_US: u64 = 1_000_000;

/// One model in, or out of, a node's memory.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact, and none excludes another"
)]
#[derive(Clone, Debug, Default)]
pub(super) struct SeatMemory {
    /// Whether the node tells what it has in memory; where it does not, everything counts as there.
    is_told: bool,
    /// Whether it told last that the model is loaded.
    told_loaded: bool,
    present: bool,
    /// The seat whose load it probably had to make room for; the node will tell.
    gone_for: Option<u32>,
    /// Since when it is being loaded.
    loading: Option<MonotonicTime>,
    /// Whether it is loaded ahead of need: no call at the seat waits for that.
    ahead: bool,
    /// When a load ahead of need failed there.
    ahead_failed: Option<MonotonicTime>,
    /// Whether nothing but room speaks against sending calls there.
    usable: bool,
    /// What it takes: measured where it was loaded once, the size of its file before.
    bytes: Option<u64>,
    last_used: Option<MonotonicTime>,
    loaded_at: Option<MonotonicTime>,
}

impl SeatMemory {
    /// Tells whether the model is in memory, or on its way there.
    const fn is_there(&self) -> bool {
        self.present || self.loading.is_some()
    }
}

/// The memory of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeMemory {
    hold: ModelHold,
    learned: LearnedMemory,
    /// Seats whose model is in memory, or on its way there.
    there: Vec<u32>,
    /// The seat of the model that is, or was last, loaded, until the node tells that it is there.
    newcomer: Option<u32>,
    /// Whether nobody knows who had to go for it.
    in_doubt: bool,
    /// What the node told last.
    told: Option<Arc<[ModelView]>>,
}

/// What a node tells of one of its models.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) seat: u32,
    /// Whether it tells at all.
    pub(super) tells: bool,
    pub(super) loaded: bool,
    pub(super) bytes: Option<u64>,
}

/// What a node's memory says to a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemorySeen {
    pub(super) verdict: RunVerdict,
    /// Whether the model is there; `None` where nobody knows.
    pub(super) there: Option<bool>,
    /// Memory that is free for the model, where it matters and is known.
    pub(super) free_bytes: Option<u64>,
}

impl MemorySeen {
    const UNKNOWN: Self = Self {
        verdict: RunVerdict::Ready,
        there: None,
        free_bytes: None,
    };
}

/// How a call finds the memory of a node, and what else must be known to load a model there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Findings {
    pub(super) models: NodeModels,
    /// Memory of models that nobody uses, used lately or waits for.
    pub(super) unused_bytes: u64,
    /// Whether no other model is there.
    pub(super) is_empty: bool,
}

impl Hall {
    /// Takes in what a node tells of its models; returns how many were driven out since it last did.
    pub(super) fn observe(
        &mut self,
        all: &Arc<[ModelView]>,
        told: &[Told],
        now: MonotonicTime,
    ) -> u64 {
        let first = told.first().and_then(|told| self.seat(told.seat));
        let Some(number) = first.map(|seat| seat.node) else {
            return 0;
        };
        let Some(node) = self.node(number) else {
            return 0;
        };
        let known = node.memory.told.as_ref();
        if known.is_some_and(|known| Arc::ptr_eq(known, all)) {
            return 0;
        }
        let newcomer = node.memory.newcomer;
        let newcomer_told = told
            .iter()
            .any(|told| Some(told.seat) == newcomer && told.loaded);
        let is_recent = |seat: u32| {
            self.seat(seat).is_some_and(|seat| {
                let loaded_at = seat.memory.loaded_at;
                seat.memory.loading.is_some()
                    || loaded_at.is_some_and(|at| elapsed_us(at, now) < PROBE_LAG_US)
            })
        };
        let stale = !newcomer_told && newcomer.is_some_and(is_recent);
        let (mut together, mut driven_out, mut gone) = (0_u64, 0_u64, 0);
        for told in told {
            let Some(seat) = self.seat_mut(told.seat) else {
                continue;
            };
            let in_flight = seat.capacity.in_flight();
            let memory = &mut seat.memory;
            memory.is_told = told.tells;
            if told.loaded || memory.bytes.is_none() {
                memory.bytes = told.bytes.or(memory.bytes);
            }
            if stale {
                continue;
            }
            let was = memory.present || memory.gone_for.take().is_some();
            memory.told_loaded = told.loaded;
            // Whatever generates is there.
            memory.present = told.loaded || (was && in_flight > 0);
            let bytes = memory.bytes.unwrap_or(0);
            let used_lately = memory
                .last_used
                .is_some_and(|at| elapsed_us(at, now) < DRIVEN_OUT_WITHIN_US);
            if told.loaded {
                together = together.saturating_add(bytes);
            } else if was && in_flight == 0 && used_lately {
                driven_out = driven_out.saturating_add(bytes);
                gone += 1;
            }
            self.note_presence(told.seat);
        }
        if stale {
            return 0;
        }
        let Some(node) = self.node_mut(number) else {
            return 0;
        };
        let memory = &mut node.memory;
        memory.told = Some(all.clone());
        memory.in_doubt = false;
        memory.learned.seen(together);
        if !newcomer_told {
            return 0;
        }
        memory.newcomer = None;
        if driven_out > 0 {
            let both = together.saturating_add(driven_out);
            memory.learned.driven_out(both);
        }
        gone
    }

    /// Notes whether a seat could be used if there was room: calls for models that cannot be had there are no reason to give up
    /// the ones that are.
    pub(super) fn set_usable(&mut self, number: u32, usable: bool) {
        if let Some(seat) = self.seat_mut(number) {
            seat.memory.usable = usable;
        }
    }

    /// Decides whether the memory of a seat's node lets a call run there now.
    pub(super) fn may_run(&mut self, number: u32, now: MonotonicTime) -> MemorySeen {
        let Some(seat) = self.seat(number).filter(|seat| seat.memory.is_told) else {
            return MemorySeen::UNKNOWN;
        };
        let (node, present) = (seat.node, seat.memory.present);
        if seat.memory.is_there() && self.nobody_waits() {
            return MemorySeen {
                there: Some(present),
                ..MemorySeen::UNKNOWN
            };
        }
        let found = self.findings(number, now);
        let (Some(found), Some(node)) = (found, self.node_mut(node)) else {
            return MemorySeen::UNKNOWN;
        };
        let hold = &mut node.memory.hold;
        hold.contest(found.models.waiting_for_others > 0, now);
        MemorySeen {
            verdict: may_run(&found.models, hold, HoldRule::default(), now),
            there: Some(present),
            free_bytes: found.models.free_bytes.filter(|_| !found.models.present),
        }
    }

    /// Tells whether the model of a seat is in memory or on its way there, as far as anybody knows.
    pub(super) fn is_there(&self, number: u32) -> bool {
        self.seat(number)
            .is_some_and(|seat| !seat.memory.is_told || seat.memory.is_there())
    }

    /// Tells whether the model of a seat is in memory or on its way there, by what was seen here since the node told.
    pub(super) fn was_seen_there(&self, number: u32) -> bool {
        self.seat(number)
            .is_some_and(|seat| seat.memory.is_told && seat.memory.is_there())
    }

    /// Describes the memory of a seat's node as a call for the seat finds it.
    pub(super) fn findings(&self, number: u32, now: MonotonicTime) -> Option<Findings> {
        let wanted = self.seat(number)?;
        let node = self.node(wanted.node)?;
        let (waiting_for_present, waiting_for_others) = self.waiting_at(wanted.node, now)?;
        let (mut loaded_bytes, mut idle_bytes, mut unused_bytes) = (0_u64, 0_u64, 0_u64);
        let (mut others, mut generates, mut node_loads) = (0, false, false);
        for other in node.memory.there.iter().filter(|seat| **seat != number) {
            let Some(seat) = self.seat(*other) else {
                continue;
            };
            others += 1;
            let bytes = seat.memory.bytes.unwrap_or(0);
            loaded_bytes = loaded_bytes.saturating_add(bytes);
            node_loads |= seat.memory.loading.is_some();
            if seat.capacity.in_flight() > 0 || seat.memory.loading.is_some() {
                generates = true;
                continue;
            }
            idle_bytes = idle_bytes.saturating_add(bytes);
            let used_lately = seat
                .memory
                .last_used
                .is_some_and(|at| elapsed_us(at, now) < DRIVEN_OUT_WITHIN_US);
            if !used_lately && seat.awaiting() + self.waiting_for(seat.model) == 0 {
                unused_bytes = unused_bytes.saturating_add(bytes);
            }
        }
        let elsewhere = self.loads.loading(&wanted.name, now);
        let mut models = NodeModels {
            present: wanted.memory.is_there(),
            loading_elsewhere: elsewhere.is_some_and(|at| at != node.id),
            node_loads,
            model_bytes: wanted.memory.bytes,
            free_bytes: None,
            idle_bytes,
            waiting_for_present,
            waiting_for_others,
        };
        models.free_bytes = match models.model_bytes {
            _ if others == 0 => None,
            Some(bytes) => match node.memory.learned.free_for(bytes, loaded_bytes) {
                None if generates => {
                    models.idle_bytes = 0;
                    Some(0)
                }
                // Until the node tells who had to go, the rules are those of a node without room.
                None if node.memory.in_doubt => Some(bytes.saturating_sub(idle_bytes)),
                None => None,
                // When nobody generates it may be tried whatever was learned: otherwise a wrong lesson would last for ever.
                Some(free) if !generates => Some(free.max(bytes.saturating_sub(idle_bytes))),
                Some(free) => Some(free),
            },
            // Nobody knows its size: it may need all there is.
            None => {
                models.model_bytes = Some(1);
                models.idle_bytes = u64::from(!generates);
                Some(0)
            }
        };
        Some(Findings {
            models,
            unused_bytes,
            is_empty: others == 0,
        })
    }

    /// Counts the calls that wait for models which a node has, and for those which it has not but could have.
    fn waiting_at(&self, number: u32, now: MonotonicTime) -> Option<(u32, u32)> {
        let node = self.node(number)?;
        let there = node.memory.there.iter();
        let there = there.filter_map(|seat| self.seat(*seat));
        let (mut present, mut lined_up) = (0, 0);
        for seat in there {
            lined_up += seat.awaiting();
            present += seat.awaiting() + self.waiting_for(seat.model);
        }
        // Whoever waits for a certain seat has found that it could be used.
        let mut others = node.waiting.saturating_sub(lined_up);
        let asking = self.asking.map(|model| (model, 1));
        let waiting = self
            .waiting_for
            .iter()
            .map(|(model, count)| (*model, *count));
        for (model, count) in waiting.chain(asking) {
            if self.could_be_loaded(number, model, now) {
                others += count;
            }
        }
        Some((present, others))
    }

    /// Tells whether a node has not in memory, but could be given, a model for which nobody provides elsewhere.
    fn could_be_loaded(&self, node: u32, model: ModelKey, now: MonotonicTime) -> bool {
        let seat = self.node(node).and_then(|node| node.seat_of(model));
        seat.and_then(|seat| self.seat(seat)).is_some_and(|seat| {
            seat.memory.usable
                && !seat.memory.is_there()
                && self.loads.loading(&seat.name, now).is_none()
        })
    }

    /// Ends the contests of nodes for which nobody waits any more, after somebody who waited for `model` went.
    pub(super) fn settle_contests(&mut self, model: ModelKey) {
        if self.waiting_for(model) > 0 {
            return;
        }
        for at in 0..self.seats_of(model).len() {
            let seat = self.seats_of(model).get(at).copied();
            let Some(number) = seat.and_then(|seat| self.seat(seat)).map(|seat| seat.node) else {
                continue;
            };
            let contested = |node: &super::hall::Node| node.memory.hold.is_contested();
            if !self.node(number).is_some_and(contested) {
                continue;
            }
            let now = MonotonicTime::default();
            let others = self.waiting_at(number, now).map_or(0, |(_, others)| others);
            if others == 0
                && let Some(node) = self.node_mut(number)
            {
                node.memory.hold.contest(false, now);
            }
        }
    }

    /// Brings the list of those who are there up to date with a seat.
    fn note_presence(&mut self, number: u32) {
        let Some(seat) = self.seat(number) else {
            return;
        };
        let (node, is_there) = (seat.node, seat.memory.is_there());
        if let Some(node) = self.node_mut(node) {
            let there = &mut node.memory.there;
            match there.iter().position(|seat| *seat == number) {
                None if is_there => there.push(number),
                Some(at) if !is_there => {
                    there.swap_remove(at);
                }
                _ => {}
            }
        }
    }

    /// Forgets what is known of a seat that is given back.
    pub(super) fn forget_presence(&mut self, number: u32) {
        if let Some(seat) = self.seat_mut(number) {
            seat.memory = SeatMemory::default();
        }
        self.note_presence(number);
    }

    /// Returns the id of a node by its number.
    fn node_id(&self, number: u32) -> Option<NodeId> {
        Some(self.node(number)?.id)
    }
}

const fn elapsed_us(at: MonotonicTime, now: MonotonicTime) -> u64 {
    now.as_micros().saturating_sub(at.as_micros())
}
