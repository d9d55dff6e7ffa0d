//! What is counted about seats (a model on a node) and nodes. Plain data: the owner holds the lock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cluster::Pressure;
use primitives::{MonotonicTime, NodeId};
use prometheus_client::metrics::gauge::Gauge;
use scheduling::queue::{Class, FairQueue, Ticket};
use scheduling::{
    Candidate, Capacity, CapacityOutcome, CapacityRule, ColdLoads, Portion, RunVerdict,
};
use tokio::sync::Notify;

use super::memory::{NodeMemory, SeatMemory};
use super::spot::{ModelKey, Spot};
use super::waiting::Parked;

/// One model on one node.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) node: u32,
    pub(super) model: ModelKey,
    /// The model's name, normalised.
    pub(super) name: Arc<str>,
    pub(super) memory: SeatMemory,
    pub(super) capacity: Capacity,
    /// What its node told last of how hard pressed it is.
    pressure: Option<Pressure>,
    /// Calls that have their turn here.
    pub(super) reserved: u32,
    /// Further calls that wait for this seat.
    pub(super) in_line: u32,
}

impl Seat {
    /// Tells whether anybody waits for this seat and no other.
    pub(super) const fn is_awaited(&self) -> bool {
        self.awaiting() > 0
    }

    /// Counts those who wait for this seat and no other.
    pub(super) const fn awaiting(&self) -> u32 {
        self.reserved + self.in_line
    }
}

/// One node: what waits for it and what it has not read yet, over all models.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) memory: NodeMemory,
    seats: Vec<u32>,
    seat_of: HashMap<ModelKey, u32>,
    pub(super) waiting: u32,
    pub(super) waiting_tokens: u64,
    pub(super) waiting_prompt_tokens: u64,
    pending_prompt_tokens: u64,
}

impl Node {
    /// Returns the seat of a model on this node.
    pub(super) fn seat_of(&self, model: ModelKey) -> Option<u32> {
        self.seat_of.get(&model).copied()
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Hall {
    seats: Vec<Seat>,
    free_seats: Vec<u32>,
    nodes: Vec<Node>,
    free_nodes: Vec<u32>,
    node_index: HashMap<NodeId, u32>,
    pub(super) parked: BTreeMap<u64, Parked>,
    pub(super) next_key: u64,
    models: HashSet<ModelKey>,
    seats_of: HashMap<ModelKey, Vec<u32>>,
    /// Calls that wait for any seat of a model.
    pub(super) waiting_for: HashMap<ModelKey, u32>,
    /// The model of the waiting call that is being decided about: it is off the counts meanwhile.
    pub(super) asking: Option<ModelKey>,
    /// How batch calls hear that they have to give their places up.
    pub(super) stops: HashMap<Ticket, Arc<Notify>>,
    /// Models that are being loaded, over the fleet, and the seats at which they are.
    pub(super) loads: ColdLoads,
    pub(super) loading_seats: Vec<u32>,
    pub(super) waiting_gauges: [Gauge; Class::ALL.len()],
    pub(super) random: u64,
}

impl Hall {
    pub(super) fn new(waiting_gauges: [Gauge; Class::ALL.len()]) -> Self {
        Self {
            seats: Vec::new(),
            free_seats: Vec::new(),
            nodes: Vec::new(),
            free_nodes: Vec::new(),
            node_index: HashMap::new(),
            parked: BTreeMap::new(),
            next_key: 0,
            models: HashSet::new(),
            seats_of: HashMap::new(),
            waiting_for: HashMap::new(),
            asking: None,
            stops: HashMap::new(),
            loads: ColdLoads::default(),
            loading_seats: Vec::new(),
            waiting_gauges,
            random: 0,
        }
    }

    /// Makes a seat for a model on a node.
    pub(super) fn open_seat(&mut self, id: NodeId, name: &str) -> u32 {
        let (node, model) = (self.open_node(id), ModelKey::of(name));
        let seat = Seat {
            node,
            model,
            name: name.into(),
            memory: SeatMemory::default(),
            capacity: Capacity::new(CapacityRule::Learned),
            pressure: None,
            reserved: 0,
            in_line: 0,
        };
        let number = if let Some(number) = self.free_seats.pop() {
            if let Some(free) = self.seats.get_mut(number as usize) {
                *free = seat;
            }
            number
        } else {
            self.seats.push(seat);
            self.seats.len() as u32 - 1
        };
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.seats.push(number);
            node.seat_of.insert(model, number);
        }
        self.seats_of.entry(model).or_default().push(number);
        number
    }

    fn open_node(&mut self, id: NodeId) -> u32 {
        if let Some(number) = self.node_index.get(&id) {
            return *number;
        }
        let node = Node {
            id,
            memory: NodeMemory::default(),
            seats: Vec::new(),
            seat_of: HashMap::new(),
            waiting: 0,
            waiting_tokens: 0,
            waiting_prompt_tokens: 0,
            pending_prompt_tokens: 0,
        };
        let number = if let Some(number) = self.free_nodes.pop() {
            if let Some(free) = self.nodes.get_mut(number as usize) {
                *free = node;
            }
            number
        } else {
            self.nodes.push(node);
            self.nodes.len() as u32 - 1
        };
        self.node_index.insert(id, number);
        number
    }

    /// Takes back a seat that nobody uses or waits for; tells whether it could.
    pub(super) fn close_seat(&mut self, number: u32) -> bool {
        let Some(seat) = self.seats.get(number as usize) else {
            return true;
        };
        if seat.is_awaited() || seat.capacity.in_flight() > 0 {
            return false;
        }
        let (place, model) = (seat.node, seat.model);
        self.load_ended(number, false, MonotonicTime::default());
        self.forget_presence(number);
        self.free_seats.push(number);
        if let Some(seats) = self.seats_of.get_mut(&model) {
            seats.retain(|seat| *seat != number);
            if seats.is_empty() {
                self.seats_of.remove(&model);
            }
        }
        if let Some(node) = self.nodes.get_mut(place as usize) {
            node.seats.retain(|seat| *seat != number);
            // A model that came back has another seat by now.
            if node.seat_of(model) == Some(number) {
                node.seat_of.remove(&model);
            }
            if node.seats.is_empty() {
                self.node_index.remove(&node.id);
                self.loads.forget_node(node.id);
                self.free_nodes.push(place);
            }
        }
        true
    }

    pub(super) fn seat(&self, number: u32) -> Option<&Seat> {
        self.seats.get(number as usize)
    }

    pub(super) fn seat_mut(&mut self, number: u32) -> Option<&mut Seat> {
        self.seats.get_mut(number as usize)
    }

    pub(super) fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(number as usize)
    }

    pub(super) fn node_mut(&mut self, number: u32) -> Option<&mut Node> {
        self.nodes.get_mut(number as usize)
    }

    pub(super) fn set_rule(&mut self, number: u32, rule: CapacityRule) {
        if let Some(seat) = self.seats.get_mut(number as usize) {
            seat.capacity.set_rule(rule);
        }
    }

    /// Takes in how hard pressed the node of a seat is, as it tells: each report once, since what was sent changes meanwhile.
    pub(super) fn set_pressure(&mut self, number: u32, told: Option<Pressure>) {
        let Some(seat) = self.seats.get_mut(number as usize) else {
            return;
        };
        if std::mem::replace(&mut seat.pressure, told) == told {
            return;
        }
        match told.filter(Pressure::is_high) {
            Some(told) => seat.capacity.press(told.waiting),
            None => seat.capacity.relieve(),
        }
    }

    /// Returns the seats of the node that a seat is at.
    pub(super) fn neighbours(&self, number: u32) -> &[u32] {
        self.seat(number)
            .and_then(|seat| self.nodes.get(seat.node as usize))
            .map_or(&[], |node| node.seats.as_slice())
    }

    /// Returns the seats of a model.
    pub(super) fn seats_of(&self, model: ModelKey) -> &[u32] {
        self.seats_of.get(&model).map_or(&[], Vec::as_slice)
    }

    /// Returns every seat that somebody waits for.
    pub(super) fn awaited_seats(&self) -> impl Iterator<Item = u32> {
        self.seats
            .iter()
            .enumerate()
            .filter(|(_, seat)| seat.is_awaited())
            .map(|(number, _)| number as u32)
    }

    /// Completes a candidate by what is counted here; tells whether it is full for calls that leave headroom, too. `limit` is
    /// the node's own, over all models.
    pub(super) fn describe(
        &self,
        number: u32,
        limit: Option<u32>,
        prompt_budget: u64,
        verdict: RunVerdict,
        candidate: &mut Candidate<'_>,
    ) -> bool {
        let Some(seat) = self.seats.get(number as usize) else {
            return false;
        };
        let closed = !verdict.has_room() || limit.is_some_and(|limit| candidate.in_flight >= limit);
        let is_full = |portion| closed || !seat.capacity.has_room(portion, prompt_budget);
        candidate.memory = verdict;
        candidate.full = is_full(Portion::Whole);
        let full_but_headroom = is_full(Portion::AllButHeadroom { others: 0 });
        if let Some(node) = self.nodes.get(seat.node as usize) {
            candidate.waiting = node.waiting;
            candidate.queued_tokens += node.waiting_tokens;
            candidate.pending_prompt_tokens =
                Some(node.pending_prompt_tokens + node.waiting_prompt_tokens);
        }
        full_but_headroom
    }

    /// Tells whether no prompt that was sent to a seat is unread.
    pub(super) fn is_reading_none(&self, number: u32) -> bool {
        self.seat(number)
            .is_some_and(|seat| seat.capacity.is_reading_none())
    }

    /// Counts a call at a seat, with the tokens of its prompt that must be read.
    pub(super) fn begin(&mut self, number: u32, prompt_tokens: u64) {
        if let Some(seat) = self.seats.get_mut(number as usize) {
            seat.capacity.begin(prompt_tokens);
            if let Some(node) = self.nodes.get_mut(seat.node as usize) {
                node.pending_prompt_tokens += prompt_tokens;
            }
        }
    }

    /// Notes that the prompt of a call was read.
    pub(super) fn prompt_read(&mut self, number: u32, prompt_tokens: u64) {
        if let Some(seat) = self.seats.get_mut(number as usize) {
            seat.capacity.prompt_read(prompt_tokens);
            if let Some(node) = self.nodes.get_mut(seat.node as usize) {
                node.pending_prompt_tokens =
                    node.pending_prompt_tokens.saturating_sub(prompt_tokens);
            }
        }
    }

    /// Ends a call at a seat.
    pub(super) fn end(&mut self, number: u32, outcome: CapacityOutcome, now: MonotonicTime) {
        if let Some(seat) = self.seats.get_mut(number as usize) {
            seat.capacity.end(outcome, now);
        }
    }

    pub(super) fn models(&self) -> impl Iterator<Item = ModelKey> {
        self.models.iter().copied()
    }

    pub(super) fn add_model(&mut self, model: ModelKey) {
        self.models.insert(model);
    }

    /// Forgets the lanes of models that the fleet no longer has and nobody waits for.
    pub(super) fn retain_models(
        &mut self,
        present: &HashSet<ModelKey>,
        queue: &mut FairQueue<u64>,
    ) {
        self.models.retain(|model| {
            let lanes = [Spot::Any(*model).lane(), Spot::Again(*model).lane()];
            let keep =
                present.contains(model) || lanes.iter().any(|lane| queue.waiting_in(*lane) > 0);
            if !keep {
                for lane in lanes {
                    queue.close_lane(lane);
                }
            }
            keep
        });
    }

    /// Returns 64 random bits for ties (`SplitMix64`, Steele et al. 2014).
    pub(super) const fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
impl Hall {
    /// Says where anything is still counted.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let seats = self.seats.iter().filter(|seat| {
            seat.is_awaited()
                || seat.capacity.in_flight() > 0
                || seat.capacity.pending_prompt_tokens() > 0
                || !seat.capacity.is_reading_none()
        });
        let nodes = self.nodes.iter().filter(|node| {
            node.waiting > 0
                || node.waiting_tokens > 0
                || node.waiting_prompt_tokens > 0
                || node.pending_prompt_tokens > 0
        });
        let parked = self.parked.values().map(|parked| format!("{parked:?}"));
        let stops = self.stops.keys().map(|ticket| format!("{ticket:?}"));
        let loading = self
            .loading_seats
            .iter()
            .map(|seat| format!("{seat} loads"));
        seats
            .map(|seat| format!("{seat:?}"))
            .chain(nodes.map(|node| format!("{node:?}")))
            .chain(parked)
            .chain(stops)
            .chain(loading)
            .collect()
    }
}
