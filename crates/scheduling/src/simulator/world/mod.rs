//! The event loop: arrivals, what happens at nodes, failures.

mod offers;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::SimulationError;
use super::arrivals::{Arrival, Arrivals};
use super::fleet::FleetSpec;
use super::node::Happening;
use super::options::Options;
use super::oracle::Oracle;
use super::report::{PrefixReport, Report, Served, Tally};
use super::requests::Request;
use super::router::Router;
use super::spot::Spot;
use super::trace::{BLOCK_TOKENS, TraceError, TraceRequest};
use crate::admission::offer;
use crate::breaker::CallOutcome;
use crate::estimate::Priors;
use crate::hashing::{NumberMap, fold};
use crate::policy::RoutingPolicy;
use crate::queue::{Class, FairQueue, Lane, Tenant, Ticket, Waiting, token_cost};
use crate::speed::SpeedSample;

/// How long it takes to notice that a node does not answer.
const LOST_AFTER_US: u64 = 100_000;
/// How often calls that nobody could serve are looked at again.
const STRANDED_EVERY_US: u64 = 500_000;
/// Tries of one request.
const MAX_TRIES: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake(u32),
    Lost(u32),
    Fail(u32),
    Recover(u32),
    LookAgain,
}

/// A simulation under way.
struct World<'a> {
    fleet: &'a FleetSpec,
    queue: FairQueue<u32>,
    router: Router<'a>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    /// When each node is next woken.
    wakes: Vec<u64>,
    look_again_at: Option<u64>,
    tally: Tally,
    oracle: Oracle,
    waits_for_nodes: bool,
    lanes: Vec<Lane>,
    /// The requests of batch calls by their tickets.
    batch: NumberMap<u64, u32>,
    /// Moves which lines at other nodes are offered room.
    elsewhere: u32,
}

/// Replays `trace` over `fleet` with `policy`.
pub(super) fn run(
    trace: impl Iterator<Item = Result<TraceRequest, TraceError>>,
    fleet: &FleetSpec,
    policy: &dyn RoutingPolicy,
    options: &Options,
) -> Result<Report, SimulationError> {
    let mut arrivals = Arrivals::new(trace, options)?;
    let cache_blocks = fleet
        .nodes
        .iter()
        .map(|n| u64::from(n.count) * (n.cache_tokens / u64::from(BLOCK_TOKENS)))
        .sum();
    let mut world = World {
        fleet,
        queue: FairQueue::new(options.limits),
        router: Router::new(fleet, policy, options)?,
        events: BinaryHeap::new(),
        sequence: 0,
        wakes: Vec::new(),
        look_again_at: None,
        tally: Tally::new(options.slo).map_err(|_| SimulationError::TooManyNodes)?,
        oracle: Oracle::new(cache_blocks),
        waits_for_nodes: policy.waits_for_nodes(),
        lanes: Vec::new(),
        batch: NumberMap::default(),
        elsewhere: 0,
    };
    world.wakes = vec![u64::MAX; world.router.nodes.len()];
    world.plan_failures();
    loop {
        let arrival = arrivals.next_at();
        let event = world.events.peek().map(|Reverse((at, ..))| *at);
        match (arrival, event) {
            (Some(arrival), event) if event.is_none_or(|event| arrival < event) => {
                world.router.now_us = arrival;
                if let Some(arrival) = arrivals.take()? {
                    world.arrive(arrival);
                }
            }
            (arrival, Some(_)) => {
                // After the last request only failures may be left.
                if arrival.is_none() && world.queue.waiting() + world.queue.running() == 0 {
                    break;
                }
                world.happen();
            }
            (_, None) => break,
        }
        world.follow_up();
    }
    Ok(world.report(policy.name(), options.flood.is_some()))
}

impl World<'_> {
    fn schedule(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at_us, self.sequence, event)));
    }

    fn plan_failures(&mut self) {
        let mut first = 0_u32;
        let fleet = self.fleet;
        for group in &fleet.nodes {
            for failure in &group.failures {
                for node in first..first + group.count {
                    let (at, length) = (failure.at_s * 1e6, failure.for_s * 1e6);
                    for repeat in 0..=failure.repeats {
                        let down = at + 2.0 * length * f64::from(repeat);
                        self.schedule(down as u64, Event::Fail(node));
                        self.schedule((down + length) as u64, Event::Recover(node));
                    }
                }
            }
            first += group.count;
        }
    }

    /// Returns the model of a request: the one it names, or one drawn by the shares of the models.
    fn model_of(&self, request: &TraceRequest) -> Option<u32> {
        if let Some(name) = &request.model {
            let known = self.fleet.models.iter().position(|m| m.name == *name);
            return known.map(|index| index as u32);
        }
        let sum: f32 = self.fleet.models.iter().map(|m| m.share).sum();
        let drawn = fold(self.tally.requests ^ 0x5EED);
        let mut left = (drawn >> 40) as f32 / (1_u64 << 24) as f32 * sum;
        for (index, model) in self.fleet.models.iter().enumerate() {
            if left < model.share {
                return Some(index as u32);
            }
            left -= model.share;
        }
        Some(0)
    }

    fn arrive(&mut self, arrival: Arrival) {
        let Arrival {
            request: trace,
            tenant,
            floods,
        } = arrival;
        let model = self.model_of(&trace);
        self.tally.requests += 1;
        self.oracle.observe(&trace.blocks, trace.prompt_tokens);
        let Some(model) = model else {
            self.tally.failed += 1;
            return;
        };
        let expected = u64::from(trace.prompt_tokens) + u64::from(Priors::OUTPUT_TOKENS);
        let cost = self.cost(model, trace.prompt_tokens, Priors::OUTPUT_TOKENS);
        let waiting = Waiting {
            lane: Spot::Any(model).lane(),
            class: trace.class,
            tenant: Tenant {
                organisation: u128::from(tenant),
                user: 0,
            },
            cost,
        };
        let request = self.router.requests.insert(Request {
            model,
            prompt_tokens: trace.prompt_tokens,
            output_tokens: trace.output_tokens,
            blocks: trace.blocks,
            tenant,
            floods,
            ticket: None,
            arrived_us: self.router.now_us,
            sent_us: 0,
            first_token_us: None,
            cached_tokens: 0,
            tries: 0,
            waits_for: None,
            seat: None,
            expected_tokens: expected,
            parked_prompt_tokens: 0,
            pending_prompt_tokens: 0,
            queued_tokens: 0,
        });
        let now = self.router.now();
        let Ok(ticket) = self.queue.push(waiting, request, now) else {
            self.tally.refused += 1;
            self.router.requests.remove(request);
            return;
        };
        if trace.class == Class::Batch {
            self.batch.insert(ticket.as_u64(), request);
        }
        self.router.park(request, Spot::Any(model));
        offer(
            &mut self.queue,
            &[Spot::Any(model).lane()],
            now,
            &mut self.router,
        );
        self.hasten(ticket, request, model);
    }

    /// For a call that still waits: batch work gives its place up, or one more copy of its model is loaded.
    fn hasten(&mut self, ticket: Ticket, request: u32, model: u32) {
        if self.queue.payload(ticket).is_none() {
            return;
        }
        let seats = self.router.models[model as usize].seats.iter();
        let lanes = seats.map(|seat| Spot::Reserved(*seat).lane());
        if let Some(preemption) = self.queue.preempt(ticket, lanes) {
            if let Some(seat) = Spot::seat_of(preemption.seat) {
                self.router.park(request, Spot::Reserved(seat));
            }
            self.give_way(preemption.victim);
        }
        if self.router.could_prewarm(model)
            && let Some(place) = self.queue.place(ticket, self.router.now())
        {
            let expected_wait = place.expected_wait.unwrap_or_default();
            self.router.prewarm(model, expected_wait);
        }
    }

    /// Stops a call that gives its place up and lets it wait again.
    fn give_way(&mut self, victim: Ticket) {
        let Some(request) = self.batch.get(&victim.as_u64()).copied() else {
            return;
        };
        let Some(model) = self.router.withdraw(request) else {
            return;
        };
        let lane = Spot::Any(model).lane();
        if self.queue.put_back(victim, lane, request) {
            self.tally.preempted += 1;
            self.router.park(request, Spot::Any(model));
        }
    }

    /// Ends a call's ticket.
    fn end_ticket(&mut self, ticket: Ticket, used: u64) {
        self.queue.end(ticket, used);
        if !self.batch.is_empty() {
            self.batch.remove(&ticket.as_u64());
        }
    }

    fn cost(&self, model: u32, prompt_tokens: u32, output_tokens: u32) -> u64 {
        let weight = self
            .router
            .models
            .get(model as usize)
            .map_or(1.0, |m| m.cost);
        token_cost(u64::from(prompt_tokens), u64::from(output_tokens), weight)
    }

    fn happen(&mut self) {
        let Some(Reverse((at, _, event))) = self.events.pop() else {
            return;
        };
        // Events of the same moment as an arrival keep their order; none goes back.
        self.router.now_us = self.router.now_us.max(at);
        match event {
            Event::Wake(node) => self.wake(node, at),
            Event::Lost(request) => self.try_again(request),
            Event::Fail(node) => {
                let now_us = self.router.now_us;
                let lost = self.router.nodes[node as usize].fail(now_us);
                self.router.node_failed(node);
                for request in lost {
                    self.try_again(request);
                }
            }
            Event::Recover(node) => {
                let now_us = self.router.now_us;
                self.router.nodes[node as usize].recover(now_us);
            }
            Event::LookAgain => {
                self.look_again_at = None;
                self.look_again();
            }
        }
    }

    fn wake(&mut self, node: u32, at: u64) {
        if self.wakes[node as usize] != at {
            return;
        }
        self.wakes[node as usize] = u64::MAX;
        let now_us = self.router.now_us;
        self.router.touched.push(node);
        loop {
            let requests = &self.router.requests;
            let happening = self.router.nodes[node as usize]
                .happening(now_us, |request| requests.blocks(request));
            match happening {
                Some(Happening::Loaded { model }) => self.router.loaded(node, model),
                Some(Happening::FirstToken {
                    request,
                    cached_tokens,
                }) => self.first_token(request, cached_tokens),
                Some(Happening::Finished { request }) => self.finish(request),
                None => break,
            }
        }
    }

    fn first_token(&mut self, request: u32, cached_tokens: u32) {
        self.router.first_token(request);
        let now_us = self.router.now_us;
        if let Some(running) = self.router.requests.get_mut(request) {
            running.first_token_us.get_or_insert(now_us);
            running.cached_tokens = cached_tokens;
            if let Some(ticket) = running.ticket {
                self.queue.first_token(ticket);
            }
        }
    }

    fn finish(&mut self, request: u32) {
        let now_us = self.router.now_us;
        let Some(running) = self.router.requests.get(request) else {
            return;
        };
        let first_token_us = running.first_token_us.unwrap_or(now_us);
        let first_token = Duration::from_micros(first_token_us.saturating_sub(running.sent_us));
        let sample = SpeedSample {
            prefill_tokens: u64::from(running.prompt_tokens - running.cached_tokens),
            prefill: first_token,
            first_token: Some(first_token),
            decode_tokens: u64::from(running.output_tokens.saturating_sub(1)),
            decode: Duration::from_micros(now_us - first_token_us),
        };
        let sample = (running.tries == 1).then_some(sample);
        let alone_us = self.alone_us(running);
        self.router
            .ended(request, CallOutcome::Success, sample.as_ref());
        let Some(done) = self.router.requests.remove(request) else {
            return;
        };
        if let Some(ticket) = done.ticket {
            let used = self.cost(done.model, done.prompt_tokens, done.output_tokens);
            self.end_ticket(ticket, used);
        }
        self.tally.prompt_tokens += u64::from(done.prompt_tokens);
        self.tally.cached_tokens += u64::from(done.cached_tokens);
        self.tally.last_end_us = now_us;
        self.tally.serve(&Served {
            tenant: done.tenant,
            floods: done.floods,
            first_token_us: first_token_us - done.arrived_us,
            total_us: now_us - done.arrived_us,
            output_tokens: done.output_tokens,
            alone_us,
        });
    }

    /// Returns what a request would take without cache and without others on the fastest node.
    fn alone_us(&self, request: &Request) -> u64 {
        let fastest = |rate: fn(&super::fleet::NodeSpec) -> f32| {
            let rates = self.fleet.nodes.iter().map(rate);
            f64::from(rates.fold(f32::MIN_POSITIVE, f32::max))
        };
        let prefill = f64::from(request.prompt_tokens) / fastest(|n| n.prefill_tokens_per_s);
        let decode = f64::from(request.output_tokens) / fastest(|n| n.decode_tokens_per_s);
        ((prefill + decode) * 1e6) as u64
    }

    /// Puts a call whose node failed back into the queue, or gives it up after too many tries.
    fn try_again(&mut self, request: u32) {
        self.router
            .ended(request, CallOutcome::ConnectFailure, None);
        let Some(failed) = self.router.requests.get(request) else {
            return;
        };
        let (model, tries, ticket) = (failed.model, failed.tries, failed.ticket);
        if let Some(ticket) = ticket
            && tries < MAX_TRIES
            && self
                .queue
                .put_back(ticket, Spot::Any(model).lane(), request)
        {
            self.tally.retries += 1;
            self.router.park(request, Spot::Any(model));
            let now = self.router.now();
            offer(
                &mut self.queue,
                &[Spot::Any(model).lane()],
                now,
                &mut self.router,
            );
            return;
        }
        if let Some(ticket) = ticket {
            self.end_ticket(ticket, 0);
        }
        self.router.requests.remove(request);
        self.tally.failed += 1;
        self.tally.last_end_us = self.router.now_us;
    }

    /// After every event: offers what became free, and sees to it that what was started will be noticed.
    fn follow_up(&mut self) {
        let now_us = self.router.now_us;
        while let Some(node) = self.router.touched.pop() {
            self.offer_node(node);
            if let Some(at) = self.router.nodes[node as usize].next_wake_us()
                && self.wakes[node as usize] != at.max(now_us)
            {
                self.wakes[node as usize] = at.max(now_us);
                self.schedule(at.max(now_us), Event::Wake(node));
            }
        }
        while let Some(request) = self.router.lost.pop() {
            self.schedule(now_us + LOST_AFTER_US, Event::Lost(request));
        }
        let stranded = self.router.models.iter().any(|m| m.stranded > 0);
        let again = stranded.then_some(now_us + STRANDED_EVERY_US);
        let held = self.router.look_again_us.take();
        if let Some(at) = again.into_iter().chain(held).min()
            && self.look_again_at.is_none_or(|planned| at < planned)
        {
            self.look_again_at = Some(at);
            self.schedule(at, Event::LookAgain);
        }
    }

    fn report(self, policy: &'static str, has_flood: bool) -> Report {
        let prompt_tokens = self.tally.prompt_tokens.max(1) as f64;
        let cached = self.tally.cached_tokens as f64;
        let mut report = self.tally.report(policy, has_flood);
        report.prefix = PrefixReport {
            hit_ratio: cached / prompt_tokens,
            oracle: self.oracle.boundless_tokens as f64 / prompt_tokens,
            bounded_oracle: self.oracle.bounded_tokens as f64 / prompt_tokens,
            of_bounded_oracle: cached / (self.oracle.bounded_tokens.max(1) as f64),
        };
        let nodes = &self.router.nodes;
        let time = report.duration_s * 1e6 * nodes.len() as f64;
        let slots: f64 = self
            .fleet
            .nodes
            .iter()
            .map(|n| f64::from(n.slots) * f64::from(n.count))
            .sum();
        report.cold_loads = nodes.iter().map(|n| n.cold_loads).sum();
        report.reading_utilisation = nodes.iter().map(|n| n.reading_us as f64).sum::<f64>() / time;
        report.slot_utilisation = nodes.iter().map(|n| n.slot_us as f64).sum::<f64>()
            / (report.duration_s * 1e6 * slots.max(1.0));
        report
    }
}
