//! Decides for those who wait when something became free, and starts them.

use std::sync::Arc;

use primitives::MonotonicTime;
use scheduling::queue::{Lane, Ticket};
use scheduling::{
    Call, Dispatch, Placement, Portion, Row, Step, View, exclusion, may_reserve, offer,
    step_anywhere, step_of,
};
use tokio::sync::oneshot;

use super::guards::{Load, Place, unread};
use super::hall::Hall;
use super::spot::Spot;
use super::{Facts, ModelKey, State, Verdict, describe};
use crate::fleet_view::{Replica, Route, RouteTable};
use crate::routing::{self, Chosen, EXPECTED_COMPLETION, Mood};
use crate::shared::Shared;

/// Where calls stand for the moment between being given up and being told.
pub(super) const NOBODY: Lane = Lane(u64::MAX);

/// Who must be woken once the lock is released.
#[derive(Debug, Default)]
pub(super) struct Wakes(Vec<(oneshot::Sender<Verdict>, Verdict)>);

impl Wakes {
    /// Wakes them. Whoever has left in the meantime gives his place back, which may wake others.
    pub(super) fn send(self) {
        for (answer, verdict) in self.0 {
            drop(answer.send(verdict));
        }
    }
}

/// Offers what is free to those who wait in `lanes`.
pub(super) fn offer_lanes(shared: &Arc<Shared>, state: &mut State, lanes: &[Lane]) -> Wakes {
    let mut desk = Desk::new(shared, &mut state.hall);
    desk.offer(&mut state.queue, lanes);
    desk.wakes
}

/// Offers what became free at a seat: the node's other models may use it, too.
pub(super) fn offer_around(shared: &Arc<Shared>, state: &mut State, seat: u32) -> Wakes {
    let seats = state.hall.neighbours(seat).to_vec();
    let models = seats
        .iter()
        .filter_map(|seat| Some(state.hall.seat(*seat)?.model))
        .collect::<Vec<_>>();
    offer_groups(shared, state, &seats, &models)
}

/// Offers everything to everybody.
pub(super) fn offer_all(shared: &Arc<Shared>, state: &mut State) -> Wakes {
    let seats: Vec<u32> = state.hall.awaited_seats().collect();
    let models = state.hall.models().collect::<Vec<_>>();
    offer_groups(shared, state, &seats, &models)
}

/// Lets those who wait for one seat look again by themselves, so that they leave seats that are gone.
pub(super) fn offer_lines(shared: &Arc<Shared>, state: &mut State) -> Wakes {
    let lines: Vec<Lane> = state
        .hall
        .awaited_seats()
        .map(|seat| Spot::Line(seat).lane())
        .filter(|lane| state.queue.waiting_in(*lane) > 0)
        .collect();
    offer_lanes(shared, state, &lines)
}

/// Offers first to those whose answer has begun, then to those who have their turn at a seat, then to all others.
fn offer_groups(
    shared: &Arc<Shared>,
    state: &mut State,
    seats: &[u32],
    models: &[ModelKey],
) -> Wakes {
    let of_models = |spot: fn(ModelKey) -> Spot| models.iter().map(move |m| spot(*m).lane());
    let of_seats = |spot: fn(u32) -> Spot| seats.iter().map(move |seat| spot(*seat).lane());
    let groups = [
        of_models(Spot::Again).collect::<Vec<_>>(),
        of_seats(Spot::Reserved).collect(),
        of_seats(Spot::Line).chain(of_models(Spot::Any)).collect(),
    ];
    let mut desk = Desk::new(shared, &mut state.hall);
    for mut lanes in groups {
        lanes.retain(|lane| state.queue.waiting_in(*lane) > 0);
        if !lanes.is_empty() {
            desk.offer(&mut state.queue, &lanes);
        }
    }
    desk.wakes
}

/// One round of decisions.
struct Desk<'a> {
    shared: &'a Arc<Shared>,
    hall: &'a mut Hall,
    table: Arc<RouteTable>,
    now: MonotonicTime,
    offered: Vec<Lane>,
    /// The replica of the decision just made.
    replica: Option<Arc<Replica>>,
    /// Calls that nobody can serve.
    lost: Vec<(Ticket, u64)>,
    moved: usize,
    wakes: Wakes,
}

/// What was found out about a call.
struct Asked {
    step: Step,
    route: Option<Arc<Route>>,
    /// Whether the seat it waits for could still serve it.
    keeps_spot: bool,
}

impl<'a> Desk<'a> {
    fn new(shared: &'a Arc<Shared>, hall: &'a mut Hall) -> Self {
        Self {
            shared,
            hall,
            table: shared.routes.load_full(),
            now: shared.clock.monotonic(),
            offered: Vec::new(),
            replica: None,
            lost: Vec::new(),
            moved: 0,
            wakes: Wakes::default(),
        }
    }

    /// Offers until nothing changes any more. Each round takes somebody out of the lanes, so this ends.
    fn offer(&mut self, queue: &mut scheduling::queue::FairQueue<u64>, lanes: &[Lane]) {
        self.offered = lanes.to_vec();
        loop {
            self.moved = 0;
            let started = offer(queue, lanes, self.now, self);
            let lost = std::mem::take(&mut self.lost);
            for (ticket, key) in &lost {
                // It counts as running until it is ended, so that it keeps its turn if it tries again.
                queue.start(*ticket, NOBODY, self.now);
                if let Some(parked) = self.hall.leave(*key) {
                    self.wakes.0.push((parked.answer, Verdict::Nobody));
                }
            }
            if started + lost.len() + self.moved == 0 {
                break;
            }
        }
        self.shared
            .metrics
            .queue_running
            .set(queue.running() as i64);
    }

    fn ask(&mut self, key: u64, portion: Portion) -> Asked {
        let random = self.hall.random();
        let nobody = Asked {
            step: Step::Nobody,
            route: None,
            keeps_spot: false,
        };
        let Some((facts, spot)) = self.hall.parked(key).map(|p| (p.facts.clone(), p.spot)) else {
            return nobody;
        };
        let Some(route) = self.table.model(&facts.model).cloned() else {
            return nobody;
        };
        let call = Call {
            model: &route.name,
            prompt_tokens: facts.prompt_tokens,
            max_tokens: facts.max_tokens,
            num_ctx: facts.num_ctx,
            prefix: &facts.prefix,
            tags: &route.require_tags,
            now: self.now,
            random,
        };
        let idle_readers = route
            .replicas
            .iter()
            .filter(|replica| self.hall.is_reading_none(replica.live.seat.number()))
            .count();
        // Somebody who holds most of what runs leaves one node free to read the prompts of others.
        let may_read = portion == Portion::Whole || idle_readers > 1 || route.replicas.len() == 1;
        for mood in [Mood::Choosy, Mood::Desperate] {
            let mut keeps_spot = spot.seat().is_none();
            let looks = mood.looks(&route.require_tags);
            let rows: Vec<Row> = route
                .replicas
                .iter()
                .map(|replica| {
                    let excluded = facts.excludes(replica.node.view.id);
                    let mut seen = mood.of(routing::candidate(
                        self.shared,
                        replica,
                        &call,
                        facts.embeds,
                        excluded,
                    ));
                    let full = describe(self.hall, replica, looks, self.now, &mut seen);
                    keeps_spot |= spot.seat() == Some(replica.live.seat.number())
                        && exclusion(&call, &seen).is_none();
                    let mut row = Row::of(&seen, call.tags);
                    row.set_full(seen.full, full);
                    let seat = replica.live.seat.number();
                    row.set_reading(!self.hall.is_reading_none(seat));
                    row
                })
                .collect();
            let policy = route.policy.as_ref();
            let view = View::new(&rows, portion);
            let step = match spot {
                // A client that has half of an answer does not pay for what others of its organisation ask.
                Spot::Again(_) => step_anywhere(policy, &call, View::new(&rows, Portion::Whole)),
                _ if may_read => step_of(policy, &call, view),
                _ => step_of(policy, &call, view.closed()),
            };
            if step != Step::Nobody {
                return Asked {
                    step,
                    route: Some(route),
                    keeps_spot,
                };
            }
        }
        nobody
    }
}

/// Counts a waiting call at what it waits for from now on.
pub(super) fn park(
    shared: &Shared,
    hall: &mut Hall,
    key: u64,
    spot: Spot,
    replica: Option<&Arc<Replica>>,
) {
    let (tokens, prompt_tokens) = match (hall.parked(key), replica) {
        (Some(parked), Some(replica)) => {
            let load = load_of(&parked.facts);
            let unread = unread(shared, replica.node.view.id, &load);
            (unread + u64::from(load.answer_tokens), unread)
        }
        _ => (0, 0),
    };
    hall.park(key, spot, tokens, prompt_tokens);
}

fn load_of(facts: &Facts) -> Load<'_> {
    Load {
        prompt_tokens: facts.prompt_tokens,
        answer_tokens: facts.max_tokens.unwrap_or(EXPECTED_COMPLETION),
        prefix: &facts.prefix,
        streams: facts.streams,
        residency: facts.residency,
    }
}

impl Dispatch<u64> for Desk<'_> {
    fn decide(&mut self, ticket: Ticket, key: &u64, portion: Portion) -> Placement {
        let key = *key;
        let Some((model, was)) = self
            .hall
            .parked(key)
            .map(|parked| (ModelKey::of(&parked.facts.model), parked.spot))
        else {
            return Placement::Stay;
        };
        // Its own work is not in front of it.
        self.hall.asking = Some(model);
        self.hall.unpark(key);
        let placement = self.place(ticket, key, was, portion);
        self.hall.asking = None;
        if placement != Placement::Stay {
            self.hall.settle_contests(model);
        }
        placement
    }

    fn start(&mut self, ticket: Ticket, key: u64, _: Lane) {
        let (Some(replica), Some(parked)) = (self.replica.take(), self.hall.leave(key)) else {
            return;
        };
        // The verdict was asked a moment ago under this lock; a trial that another took meanwhile is one call too many.
        replica.live.breaker.lock().permit(self.now);
        let load = load_of(&parked.facts);
        let place = Place::take(self.shared, self.hall, &replica, &load, ticket);
        let chosen = Chosen { replica, place };
        self.wakes.0.push((parked.answer, Verdict::Seat(chosen)));
    }
}

impl Desk<'_> {
    fn place(&mut self, ticket: Ticket, key: u64, was: Spot, portion: Portion) -> Placement {
        let asked = self.ask(key, portion);
        let replica = |index: usize| asked.route.as_ref()?.replicas.get(index);
        let (spot, at) = match asked.step {
            Step::Start(index) => match replica(index) {
                Some(replica) => {
                    self.replica = Some(replica.clone());
                    return Placement::Start(Spot::Reserved(replica.live.seat.number()).lane());
                }
                None => (was, None),
            },
            Step::WaitFor(index) => match replica(index) {
                Some(replica) => {
                    let number = replica.live.seat.number();
                    let reserved = self.hall.seat(number).map_or(0, |seat| seat.reserved);
                    let spot = if was == Spot::Reserved(number) || may_reserve(reserved) {
                        Spot::Reserved(number)
                    } else {
                        Spot::Line(number)
                    };
                    (spot, Some(replica))
                }
                None => (was, None),
            },
            Step::WaitForAny if asked.keeps_spot => (was, None),
            Step::WaitForAny => match &asked.route {
                Some(route) => (Spot::Any(route.key), None),
                None => (was, None),
            },
            Step::Nobody => {
                self.lost.push((ticket, key));
                return Placement::Move(NOBODY);
            }
        };
        // Who is offered room in a lane may not move to another one of the same offer: nobody would look there again.
        let spot = if self.offered.contains(&spot.lane()) {
            was
        } else {
            spot
        };
        let at = at
            .filter(|replica| spot.seat() == Some(replica.live.seat.number()))
            .or_else(|| {
                let seat = spot.seat()?;
                let replicas = &asked.route.as_ref()?.replicas;
                replicas.iter().find(|r| r.live.seat.number() == seat)
            });
        park(self.shared, self.hall, key, spot, at);
        if spot == was {
            return Placement::Stay;
        }
        self.moved += 1;
        match spot {
            Spot::Reserved(_) => Placement::Reserve(spot.lane()),
            _ => Placement::Move(spot.lane()),
        }
    }
}
