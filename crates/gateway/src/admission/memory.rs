//! What is in the nodes' memory, as far as admission must know: which call would load a model, and whom that would drive out.
//!
//! Nodes tell what they hold at every probe; between two probes it is followed from here. How much fits is learned, where a
//! node does not tell: models seen together fit together.

use primitives::{MonotonicTime, NodeId};
use scheduling::{HoldRule, LearnedMemory, ModelHold, NodeModels, RunVerdict, may_run};

use super::hall::Hall;

/// A model that vanished within this time after its last call was driven out; nodes keep idle models for minutes.
const DRIVEN_OUT_WITHIN_US: u64 = 30_000_000;
/// What a node tells may be this much older than a load that was seen here: then it is not believed.
const PROBE_LAG_US: u64 = 1_000_000;

/// One model in, or out of, a node's memory.
#[derive(Clone, Debug, Default)]
pub(super) struct SeatMemory {
    /// Whether the node tells what it has in memory; where it does not, everything counts as there.
    pub(super) is_told: bool,
    present: bool,
    loading: bool,
    bytes: Option<u64>,
    last_used: Option<MonotonicTime>,
    loaded_at: Option<MonotonicTime>,
}

/// The memory of a node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NodeMemory {
    hold: ModelHold,
    learned: LearnedMemory,
    /// The seat of the model that was loaded last, until the node tells that it is there.
    newcomer: Option<u32>,
}

/// What a node tells of one of its models.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) seat: u32,
    /// Whether it tells at all.
    pub(crate) is_told: bool,
    pub(crate) loaded: bool,
    pub(crate) bytes: Option<u64>,
}

impl Hall {
    /// Takes in what a node tells of its models.
    pub(super) fn observe(&mut self, told: &[Told], now: MonotonicTime) {
        let Some(number) = told
            .first()
            .and_then(|told| self.seat(told.seat))
            .map(|seat| seat.node)
        else {
            return;
        };
        let newcomer = self.node(number).and_then(|node| node.memory.newcomer);
        let newcomer_told = told
            .iter()
            .any(|told| Some(told.seat) == newcomer && told.loaded);
        let stale = !newcomer_told
            && newcomer
                .and_then(|seat| self.seat(seat)?.memory.loaded_at)
                .is_some_and(|at| elapsed_us(at, now) < PROBE_LAG_US);
        let (mut together, mut driven_out) = (0_u64, 0_u64);
        for told in told {
            let Some(seat) = self.seat_mut(told.seat) else {
                continue;
            };
            let in_flight = seat.capacity.in_flight();
            let memory = &mut seat.memory;
            memory.is_told = told.is_told;
            memory.bytes = told.bytes.or(memory.bytes);
            if stale {
                continue;
            }
            let was = memory.present;
            // Whatever generates is there.
            memory.present = told.loaded || (was && in_flight > 0);
            let bytes = memory.bytes.unwrap_or(0);
            let used_lately = memory
                .last_used
                .is_some_and(|at| elapsed_us(at, now) < DRIVEN_OUT_WITHIN_US);
            if told.loaded {
                together = together.saturating_add(bytes);
            } else if was && used_lately {
                driven_out = driven_out.saturating_add(bytes);
            }
        }
        if let Some(node) = self.node_mut(number).filter(|_| !stale) {
            let memory = &mut node.memory;
            memory.learned.seen(together);
            if newcomer_told {
                memory.newcomer = None;
                if driven_out > 0 {
                    let both = together.saturating_add(driven_out);
                    memory.learned.driven_out(both);
                }
            }
        }
    }

    /// Decides whether the memory of a seat's node lets a call run there now.
    pub(super) fn may_run(&mut self, number: u32, now: MonotonicTime) -> RunVerdict {
        let Some(seat) = self.seat(number).filter(|seat| seat.memory.is_told) else {
            return RunVerdict::Ready;
        };
        if self.nobody_waits() && seat.memory.is_there() {
            return RunVerdict::Ready;
        }
        let (node, name) = (seat.node, seat.name.clone());
        let id = self.node_id(node);
        let elsewhere = self
            .loads
            .loading(&name, now)
            .is_some_and(|at| Some(at) != id);
        let Some(models) = self.models_of(number, elsewhere) else {
            return RunVerdict::Ready;
        };
        let Some(node) = self.node_mut(node) else {
            return RunVerdict::Ready;
        };
        let hold = &mut node.memory.hold;
        hold.contest(models.waiting_for_others > 0, now);
        may_run(&models, hold, HoldRule::default(), now)
    }

    fn models_of(&self, number: u32, loading_elsewhere: bool) -> Option<NodeModels> {
        let wanted = self.seat(number)?;
        let mut models = NodeModels {
            present: wanted.memory.is_there(),
            loading_elsewhere,
            model_bytes: wanted.memory.bytes,
            ..NodeModels::default()
        };
        let (mut loaded_bytes, mut generates) = (0_u64, false);
        for neighbour in self.neighbours(number) {
            let Some(seat) = self.seat(*neighbour) else {
                continue;
            };
            let waiting = seat.reserved + seat.in_line + self.waiting_for(seat.model);
            if !seat.memory.is_there() {
                models.waiting_for_others += waiting;
                continue;
            }
            models.waiting_for_present += waiting;
            if *neighbour == number {
                continue;
            }
            models.node_loads |= seat.memory.loading;
            let bytes = seat.memory.bytes.unwrap_or(0);
            loaded_bytes = loaded_bytes.saturating_add(bytes);
            if seat.capacity.in_flight() > 0 {
                generates = true;
            } else {
                models.idle_bytes = models.idle_bytes.saturating_add(bytes);
            }
        }
        if models.present {
            return Some(models);
        }
        let bytes = models.model_bytes.unwrap_or(0);
        let learned = &self.node(wanted.node)?.memory.learned;
        models.free_bytes = match learned.free_for(bytes, loaded_bytes) {
            // Nobody knows, and whoever generates must not be the one who shows.
            None if generates => {
                models.idle_bytes = 0;
                Some(0)
            }
            None => None,
            // When nobody generates it may be tried whatever was learned: otherwise a wrong lesson would last for ever.
            Some(free) if !generates => Some(free.max(bytes.saturating_sub(models.idle_bytes))),
            Some(free) => Some(free),
        };
        models.model_bytes = Some(bytes);
        Some(models)
    }

    /// Notes that a call starts at a seat; tells whether it makes the node load the model.
    pub(super) fn starts_at(&mut self, number: u32, now: MonotonicTime) -> bool {
        let Some(seat) = self.seat_mut(number) else {
            return false;
        };
        seat.memory.last_used = Some(now);
        if !seat.memory.is_told {
            return false;
        }
        let loads = !seat.memory.is_there();
        seat.memory.loading |= loads;
        let (node, name) = (seat.node, seat.name.clone());
        if let Some(id) = self.node_id(node).filter(|_| loads) {
            // Somebody else's load goes on beside it: a trial by somebody whom nothing else could serve.
            self.loads.begin(&name, id, now);
        }
        if let Some(node) = self.node_mut(node) {
            if loads {
                node.memory.hold.swapped();
            }
            node.memory.hold.started(now);
        }
        loads
    }

    /// Notes that the load that a call caused is over; `done` tells whether the model answers now.
    pub(super) fn load_ended(&mut self, number: u32, done: bool, now: MonotonicTime) {
        let Some(seat) = self.seat_mut(number) else {
            return;
        };
        seat.memory.loading = false;
        let (node, name) = (seat.node, seat.name.clone());
        let bytes = seat.memory.bytes.unwrap_or(0);
        if let Some(id) = self.node_id(node) {
            self.loads.done(&name, id);
        }
        if !done {
            return;
        }
        self.drive_out_for(number, bytes);
        if let Some(seat) = self.seat_mut(number) {
            seat.memory.present = true;
            (seat.memory.last_used, seat.memory.loaded_at) = (Some(now), Some(now));
        }
        if let Some(node) = self.node_mut(node) {
            node.memory.newcomer = Some(number);
        }
    }

    /// Where not all fit, those who do not generate are taken to be gone until the node tells.
    fn drive_out_for(&mut self, number: u32, bytes: u64) {
        let others: Vec<u32> = self
            .neighbours(number)
            .iter()
            .copied()
            .filter(|seat| *seat != number)
            .collect();
        let loaded = others
            .iter()
            .filter_map(|seat| self.seat(*seat))
            .filter(|seat| seat.memory.present)
            .map(|seat| seat.memory.bytes.unwrap_or(0))
            .fold(0, u64::saturating_add);
        let free = self
            .seat(number)
            .and_then(|seat| self.node(seat.node))
            .and_then(|node| node.memory.learned.free_for(bytes, loaded));
        if free.is_none_or(|free| free >= bytes) {
            return;
        }
        for other in others {
            if let Some(seat) = self.seat_mut(other)
                && seat.capacity.in_flight() == 0
            {
                seat.memory.present = false;
            }
        }
    }

    /// Notes that a call ended at a seat.
    pub(super) fn used(&mut self, number: u32, now: MonotonicTime) {
        if let Some(seat) = self.seat_mut(number) {
            seat.memory.last_used = Some(now);
        }
    }

    /// Returns the id of a node by its number.
    fn node_id(&self, number: u32) -> Option<NodeId> {
        Some(self.node(number)?.id)
    }
}

impl SeatMemory {
    /// Tells whether the model is in memory, or on its way there.
    const fn is_there(&self) -> bool {
        self.present || self.loading
    }
}

const fn elapsed_us(at: MonotonicTime, now: MonotonicTime) -> u64 {
    now.as_micros().saturating_sub(at.as_micros())
}
