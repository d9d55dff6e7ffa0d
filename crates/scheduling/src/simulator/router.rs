//! The gateway's side of a simulation: what it knows of the nodes, and the decisions it makes with the code of the live gateway.

use std::collections::BTreeSet;

use primitives::{MonotonicTime, NodeId};

use super::SimulationError;
use super::fleet::{FleetSpec, NodeSpec};
use super::node::{Job, Node};
use super::options::Options;
use super::requests::Requests;
use super::spot::Spot;
use super::standing::make_dirty;
use super::trace::BLOCK_TOKENS;
use crate::admission::{Dispatch, Placement, Step, may_reserve, step_of};
use crate::breaker::Breaker;
use crate::call::{Call, Candidate};
use crate::capacity::{Capacity, CapacityRule, Portion};
use crate::estimate::Priors;
use crate::hashing::{Random, fold};
use crate::policy::RoutingPolicy;
use crate::prefix::PrefixIndex;
use crate::queue::{Lane, Ticket};
use crate::residency::{ColdLoads, HoldRule, ModelHold};
use crate::row::Row;
use crate::rows::Rows;
use crate::speed::Speed;

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
    /// Its place among the seats and rows of its model.
    pub(super) position: u32,
    /// Whether it counts among the idle readers of its model.
    pub(super) reads_nothing: bool,
    /// Whether its row changes by time alone, or by what happens elsewhere.
    pub(super) is_volatile: bool,
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
    /// What is decided over, seat by seat.
    pub(super) rows: Rows,
    /// The rows by the places of their nodes in the prefix index.
    pub(super) row_of_place: Vec<u32>,
    /// Seats whose rows are made anew for every decision.
    pub(super) volatile: Vec<u32>,
    /// Seats with no prompt unread.
    pub(super) idle_readers: u32,
    /// Seats that calls wait for.
    pub(super) awaited: BTreeSet<u32>,
    /// Calls that wait for any of its seats.
    pub(super) waiting: u32,
    /// Calls that wait for certain seats.
    pub(super) lined_up: u32,
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
    /// Whether any node has a limit of memory.
    pub(super) loads_models: bool,
    pub(super) random: Random,
    pub(super) now_us: u64,
    /// Nodes at which something was started or freed, to be looked at by the event loop.
    pub(super) touched: Vec<u32>,
    /// Requests that were sent to a node that is down.
    pub(super) lost: Vec<u32>,
    /// When a held model may be given up at the earliest.
    pub(super) look_again_us: Option<u64>,
    /// Nodes whose rows are out of date, each once.
    pub(super) dirty: Vec<u32>,
    pub(super) is_dirty: Vec<bool>,
    /// The model of the call that is being decided about: it still counts as waiting.
    pub(super) asking: Option<u32>,
    warm: Vec<(u32, u32)>,
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
                rows: Rows::default(),
                row_of_place: Vec::new(),
                volatile: Vec::new(),
                idle_readers: 0,
                awaited: BTreeSet::new(),
                waiting: 0,
                lined_up: 0,
                stranded: 0,
            })
            .collect();
        let ids = (0..specs.len())
            .map(|n| format!("00000000-0000-7000-8000-{n:012x}").parse())
            .collect::<Result<Vec<NodeId>, _>>()
            .map_err(|_| SimulationError::TooManyNodes)?;
        let mut seats: Vec<Seat> = Vec::new();
        let mut node_seats: Vec<Vec<u32>> = Vec::with_capacity(specs.len());
        for ((node, spec), id) in specs.iter().enumerate().zip(&ids) {
            let first = seats.len() as u32;
            for (number, (model, described)) in models.iter_mut().zip(&fleet.models).enumerate() {
                if !spec.has(described) || spec.memory_bytes.is_some_and(|m| m < model.bytes) {
                    continue;
                }
                let position = model.seats.len() as u32;
                model.seats.push(seats.len() as u32);
                model.idle_readers += 1;
                model.rows.push(Row::of(&Candidate::new(*id, ""), &[]));
                seats.push(Seat {
                    node: node as u32,
                    model: number as u32,
                    capacity: Capacity::new(CapacityRule::Fixed(spec.slots)),
                    speed: Speed::new(),
                    breaker: Breaker::new(fold(options.seed ^ seats.len() as u64)),
                    reserved: 0,
                    in_line: 0,
                    position,
                    reads_nothing: true,
                    is_volatile: false,
                });
            }
            node_seats.push((first..seats.len() as u32).collect());
        }
        let mut prefixes = PrefixIndex::default();
        for ((id, spec), of_node) in ids.iter().zip(&specs).zip(&node_seats) {
            let place = prefixes.place(*id) as usize;
            for seat in of_node.iter().filter_map(|seat| seats.get(*seat as usize)) {
                let rows = &mut models[seat.model as usize].row_of_place;
                rows.resize(rows.len().max(place + 1), u32::MAX);
                if let Some(row) = rows.get_mut(place) {
                    *row = seat.position;
                }
            }
            let told = usize::try_from(spec.cache_tokens / u64::from(BLOCK_TOKENS));
            let blocks = options.prefix_blocks.or(told.ok());
            prefixes.set_capacity(*id, blocks.unwrap_or(usize::MAX));
        }
        let count = specs.len();
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
            loads_models: fleet.nodes.iter().any(|node| node.memory_bytes.is_some()),
            random: Random::new(options.seed),
            now_us: 0,
            touched: Vec::new(),
            lost: Vec::new(),
            look_again_us: None,
            dirty: (0..count as u32).collect(),
            is_dirty: vec![true; count],
            asking: None,
            warm: Vec::new(),
        })
    }

    pub(super) const fn now(&self) -> MonotonicTime {
        MonotonicTime::from_micros(self.now_us)
    }

    /// Asks the policy about a waiting call.
    fn ask(&mut self, request: u32, portion: Portion) -> Step {
        let random = self.random.next();
        let Some(model) = self.requests.get(request).map(|waiting| waiting.model) else {
            return Step::Nobody;
        };
        self.refresh(model);
        debug_assert!(self.is_current(model), "a row was left out of date");
        let mut rows = std::mem::take(&mut self.models[model as usize].rows);
        let mut warm = std::mem::take(&mut self.warm);
        let blocks = self.requests.blocks(request);
        self.prefixes.warm_places(blocks, &mut warm);
        let row_of_place = &self.models[model as usize].row_of_place;
        for (place, hits) in &warm {
            if let Some(position) = row_of_place.get(*place as usize) {
                rows.warm(*position as usize, *hits);
            }
        }
        let prompt_tokens = self.requests.get(request).map_or(0, |r| r.prompt_tokens);
        let call = Call {
            model: "",
            prompt_tokens,
            max_tokens: None,
            num_ctx: None,
            prefix: blocks,
            tags: &[],
            now: self.now(),
            random,
        };
        let view = rows.view(portion);
        // Somebody who holds most of what runs leaves one node free to read the prompts of others.
        let idle_readers = self.models[model as usize].idle_readers;
        let may_read = portion == Portion::Whole || idle_readers > 1 || rows.as_slice().len() == 1;
        let view = if may_read { view } else { view.closed() };
        let step = step_of(self.policy, &call, view);
        rows.cool_down();
        self.models[model as usize].rows = rows;
        self.warm = warm;
        step
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
        let asking = self.requests.get(request);
        let was = asking.and_then(|r| r.waits_for);
        self.asking = asking.map(|r| r.model);
        // Its own work is not in front of it.
        self.unpark(request);
        let step = self.ask(request, portion);
        self.asking = None;
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
        match spot {
            _ if was == Some(spot) => Placement::Stay,
            Spot::Reserved(_) => Placement::Reserve(spot.lane()),
            _ => Placement::Move(spot.lane()),
        }
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
        make_dirty(&mut self.dirty, &mut self.is_dirty, seat.node);
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
        let node_number = seat.node;
        let requests = &self.requests;
        node.accept(job, self.now_us, |request| requests.blocks(request));
        self.touched.push(node_number);
    }
}
