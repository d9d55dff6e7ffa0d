//! Admission: every inference call takes its turn in one fair queue before it is sent to a node.
//!
//! A call whose node has room, and before which nobody waits, is counted in and goes on at once ([`start_now`]). All others
//! wait ([`wait`]) until a place becomes free, and are started in the queue's order by whoever frees it ([`guards`]). What is
//! decided for a waiting call is decided by `scheduling::step_of`, as in a simulation. What the nodes have in memory is followed
//! in [`memory`]; a call that must wait may have batch work give way ([`giving_way`]) or one more copy loaded ([`ahead`]).
//!
//! There is one lock. It is held while counting and deciding, never while waking, and never across an await.

mod ahead;
mod desk;
mod entry;
#[cfg(test)]
mod flood;
mod giving_way;
mod guards;
mod hall;
#[cfg(test)]
mod leaks;
mod memory;
mod spot;
mod standing;
mod waiting;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::{ModelView, NodeView, ServerFlavour};
use parking_lot::Mutex;
use primitives::{MonotonicTime, NodeId};
use scheduling::queue::{Class, FairQueue, Place as QueuePlace, QueueLimits, Tenant, Ticket};
use scheduling::{BreakerVerdict, Candidate, CapacityRule, Health, Priors, Residency};

use self::ahead::AheadLoad;
use self::desk::{Wakes, offer_all, offer_lines};
use self::hall::Hall;
use self::memory::Told;
use self::spot::Spot;
use crate::fleet_view::{Replica, RouteTable};
use crate::metrics::Metrics;
use crate::routing::Chosen;
use crate::shared::Shared;

pub(crate) use self::entry::{ride, start_now, wait};
pub(crate) use self::giving_way::{gave_way, has_to_give_way};
pub(crate) use self::guards::{Load, Place, Turn};
pub(crate) use self::spot::ModelKey;
pub(crate) use self::standing::{Queued, Standing};
pub(crate) use self::waiting::{Facts, excluded};

/// A node that reads prompts one after the other may have unread ones for this time in front of it.
const PROMPT_BUDGET_S: f32 = 0.25;
/// Calls at once to servers that batch continuously and do not tell how many they take: more than most are set to, so that they
/// are never kept idle.
const BATCHING_SLOTS: u32 = 1024;

/// How candidates are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Looks<'a> {
    /// As they are, by a call that needs these tags: what speaks against a node is noted, so that its models are not given up for
    /// calls that it may not serve.
    Closely(&'a [String]),
    /// For one answer only.
    InPassing,
}

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
        let mut state = self.state.lock();
        state.hall.set_rule(seat, capacity_rule(node));
        state.hall.set_pressure(seat, node.pressure);
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
    pub(crate) fn observe(&self, table: &RouteTable, metrics: &Metrics, now: MonotonicTime) {
        let mut of_nodes: HashMap<NodeId, (&Arc<[ModelView]>, Vec<Told>)> = HashMap::new();
        for replica in table.routes().flat_map(|route| &route.replicas) {
            let measured = replica.model.loaded.as_ref();
            let told = Told {
                seat: replica.live.seat.number(),
                tells: replica.residency != Residency::Unknown,
                loaded: matches!(replica.residency, Residency::Loaded { .. }),
                bytes: measured
                    .and_then(|loaded| loaded.size_bytes)
                    .or(replica.model.size_bytes),
            };
            let view = &replica.node.view;
            let (_, of_node) = of_nodes
                .entry(view.id)
                .or_insert_with(|| (&view.models, Vec::new()));
            of_node.push(told);
        }
        let mut state = self.state.lock();
        for (models, told) in of_nodes.values() {
            let gone = state.hall.observe(models, told, now);
            metrics.residency.driven_out(gone);
        }
    }

    /// Tells whether a replica's model is in its node's memory or on its way there: what was seen here is newer than what the node
    /// told last.
    pub(crate) fn has_in_memory(&self, replica: &Replica) -> bool {
        let told = matches!(replica.residency, Residency::Loaded { .. });
        told || self
            .state
            .lock()
            .hall
            .was_seen_there(replica.live.seat.number())
    }

    /// Completes candidates by how full their nodes are and by what waits for them. `looks` tells how they were looked at.
    pub(crate) fn describe(
        &self,
        replicas: &[Arc<Replica>],
        looks: Looks<'_>,
        now: MonotonicTime,
        candidates: &mut [Candidate<'_>],
    ) {
        let mut state = self.state.lock();
        for (replica, candidate) in replicas.iter().zip(candidates) {
            describe(&mut state.hall, replica, looks, now, candidate);
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
    admission.observe(&table, &shared.metrics, shared.clock.monotonic());
    let present: HashSet<ModelKey> = table.routes().map(|route| route.key).collect();
    let routable: HashSet<u32> = table
        .routes()
        .flat_map(|route| &route.replicas)
        .filter(|replica| replica.node.view.is_routable())
        .map(|replica| replica.live.seat.number())
        .collect();
    let wakes = {
        let mut state = admission.state.lock();
        let now = shared.clock.monotonic();
        state.hall.end_lost_loads(&routable, now);
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

/// Offers everything to everybody who waits: breakers close and holds end by time alone, and no event tells of it.
pub(crate) fn look_again(shared: &Arc<Shared>) {
    let (wakes, loads) = {
        let mut state = shared.live.admission.state.lock();
        let now = shared.clock.monotonic();
        state.hall.end_quiet_loads(now);
        state.hall.give_up_slow_loads(now);
        if state.queue.waiting() == 0 {
            return;
        }
        let wakes = offer_all(shared, &mut state);
        (wakes, ahead::look(shared, &mut state))
    };
    wakes.send();
    loads.into_iter().for_each(AheadLoad::spawn);
}

fn has_room(hall: &mut Hall, replica: &Replica, now: MonotonicTime) -> bool {
    let view = &replica.node.view;
    let mut candidate = Candidate {
        in_flight: view.activity.in_flight(),
        prefill_tokens_per_s: replica.live.speed.lock().prefill_tokens_per_s(),
        ..Candidate::new(view.id, &view.name)
    };
    describe(hall, replica, Looks::InPassing, now, &mut candidate);
    !candidate.full
}

/// Completes a candidate by what is counted; tells whether it is full for calls that leave headroom, too.
fn describe(
    hall: &mut Hall,
    replica: &Replica,
    looks: Looks<'_>,
    now: MonotonicTime,
    candidate: &mut Candidate<'_>,
) -> bool {
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
    if let Looks::Closely(tags) = looks {
        let is_refused = matches!(candidate.breaker, BreakerVerdict::Refuse { .. });
        let is_well = view.is_routable() && candidate.health != Health::Dead && !is_refused;
        let may_serve = tags.iter().all(|tag| view.tags.contains(tag));
        hall.set_usable(seat, is_well && may_serve);
    }
    let seen = hall.may_run(seat, now);
    // What was seen here is newer than what the node told last.
    match (seen.there, candidate.residency) {
        (Some(false), Residency::Loaded { .. }) => candidate.residency = Residency::OnDisk,
        (Some(true), Residency::OnDisk) => {
            candidate.residency = Residency::Loaded { context: None };
        }
        _ => {}
    }
    candidate.memory_free_bytes = seen.free_bytes;
    hall.describe(seat, limit, budget, seen.verdict, candidate)
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
