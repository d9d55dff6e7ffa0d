//! How a call gets into the queue and out of it: at once, after a wait, or along with another one.

use std::sync::Arc;
use std::time::Duration;

use dialects::ApiError;
use primitives::ErrorKind;
use scheduling::queue::{
    Class, Lane, Place as QueuePlace, Refusal, RefusalReason, Ticket, Waiting, token_cost,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::desk::{self, offer_lanes};
use super::guards::{Place, Turn};
use super::spot::Spot;
use super::{State, Verdict, ahead, giving_way, has_room};
use crate::exchange::Exchange;
use crate::fleet_view::Replica;
use crate::routing::{Chosen, EXPECTED_COMPLETION};
use crate::shared::Shared;

/// How soon to come back after a wait that was too long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

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
    let lane = Spot::Reserved(replica.live.seat.number()).lane();
    let free = has_room(hall, replica, now);
    let ticket = if let Some(turn) = &exchange.turn {
        if !free {
            return Ok(None);
        }
        let ticket = turn.ticket();
        // Whoever may have to give way must be known where it runs.
        if exchange.class == Class::Batch && queue.put_back(ticket, lane, 0) {
            queue.start(ticket, lane, now);
        }
        ticket
    } else {
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
        queue.start(ticket, lane, now);
        shared.metrics.queue_running.set(queue.running() as i64);
        let stop = giving_way::register(hall, ticket, exchange.class);
        exchange.turn = Some(Turn::new(shared.clone(), ticket, stop));
        ticket
    };
    let place = Place::take(&shared, hall, replica, &exchange.load(), ticket);
    drop(state);
    keep_what_was_begun(exchange);
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
        Ok(Ok(Verdict::Seat(chosen))) => {
            keep_what_was_begun(exchange);
            Ok(Some(chosen))
        }
        Ok(Ok(Verdict::Nobody) | Err(_)) => Ok(None),
        Err(_) => {
            exchange.turn = None;
            shared.metrics.queue_refused("timeout");
            Err(ApiError::new(
                ErrorKind::Unavailable,
                format!(
                    "no node became free for {} within {} s: try again later, or add a node",
                    exchange.route.name,
                    shared.config().first_token_timeout.as_secs()
                ),
            )
            .with_retry_after(RETRY_AFTER))
        }
    }
}

/// An answer that a client has a part of, and a call for several clients, are not stopped for another.
fn keep_what_was_begun(exchange: &Exchange) {
    if (exchange.continued > 0 || exchange.joined.is_some())
        && let Some(turn) = &exchange.turn
    {
        turn.keep_place();
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
    let (wakes, ticket, standing, stop, load) = {
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
        let stop = giving_way::register(hall, ticket, exchange.class);
        let wakes = offer_lanes(shared, &mut state, &[spot.lane()]);
        let mut load = None;
        if state.queue.payload(ticket).is_some() {
            giving_way::make_way(shared, &mut state, key);
            load = ahead::load_if_wanted(shared, &mut state, key);
        }
        let standing = state.queue.place(ticket, now);
        (wakes, ticket, standing, stop, load)
    };
    // Only here: a turn that is replaced takes the lock.
    if held != Some(ticket) {
        exchange.turn = Some(Turn::new(shared.clone(), ticket, stop));
    }
    wakes.send();
    if let Some(load) = load {
        load.spawn();
    }
    Ok(standing.map(|place| (ticket, place)))
}

/// Lets a call run without a place: it goes along in another one's, on its own account.
pub(crate) fn ride(exchange: &mut Exchange) {
    let shared = exchange.shared().clone();
    let now = shared.clock.monotonic();
    let held = exchange.turn.as_ref().map(Turn::ticket);
    let (left, turn) = {
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
        let turn = ticket.map(|ticket| {
            // It has no place that it could give up. If it goes alone later, it may have to.
            queue.first_token(ticket);
            (ticket, giving_way::register(hall, ticket, exchange.class))
        });
        shared.metrics.queue_running.set(queue.running() as i64);
        (left, turn)
    };
    // Not under the lock: the other end of its channel may be woken, and a turn that is replaced takes the lock.
    drop(left);
    if held.is_none() {
        exchange.turn = turn.map(|(ticket, stop)| Turn::new(shared, ticket, stop));
    }
}

fn waiting(exchange: &Exchange, lane: Lane) -> Waiting {
    let asked = &exchange.asked;
    let output = asked.max_tokens.unwrap_or(EXPECTED_COMPLETION);
    Waiting {
        lane,
        class: exchange.class,
        tenant: exchange.tenant,
        cost: token_cost(
            u64::from(asked.prompt_tokens),
            u64::from(output),
            exchange.route.cost,
        ),
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
