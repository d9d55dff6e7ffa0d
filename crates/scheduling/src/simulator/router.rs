//! The gateway's side of a simulation: what it knows of the nodes, and the decisions it makes with the code of the live gateway.

use std::time::Duration;

use primitives::{MonotonicTime, NodeId};

use super::SimulationError;
use super::fleet::{FleetSpec, NodeSpec};
use super::node::{Job, Node};
use super::options::Options;
use super::requests::Requests;
use super::spot::Spot;
use super::trace::BLOCK_TOKENS;
use crate::admission::{Dispatch, Placement, Step, may_reserve, step};
use crate::breaker::Breaker;
use crate::call::{Call, Candidate, Residency};
use crate::capacity::{Capacity, CapacityRule, Portion};
use crate::estimate::Priors;
use crate::hashing::{Random, fold};
use crate::policy::RoutingPolicy;
use crate::prefix::PrefixIndex;
use crate::queue::{Lane, Ticket};
use crate::residency::{ColdLoads, HoldRule, ModelHold, SwapVerdict};
use crate::speed::Speed;

/// A node may have unread prompts for this time in front of it.
const PROMPT_BUDGET_S: f32 = 0.25;
/// One model on one node, as the gateway knows it.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) node: u32,
    pub(super) model: u32,
    pub(super) capacity: Capacity,
    pub(super) speed: Speed,
    pub(super) breaker: Breaker,
    /// Calls that have their turn here.
    pub(super) reserved: u32,
    /// Further calls that wait for this seat.
    pub(super) in_line: u32,
}

/// A node, as the gateway counts what it does there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) in_flight: u32,
    pub(super) queued_tokens: u64,
    pub(super) waiting: u32,
    pub(super) waiting_tokens: u64,
    pub(super) waiting_prompt_tokens: u64,
    pub(super) hold: ModelHold,
}

/// A model, as the gateway counts it.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) cost: f32,
    pub(super) seats: Vec<u32>,
    /// Calls that wait for any of its seats.
    pub(super) waiting: u32,
    /// Calls that nobody could serve.
    pub(super) stranded: u32,
}

/// The gateway's state.
#[derive(Debug)]
pub(super) struct Router<'a> {
    pub(super) policy: &'a dyn RoutingPolicy,
    pub(super) nodes: Vec<Node>,
    pub(super) specs: Vec<&'a NodeSpec>,
    pub(super) ids: Vec<NodeId>,
    pub(super) loads: Vec<Load>,
    pub(super) node_seats: Vec<Vec<u32>>,
    pub(super) seats: Vec<Seat>,
    pub(super) models: Vec<Model>,
    pub(super) requests: Requests,
    pub(super) prefixes: PrefixIndex,
    pub(super) cold_loads: ColdLoads,
    pub(super) hold: HoldRule,
    pub(super) random: Random,
    pub(super) now_us: u64,
    /// Nodes at which something was started or freed, to be looked at by the event loop.
    pub(super) touched: Vec<u32>,
    /// Requests that were sent to a node that is down.
    pub(super) lost: Vec<u32>,
    /// When a held model may be given up at the earliest.
    pub(super) look_again_us: Option<u64>,
    pub(super) candidates: Vec<Candidate<'static>>,
}

impl<'a> Router<'a> {
    pub(super) fn new(
        fleet: &'a FleetSpec,
        policy: &'a dyn RoutingPolicy,
        options: &Options,
    ) -> Result<Self, SimulationError> {
        let specs: Vec<&NodeSpec> = fleet
            .nodes
            .iter()
            .flat_map(|spec| std::iter::repeat_n(spec, spec.count as usize))
            .collect();
        let mut models: Vec<Model> = fleet
            .models
            .iter()
            .map(|spec| Model {
                name: spec.name.clone(),
                bytes: spec.bytes,
                cost: spec.cost,
                seats: Vec::new(),
                waiting: 0,
                stranded: 0,
            })
            .collect();
        let mut seats = Vec::new();
        let mut node_seats = Vec::with_capacity(specs.len());
        for (node, spec) in specs.iter().enumerate() {
            let first = seats.len() as u32;
            for (number, (model, described)) in models.iter_mut().zip(&fleet.models).enumerate() {
                if !spec.has(described) || spec.memory_bytes.is_some_and(|m| m < model.bytes) {
                    continue;
                }
                model.seats.push(seats.len() as u32);
                seats.push(Seat {
                    node: node as u32,
                    model: number as u32,
                    capacity: Capacity::new(CapacityRule::Fixed(spec.slots)),
                    speed: Speed::new(),
                    breaker: Breaker::new(fold(options.seed ^ seats.len() as u64)),
                    reserved: 0,
                    in_line: 0,
                });
            }
            node_seats.push((first..seats.len() as u32).collect());
        }
        let ids = (0..specs.len())
            .map(|n| format!("00000000-0000-7000-8000-{n:012x}").parse())
            .collect::<Result<Vec<NodeId>, _>>()
            .map_err(|_| SimulationError::TooManyNodes)?;
        let mut prefixes = PrefixIndex::default();
        for (id, spec) in ids.iter().zip(&specs) {
            let told = usize::try_from(spec.cache_tokens / u64::from(BLOCK_TOKENS));
            let blocks = options.prefix_blocks.or(told.ok());
            prefixes.set_capacity(*id, blocks.unwrap_or(usize::MAX));
        }
        Ok(Self {
            policy,
            nodes: specs.iter().map(|spec| Node::new(spec)).collect(),
            loads: vec![Load::default(); specs.len()],
            specs,
            ids,
            node_seats,
            seats,
            models,
            requests: Requests::default(),
            prefixes,
            cold_loads: ColdLoads::default(),
            hold: options.hold,
            random: Random::new(options.seed),
            now_us: 0,
            touched: Vec::new(),
            lost: Vec::new(),
            look_again_us: None,
            candidates: Vec::new(),
        })
    }

    pub(super) const fn now(&self) -> MonotonicTime {
        MonotonicTime::from_micros(self.now_us)
    }

    /// Asks the policy about a waiting call.
    fn ask(&mut self, request: u32, portion: Portion) -> Step {
        let random = self.random.next();
        let now = self.now();
        let Some(waiting) = self.requests.get(request) else {
            return Step::Nobody;
        };
        let model = waiting.model;
        let seats = self
            .models
            .get(model as usize)
            .map_or(&[][..], |m| m.seats.as_slice());
        let idle_readers = seats
            .iter()
            .filter(|seat| self.seats[**seat as usize].capacity.is_reading_none())
            .count();
        // Somebody who holds most of what runs leaves one node free to read the prompts of others.
        let may_read = portion == Portion::Whole || idle_readers > 1 || seats.len() == 1;
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let mut look_again = None;
        for seat in seats {
            let (mut candidate, held) = self.candidate(*seat, model, &waiting.blocks, portion, now);
            candidate.full |= !may_read;
            candidates.push(candidate);
            look_again = look_again.into_iter().chain(held).min();
        }
        let call = Call {
            model: "",
            prompt_tokens: waiting.prompt_tokens,
            max_tokens: None,
            num_ctx: None,
            prefix: &waiting.blocks,
            tags: &[],
            now,
            random,
        };
        let step = step(self.policy, &call, &mut candidates);
        self.candidates = candidates;
        if let Some(held) = look_again {
            let at = self.now_us + held.as_micros() as u64;
            self.look_again_us = Some(self.look_again_us.map_or(at, |sooner| sooner.min(at)));
        }
        step
    }

    /// Describes a seat; also tells how long its node is held by another model.
    fn candidate(
        &self,
        number: u32,
        model: u32,
        blocks: &[u64],
        portion: Portion,
        now: MonotonicTime,
    ) -> (Candidate<'static>, Option<Duration>) {
        let base = Candidate::new(self.ids[number_of(&self.seats, number)], "");
        let Some(seat) = self.seats.get(number as usize) else {
            return (base, None);
        };
        let place = seat.node as usize;
        let (node, spec, load) = (&self.nodes[place], self.specs[place], &self.loads[place]);
        let loaded = node.is_loaded(model);
        let (swappable, held) = self.may_run(seat, now);
        let prefill = seat
            .speed
            .prefill_tokens_per_s()
            .unwrap_or(Priors::PREFILL_TOKENS_PER_S);
        let candidate = Candidate {
            residency: if loaded {
                Residency::Loaded { context: None }
            } else {
                Residency::OnDisk
            },
            in_flight: load.in_flight,
            queued_tokens: load.queued_tokens + load.waiting_tokens,
            pending_prompt_tokens: Some(
                self.pending_prompt_tokens(seat.node) + load.waiting_prompt_tokens,
            ),
            waiting: load.waiting,
            full: !swappable
                || !seat
                    .capacity
                    .has_room(portion, (prefill * PROMPT_BUDGET_S) as u64),
            slots: Some(spec.slots),
            decode_tokens_per_s: seat.speed.decode_tokens_per_s(),
            prefill_tokens_per_s: seat.speed.prefill_tokens_per_s(),
            ttft_ewma_ms: seat.speed.ttft_ms(),
            prefix_blocks: if blocks.is_empty() {
                0
            } else {
                self.prefixes.leading_hits(base.node, blocks)
            },
            context_max: spec.context,
            model_bytes: Some(self.models[model as usize].bytes),
            memory_free_bytes: node.free_bytes(),
            breaker: seat.breaker.verdict(now),
            ..base
        };
        (candidate, held)
    }

    fn pending_prompt_tokens(&self, node: u32) -> u64 {
        self.node_seats[node as usize]
            .iter()
            .map(|seat| self.seats[*seat as usize].capacity.pending_prompt_tokens())
            .sum()
    }

    /// Tells whether a seat's model may run on its node now as far as the other models there are concerned.
    fn may_run(&self, seat: &Seat, now: MonotonicTime) -> (bool, Option<Duration>) {
        let place = seat.node as usize;
        let node = &self.nodes[place];
        let mut hold = self.loads[place].hold;
        if node.has_or_loads(seat.model) {
            let spent = hold.is_spent(self.hold, now) && self.waiting_for_others(seat.node) > 0;
            return (!spent, None);
        }
        let model = &self.models[seat.model as usize];
        if self.cold_loads.loading(&model.name).is_some() || !node.could_load(model.bytes) {
            return (false, None);
        }
        if node.free_bytes().is_none_or(|free| free >= model.bytes) {
            return (true, None);
        }
        match hold.may_swap(self.hold, 0, self.waiting_for_loaded(seat.node), now) {
            SwapVerdict::Now => (true, None),
            SwapVerdict::Held(time) => (false, Some(time)),
            SwapVerdict::Generating => (false, None),
        }
    }

    /// Counts the calls that wait for models which a node has loaded.
    fn waiting_for_loaded(&self, node: u32) -> u32 {
        self.node_seats[node as usize]
            .iter()
            .map(|seat| &self.seats[*seat as usize])
            .filter(|seat| self.nodes[node as usize].is_loaded(seat.model))
            .map(|seat| self.waiting_for(seat))
            .sum()
    }

    /// Counts the calls that wait for models which a node has not loaded.
    fn waiting_for_others(&self, node: u32) -> u32 {
        self.node_seats[node as usize]
            .iter()
            .map(|seat| &self.seats[*seat as usize])
            .filter(|seat| !self.nodes[node as usize].has_or_loads(seat.model))
            .map(|seat| self.waiting_for(seat))
            .sum()
    }

    fn waiting_for(&self, seat: &Seat) -> u32 {
        seat.reserved + seat.in_line + self.models[seat.model as usize].waiting
    }

    /// Notes that a call of another model waits for a node, so that its hold begins to count.
    fn contest(&mut self, model: u32) {
        let now = self.now();
        for seat in &self.models[model as usize].seats {
            let node = self.seats[*seat as usize].node;
            if !self.nodes[node as usize].has_or_loads(model) {
                self.loads[node as usize]
                    .hold
                    .may_swap(self.hold, 1, 1, now);
            }
        }
    }
}

/// Returns the tokens of a prompt that are not in the cache as far as is known.
pub(super) fn unread(prompt_tokens: u32, hits: u32, blocks: usize) -> u64 {
    let cold = 1.0 - f64::from(hits) / blocks.max(1) as f64;
    ((f64::from(prompt_tokens) * cold) as u64).max(1)
}

impl Dispatch<u32> for Router<'_> {
    fn decide(&mut self, _: Ticket, request: &u32, portion: Portion) -> Placement {
        let request = *request;
        let was = self.requests.get(request).and_then(|r| r.waits_for);
        // Its own work is not in front of it.
        self.unpark(request);
        let step = self.ask(request, portion);
        let Some(waiting) = self.requests.get(request) else {
            return Placement::Stay;
        };
        let model = waiting.model;
        let seat = |index: usize| self.models[model as usize].seats[index];
        let spot = match step {
            Step::Start(index) => return Placement::Start(Spot::Reserved(seat(index)).lane()),
            Step::WaitFor(index) => {
                let number = seat(index);
                if was == Some(Spot::Reserved(number))
                    || may_reserve(self.seats[number as usize].reserved)
                {
                    Spot::Reserved(number)
                } else {
                    Spot::Line(number)
                }
            }
            Step::WaitForAny => match was {
                None | Some(Spot::Nobody(_)) => Spot::Any(model),
                Some(was) => was,
            },
            Step::Nobody => Spot::Nobody(model),
        };
        self.park(request, spot);
        let placement = match spot {
            _ if was == Some(spot) => Placement::Stay,
            Spot::Reserved(_) => Placement::Reserve(spot.lane()),
            _ => Placement::Move(spot.lane()),
        };
        if self.models.len() > 1 {
            self.contest(model);
        }
        placement
    }

    fn start(&mut self, ticket: Ticket, request: u32, lane: Lane) {
        let now = self.now();
        self.unpark(request);
        let Some(number) = Spot::seat_of(lane) else {
            return;
        };
        let (Some(waiting), Some(seat)) = (
            self.requests.get_mut(request),
            self.seats.get_mut(number as usize),
        ) else {
            return;
        };
        let place = seat.node as usize;
        let id = self.ids[place];
        let pending = unread(
            waiting.prompt_tokens,
            self.prefixes.leading_hits(id, &waiting.blocks),
            waiting.blocks.len(),
        );
        seat.breaker.permit(now);
        seat.capacity.begin(pending);
        let load = &mut self.loads[place];
        load.in_flight += 1;
        load.queued_tokens += pending + u64::from(Priors::OUTPUT_TOKENS);
        waiting.ticket = Some(ticket);
        waiting.seat = Some(number);
        waiting.sent_us = self.now_us;
        waiting.tries += 1;
        waiting.pending_prompt_tokens = pending;
        waiting.queued_tokens = pending + u64::from(Priors::OUTPUT_TOKENS);
        self.prefixes.insert(id, &waiting.blocks);
        let node = &mut self.nodes[place];
        if !node.up {
            self.lost.push(request);
            return;
        }
        let job = Job {
            request,
            model: seat.model,
            prompt_tokens: waiting.prompt_tokens,
            output_tokens: waiting.output_tokens,
        };
        if !node.has_or_loads(seat.model) {
            let model = &self.models[seat.model as usize];
            node.load(seat.model, model.bytes, self.now_us);
            self.cold_loads.begin(&model.name, id, now);
            load.hold.swapped();
        }
        load.hold.started(now);
        let requests = &self.requests;
        node.accept(job, self.now_us, |request| requests.blocks(request));
        self.touched.push(seat.node);
    }
}

/// Returns the place of a seat's node.
fn number_of(seats: &[Seat], seat: u32) -> usize {
    seats
        .get(seat as usize)
        .map_or(0, |seat| seat.node as usize)
}
