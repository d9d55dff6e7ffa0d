//! Admission: every inference call takes its turn in one fair queue before it is sent to a node.
//!
//! A call whose node has room, and before which nobody waits, is counted in and goes on at once ([`start_now`]). All others
//! wait ([`wait`]) until a place becomes free, and are started in the queue's order by whoever frees it ([`guards`]). What is
//! decided for a waiting call is decided by `scheduling::step`, as in a simulation.
//!
//! There is one lock. It is held while counting and deciding, never while waking, and never across an await.

mod desk;
mod guards;
mod hall;
#[cfg(test)]
mod leaks;
mod memory;
mod spot;
mod standing;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::{NodeView, ServerFlavour};
use dialects::ApiError;
use parking_lot::Mutex;
use primitives::{ErrorKind, MonotonicTime, NodeId};
use scheduling::queue::{
    Class, FairQueue, Lane, Place as QueuePlace, QueueLimits, Refusal, RefusalReason, Tenant,
    Ticket, Waiting, token_cost,
};
use scheduling::{Candidate, CapacityRule, Portion, Priors, Residency};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::desk::{Wakes, offer_all, offer_lanes, offer_lines};
use self::hall::Hall;
use self::memory::Told;
use self::spot::Spot;
use crate::exchange::Exchange;
use crate::fleet_view::{Replica, RouteTable};
use crate::metrics::Metrics;
use crate::routing::{Chosen, EXPECTED_COMPLETION};
use crate::shared::Shared;

pub(crate) use self::guards::{Load, Place, Turn};
pub(crate) use self::hall::Facts;
pub(crate) use self::spot::ModelKey;
pub(crate) use self::standing::{Queued, SharedStanding, Standing};

/// A node that reads prompts one after the other may have unread ones for this time in front of it.
const PROMPT_BUDGET_S: f32 = 0.25;
/// Calls at once to servers that batch continuously and do not tell how many they take: more than most are set to, so that they
/// are never kept idle.
const BATCHING_SLOTS: u32 = 1024;
/// How soon to come back after a wait that was too long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What a waiting call is told.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It starts here.
    Seat(Chosen),
    /// Nobody can serve it any more.
    Nobody,
}

/// The queue and all that is counted for it.
#[derive(Debug)]
pub(crate) struct Admission {
    state: Mutex<State>,
    /// Seats whose replica is gone.
    vacated: Arc<Mutex<Vec<u32>>>,
}

#[derive(Debug)]
struct State {
    queue: FairQueue<u64>,
    hall: Hall,
}

/// A seat's number; dropping it gives the seat back.
#[derive(Debug)]
pub(crate) struct SeatOwner {
    number: u32,
    vacated: Arc<Mutex<Vec<u32>>>,
}

impl SeatOwner {
    /// Returns the seat's number.
    pub(crate) const fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for SeatOwner {
    fn drop(&mut self) {
        self.vacated.lock().push(self.number);
    }
}

/// One call that waits, as it is shown.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) class: Class,
    pub(crate) tenant: Tenant,
    pub(crate) caller: Arc<str>,
    pub(crate) model: Arc<str>,
    pub(crate) place: Option<QueuePlace>,
    pub(crate) age: Duration,
}

impl Admission {
    /// Makes an empty queue with the usual bounds.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            state: Mutex::new(State {
                queue: FairQueue::new(QueueLimits::default()),
                hall: Hall::new(Class::ALL.map(|class| metrics.queue_waiting(class.as_str()))),
            }),
            vacated: Arc::default(),
        }
    }

    /// Makes a seat for a model on a node.
    pub(crate) fn open_seat(&self, node: NodeId, model: &str) -> SeatOwner {
        SeatOwner {
            number: self.state.lock().hall.open_seat(node, model),
            vacated: self.vacated.clone(),
        }
    }

    /// Sets how many calls a seat takes by what its node tells.
    pub(crate) fn set_rule(&self, seat: u32, node: &NodeView) {
        self.state.lock().hall.set_rule(seat, capacity_rule(node));
    }

    /// Replaces the queue's bounds; who waits stays.
    pub(crate) fn set_limits(&self, limits: QueueLimits) {
        self.state.lock().queue.set_limits(limits);
    }

    /// Says where anything is still counted.
    #[cfg(test)]
    fn leftovers(&self) -> Vec<String> {
        let state = self.state.lock();
        let mut left = state.hall.leftovers();
        if state.queue.waiting() + state.queue.running() > 0 {
            let (waiting, running) = (state.queue.waiting(), state.queue.running());
            left.push(format!("{waiting} wait and {running} run"));
        }
        left
    }

    /// Takes in what nodes tell of their memory.
    fn observe(&self, table: &RouteTable, now: MonotonicTime) {
        let mut of_nodes: HashMap<NodeId, Vec<Told>> = HashMap::new();
        for replica in table.routes().flat_map(|route| &route.replicas) {
            let told = Told {
                seat: replica.live.seat.number(),
                is_told: replica.residency != Residency::Unknown,
                loaded: matches!(replica.residency, Residency::Loaded { .. }),
                bytes: replica
                    .model
                    .loaded
                    .as_ref()
                    .and_then(|loaded| loaded.size_bytes)
                    .or(replica.model.size_bytes),
            };
            of_nodes.entry(replica.node.view.id).or_default().push(told);
        }
        let mut state = self.state.lock();
        for told in of_nodes.values() {
            state.hall.observe(told, now);
        }
    }

    /// Completes candidates by how full their nodes are and by what waits for them.
    pub(crate) fn describe(
        &self,
        replicas: &[Arc<Replica>],
        now: MonotonicTime,
        candidates: &mut [Candidate<'_>],
    ) {
        let mut state = self.state.lock();
        for (replica, candidate) in replicas.iter().zip(candidates) {
            describe(&mut state.hall, replica, Portion::Whole, now, candidate);
        }
    }

    /// Returns where a call stands that still waits.
    pub(crate) fn standing(&self, ticket: Ticket, now: MonotonicTime) -> Option<QueuePlace> {
        self.state.lock().queue.place(ticket, now)
    }

    /// Lists who waits, the first to come first, at most `limit`; and counts those who wait and those who run.
    pub(crate) fn list(&self, limit: usize, now: MonotonicTime) -> (Vec<Waiter>, usize, usize) {
        let state = self.state.lock();
        let waiters = state
            .hall
            .all_parked()
            .take(limit)
            .map(|parked| Waiter {
                class: parked.facts.class,
                tenant: parked.facts.tenant,
                caller: parked.facts.caller.clone(),
                model: parked.facts.model.clone(),
                place: state.queue.place(parked.ticket, now),
                age: state.queue.age(parked.ticket, now).unwrap_or_default(),
            })
            .collect();
        (waiters, state.queue.waiting(), state.queue.running())
    }
}

/// Takes the present routes into account: who waits for a node that is gone goes elsewhere or hears that nobody is left.
pub(crate) fn refresh(shared: &Arc<Shared>) {
    let admission = &shared.live.admission;
    let table = shared.routes.load_full();
    admission.observe(&table, shared.clock.monotonic());
    let present: HashSet<ModelKey> = table.routes().map(|route| route.key).collect();
    let wakes = {
        let mut state = admission.state.lock();
        let wakes = [
            offer_lines(shared, &mut state),
            offer_all(shared, &mut state),
        ];
        let State { queue, hall } = &mut *state;
        for model in &present {
            hall.add_model(*model);
        }
        hall.retain_models(&present, queue);
        admission.vacated.lock().retain(|seat| {
            let closed = hall.close_seat(*seat);
            if closed {
                queue.close_lane(Spot::Reserved(*seat).lane());
                queue.close_lane(Spot::Line(*seat).lane());
            }
            !closed
        });
        wakes
    };
    wakes.into_iter().for_each(Wakes::send);
}

/// Offers everything to everybody who waits: breakers close by time alone, and no event tells of it.
pub(crate) fn look_again(shared: &Arc<Shared>) {
    let wakes = {
        let mut state = shared.live.admission.state.lock();
        if state.queue.waiting() == 0 {
            return;
        }
        offer_all(shared, &mut state)
    };
    wakes.send();
}

/// Starts a call at a replica at once, if there is room and nobody waits before it.
pub(crate) fn start_now(
    exchange: &mut Exchange,
    replica: &Arc<Replica>,
) -> Result<Option<Chosen>, ApiError> {
    let shared = exchange.shared().clone();
    let now = shared.clock.monotonic();
    let mut state = shared.live.admission.state.lock();
    let State { queue, hall } = &mut *state;
    let Some(seat) = hall.seat(replica.live.seat.number()) else {
        return Ok(None);
    };
    let (model, awaited) = (exchange.route.key, seat.is_awaited());
    let free = has_room(hall, replica, now);
    if exchange.turn.is_none() {
        // Whoever waits for this goes first.
        let others = queue.waiting() > 0
            && (awaited
                || queue.waiting_in(Spot::Any(model).lane()) > 0
                || queue.waiting_in(Spot::Again(model).lane()) > 0);
        if others || !free {
            return Ok(None);
        }
        let ticket = match queue.push(waiting(exchange, Spot::Any(model).lane()), 0, now) {
            Ok(ticket) => ticket,
            Err(refusal) => {
                drop(state);
                return Err(refused(&shared, exchange.class, refusal));
            }
        };
        if queue.is_heavy(ticket, now) {
            queue.end(ticket, 0);
            return Ok(None);
        }
        queue.start(
            ticket,
            Spot::Reserved(replica.live.seat.number()).lane(),
            now,
        );
        shared.metrics.queue_running.set(queue.running() as i64);
        exchange.turn = Some(Turn::new(shared.clone(), ticket));
    } else if !free {
        return Ok(None);
    }
    let place = Place::take(&shared, hall, replica, &exchange.load());
    Ok(Some(Chosen {
        replica: replica.clone(),
        place,
    }))
}

/// Waits until the call can start somewhere; `None` when nobody can serve it any more. Dropping the future leaves the queue.
///
/// # Errors
///
/// 429 when the queue is full, 503 when the wait was too long: both with Retry-After.
pub(crate) async fn wait(
    exchange: &mut Exchange,
    deadline: Instant,
) -> Result<Option<Chosen>, ApiError> {
    let shared = exchange.shared().clone();
    let (answer, mut verdict) = oneshot::channel();
    let standing = enter(&shared, exchange, answer)?;
    let told = if let Ok(told) = verdict.try_recv() {
        Ok(Ok(told))
    } else {
        exchange.begin_waiting(standing);
        let told = tokio::time::timeout_at(deadline, verdict).await;
        exchange.end_waiting();
        told
    };
    match told {
        Ok(Ok(Verdict::Seat(chosen))) => Ok(Some(chosen)),
        Ok(Ok(Verdict::Nobody) | Err(_)) => Ok(None),
        Err(_) => {
            exchange.turn = None;
            shared.metrics.queue_refused("timeout");
            Err(ApiError::new(
                ErrorKind::Unavailable,
                format!(
                    "no node became free for {} within {} s: try again later, or add a node",
                    exchange.route.name,
                    shared.config.first_token_timeout.as_secs()
                ),
            )
            .with_retry_after(RETRY_AFTER))
        }
    }
}

/// Puts a call into the queue and offers it what is free; returns where it stands, if it waits.
fn enter(
    shared: &Arc<Shared>,
    exchange: &mut Exchange,
    answer: oneshot::Sender<Verdict>,
) -> Result<Option<(Ticket, QueuePlace)>, ApiError> {
    let now = shared.clock.monotonic();
    let facts = exchange.facts();
    let model = exchange.route.key;
    let held = exchange.turn.as_ref().map(Turn::ticket);
    let (wakes, ticket, standing) = {
        let mut state = shared.live.admission.state.lock();
        let State { queue, hall } = &mut *state;
        let key = hall.new_key();
        // A retry has its place among the calls of its user; a client that has half of an answer goes before all.
        let spot = if exchange.continued > 0 {
            Spot::Again(model)
        } else {
            Spot::Any(model)
        };
        let ticket = match held {
            Some(ticket) if queue.put_back(ticket, spot.lane(), key) => ticket,
            _ => match queue.push(waiting(exchange, spot.lane()), key, now) {
                Ok(ticket) => ticket,
                Err(refusal) => {
                    drop(state);
                    return Err(refused(shared, exchange.class, refusal));
                }
            },
        };
        hall.add_model(model);
        hall.enter(key, ticket, facts, spot, answer);
        let wakes = offer_lanes(shared, &mut state, &[spot.lane()]);
        let standing = state.queue.place(ticket, now);
        (wakes, ticket, standing)
    };
    // Only here: a turn that is replaced takes the lock.
    if held != Some(ticket) {
        exchange.turn = Some(Turn::new(shared.clone(), ticket));
    }
    wakes.send();
    Ok(standing.map(|place| (ticket, place)))
}

/// Lets a call run without a place: it goes along in another one's, on its own account.
pub(crate) fn ride(exchange: &mut Exchange) {
    let shared = exchange.shared().clone();
    let now = shared.clock.monotonic();
    let held = exchange.turn.as_ref().map(Turn::ticket);
    let (left, ticket) = {
        let mut state = shared.live.admission.state.lock();
        let State { queue, hall } = &mut *state;
        let ticket = match held {
            Some(ticket) => Some(ticket),
            // A full queue is no reason not to go along: nothing waits for it.
            None => queue
                .push(
                    waiting(exchange, Spot::Any(exchange.route.key).lane()),
                    0,
                    now,
                )
                .ok(),
        };
        let left = ticket
            .and_then(|ticket| queue.start(ticket, desk::NOBODY, now))
            .and_then(|key| hall.leave(key));
        shared.metrics.queue_running.set(queue.running() as i64);
        (left, ticket)
    };
    // Not under the lock: the other end of its channel may be woken, and a turn that is replaced takes the lock.
    drop(left);
    if held.is_none() {
        exchange.turn = ticket.map(|ticket| Turn::new(shared, ticket));
    }
}

fn waiting(exchange: &Exchange, lane: Lane) -> Waiting {
    let asked = &exchange.asked;
    let output = asked.max_tokens.unwrap_or(EXPECTED_COMPLETION);
    Waiting {
        lane,
        class: exchange.class,
        tenant: exchange.tenant,
        cost: token_cost(u64::from(asked.prompt_tokens), u64::from(output), 1.0),
    }
}

fn refused(shared: &Shared, class: Class, refusal: Refusal) -> ApiError {
    let reason = match refusal.reason {
        RefusalReason::ClassFull => "class_full",
        RefusalReason::OrganisationFull => "organisation_full",
    };
    shared.metrics.queue_refused(reason);
    ApiError::new(
        ErrorKind::TooMany,
        format!(
            "the queue for {} requests is full: {refusal}",
            class.as_str()
        ),
    )
    .with_code("queue_full")
    .with_retry_after(refusal.retry_after)
}

fn has_room(hall: &mut Hall, replica: &Replica, now: MonotonicTime) -> bool {
    let view = &replica.node.view;
    let mut candidate = Candidate {
        in_flight: view.activity.in_flight(),
        prefill_tokens_per_s: replica.live.speed.lock().prefill_tokens_per_s(),
        ..Candidate::new(view.id, &view.name)
    };
    describe(hall, replica, Portion::Whole, now, &mut candidate);
    !candidate.full
}

fn describe(
    hall: &mut Hall,
    replica: &Replica,
    portion: Portion,
    now: MonotonicTime,
    candidate: &mut Candidate<'_>,
) {
    let view = &replica.node.view;
    // A node's ceiling and its slots are one for all of its models.
    let limit = view.max_in_flight.or(view.slots);
    let budget = if batches(view) {
        u64::MAX
    } else {
        let speed = candidate
            .prefill_tokens_per_s
            .unwrap_or(Priors::PREFILL_TOKENS_PER_S);
        (speed * PROMPT_BUDGET_S) as u64
    };
    let seat = replica.live.seat.number();
    let verdict = hall.may_run(seat, now);
    hall.describe(seat, limit, budget, portion, verdict, candidate);
}

fn capacity_rule(view: &NodeView) -> CapacityRule {
    let told = view.max_in_flight.or(view.slots);
    told.or(batches(view).then_some(BATCHING_SLOTS))
        .map_or(CapacityRule::Learned, CapacityRule::Fixed)
}

/// Tells whether the server reads new prompts while it answers others. Ollama and llama.cpp work on a few requests at a time;
/// whatever else speaks OpenAI's dialect is taken to batch continuously, as vLLM does.
const fn batches(view: &NodeView) -> bool {
    !matches!(
        view.server,
        ServerFlavour::Ollama
            | ServerFlavour::LlamaServer
            | ServerFlavour::LlamaCppPython
            | ServerFlavour::Embedded
    )
}
