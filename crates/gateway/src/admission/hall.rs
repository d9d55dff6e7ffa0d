//! What is counted about seats (a model on a node), nodes and those who wait. Plain data: the owner holds the lock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use primitives::{MonotonicTime, NodeId};
use prometheus_client::metrics::gauge::Gauge;
use scheduling::queue::{Class, FairQueue, Tenant, Ticket};
use scheduling::{
    Candidate, Capacity, CapacityOutcome, CapacityRule, ColdLoads, Portion, RunVerdict,
};
use tokio::sync::oneshot;

use super::Verdict;
use super::memory::{NodeMemory, SeatMemory};
use super::spot::{ModelKey, Spot};

/// One model on one node.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) node: u32,
    pub(super) model: ModelKey,
    /// The model's name, normalised.
    pub(super) name: Arc<str>,
    pub(super) memory: SeatMemory,
    pub(super) capacity: Capacity,
    /// Calls that have their turn here.
    pub(super) reserved: u32,
    /// Further calls that wait for this seat.
    pub(super) in_line: u32,
}

impl Seat {
    /// Tells whether anybody waits for this seat and no other.
    pub(super) const fn is_awaited(&self) -> bool {
        self.reserved > 0 || self.in_line > 0
    }
}

/// One node: what waits for it and what it has not read yet, over all models.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) memory: NodeMemory,
    seats: Vec<u32>,
    waiting: u32,
    waiting_tokens: u64,
    waiting_prompt_tokens: u64,
    pending_prompt_tokens: u64,
}

/// What deciding about a call needs to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The model, normalised.
    pub(crate) model: Arc<str>,
    pub(crate) prompt_tokens: u32,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) num_ctx: Option<u32>,
    pub(crate) prefix: Vec<u64>,
    /// Nodes that failed for it.
    pub(crate) tried: Vec<NodeId>,
    /// Whether its first token will be seen.
    pub(crate) streams: bool,
    /// Whether texts are to be embedded.
    pub(crate) embeds: bool,
    pub(crate) class: Class,
    pub(crate) tenant: Tenant,
    pub(crate) caller: Arc<str>,
}

/// A call that waits.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) ticket: Ticket,
    pub(super) facts: Facts,
    pub(super) spot: Spot,
    /// Where its tokens are counted as waiting, and how many: all, and those of the prompt.
    counted: Option<(u32, u64, u64)>,
    pub(super) answer: oneshot::Sender<Verdict>,
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Hall {
    seats: Vec<Seat>,
    free_seats: Vec<u32>,
    nodes: Vec<Node>,
    free_nodes: Vec<u32>,
    node_index: HashMap<NodeId, u32>,
    parked: BTreeMap<u64, Parked>,
    next_key: u64,
    models: HashSet<ModelKey>,
    /// Calls that wait for any seat of a model.
    waiting_for: HashMap<ModelKey, u32>,
    /// Models that are being loaded, over the fleet.
    pub(super) loads: ColdLoads,
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
            waiting_for: HashMap::new(),
            loads: ColdLoads::default(),
            waiting_gauges,
            random: 0,
        }
    }

    /// Makes a seat for a model on a node.
    pub(super) fn open_seat(&mut self, id: NodeId, name: &str) -> u32 {
        let node = self.open_node(id);
        let seat = Seat {
            node,
            model: ModelKey::of(name),
            name: name.into(),
            memory: SeatMemory::default(),
            capacity: Capacity::new(CapacityRule::Learned),
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
        }
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
        let place = seat.node;
        self.free_seats.push(number);
        if let Some(node) = self.nodes.get_mut(place as usize) {
            node.seats.retain(|seat| *seat != number);
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

    /// Returns the seats of the node that a seat is at.
    pub(super) fn neighbours(&self, number: u32) -> &[u32] {
        self.seat(number)
            .and_then(|seat| self.nodes.get(seat.node as usize))
            .map_or(&[], |node| node.seats.as_slice())
    }

    /// Returns every seat that somebody waits for.
    pub(super) fn awaited_seats(&self) -> impl Iterator<Item = u32> {
        self.seats
            .iter()
            .enumerate()
            .filter(|(_, seat)| seat.is_awaited())
            .map(|(number, _)| number as u32)
    }

    /// Completes a candidate by what is counted here. `limit` is the node's own, over all models.
    pub(super) fn describe(
        &self,
        number: u32,
        limit: Option<u32>,
        prompt_budget: u64,
        portion: Portion,
        verdict: RunVerdict,
        candidate: &mut Candidate<'_>,
    ) {
        let Some(seat) = self.seats.get(number as usize) else {
            return;
        };
        candidate.full = !verdict.has_room()
            || !seat.capacity.has_room(portion, prompt_budget)
            || limit.is_some_and(|limit| candidate.in_flight >= limit);
        if let Some(node) = self.nodes.get(seat.node as usize) {
            candidate.waiting = node.waiting;
            candidate.queued_tokens += node.waiting_tokens;
            candidate.pending_prompt_tokens =
                Some(node.pending_prompt_tokens + node.waiting_prompt_tokens);
        }
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

    /// Returns the key for one more waiting call.
    pub(super) const fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Lets a call wait.
    pub(super) fn enter(
        &mut self,
        key: u64,
        ticket: Ticket,
        facts: Facts,
        spot: Spot,
        answer: oneshot::Sender<Verdict>,
    ) {
        self.gauge(facts.class, 1);
        self.count_waiting(spot, true);
        self.parked.insert(
            key,
            Parked {
                ticket,
                facts,
                spot,
                counted: None,
                answer,
            },
        );
    }

    /// Takes a call out that waits no more.
    pub(super) fn leave(&mut self, key: u64) -> Option<Parked> {
        self.unpark(key);
        let parked = self.parked.remove(&key)?;
        self.count_waiting(parked.spot, false);
        self.gauge(parked.facts.class, -1);
        Some(parked)
    }

    /// Counts who waits for any seat of a model, in or out.
    fn count_waiting(&mut self, spot: Spot, one_more: bool) {
        let (Spot::Any(model) | Spot::Again(model)) = spot else {
            return;
        };
        let count = self.waiting_for.entry(model).or_default();
        if one_more {
            *count += 1;
        } else {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.waiting_for.remove(&model);
            }
        }
    }

    /// Returns how many wait for any seat of a model.
    pub(super) fn waiting_for(&self, model: ModelKey) -> u32 {
        self.waiting_for.get(&model).copied().unwrap_or(0)
    }

    /// Tells whether nobody waits for anything.
    pub(super) fn nobody_waits(&self) -> bool {
        self.parked.is_empty()
    }

    fn gauge(&self, class: Class, change: i64) {
        if let Some(gauge) = self.waiting_gauges.get(class as usize) {
            gauge.inc_by(change);
        }
    }

    pub(super) fn parked(&self, key: u64) -> Option<&Parked> {
        self.parked.get(&key)
    }

    /// Returns all who wait, in the order in which they came.
    pub(super) fn all_parked(&self) -> impl Iterator<Item = &Parked> {
        self.parked.values()
    }

    /// Takes a waiting call off the counts of what it waits for.
    pub(super) fn unpark(&mut self, key: u64) {
        let Some(parked) = self.parked.get_mut(&key) else {
            return;
        };
        let Some((number, tokens, prompt_tokens)) = parked.counted.take() else {
            return;
        };
        let Some(seat) = self.seats.get_mut(number as usize) else {
            return;
        };
        match parked.spot {
            Spot::Reserved(_) => seat.reserved = seat.reserved.saturating_sub(1),
            Spot::Line(_) | Spot::Any(_) | Spot::Again(_) => {
                seat.in_line = seat.in_line.saturating_sub(1);
            }
        }
        if let Some(node) = self.nodes.get_mut(seat.node as usize) {
            node.waiting = node.waiting.saturating_sub(1);
            node.waiting_tokens = node.waiting_tokens.saturating_sub(tokens);
            node.waiting_prompt_tokens = node.waiting_prompt_tokens.saturating_sub(prompt_tokens);
        }
    }

    /// Counts a waiting call at what it waits for: `tokens` in all, `prompt_tokens` of them to be read.
    pub(super) fn park(&mut self, key: u64, spot: Spot, tokens: u64, prompt_tokens: u64) {
        self.unpark(key);
        let Some(parked) = self.parked.get_mut(&key) else {
            return;
        };
        let before = std::mem::replace(&mut parked.spot, spot);
        if before != spot {
            self.count_waiting(before, false);
            self.count_waiting(spot, true);
        }
        let Some(number) = spot.seat() else {
            return;
        };
        let Some(seat) = self.seats.get_mut(number as usize) else {
            return;
        };
        match spot {
            Spot::Reserved(_) => seat.reserved += 1,
            Spot::Line(_) | Spot::Any(_) | Spot::Again(_) => seat.in_line += 1,
        }
        if let Some(node) = self.nodes.get_mut(seat.node as usize) {
            node.waiting += 1;
            node.waiting_tokens += tokens;
            node.waiting_prompt_tokens += prompt_tokens;
        }
        if let Some(parked) = self.parked.get_mut(&key) {
            parked.counted = Some((number, tokens, prompt_tokens));
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
        seats
            .map(|seat| format!("{seat:?}"))
            .chain(nodes.map(|node| format!("{node:?}")))
            .chain(parked)
            .collect()
    }
}
