//! Batch work gives way: somebody in front of a screen does not wait behind a batch call that has sent nothing yet.
//!
//! The rule is [`FairQueue::preempt`](scheduling::queue::FairQueue::preempt). The batch call hears of it where it waits for its
//! node, drops its connection there, and with it its place, and waits again where it stood before.

use std::sync::Arc;

use scheduling::BreakerVerdict;
use scheduling::queue::{Class, Ticket};
use tokio::sync::Notify;

use super::desk::park;
use super::hall::Hall;
use super::spot::Spot;
use super::{State, Turn, has_room};
use crate::exchange::Exchange;
use crate::fleet_view::Replica;
use crate::shared::Shared;

/// Lets a call hear when it has to give its place up, if it is one that may have to.
pub(super) fn register(hall: &mut Hall, ticket: Ticket, class: Class) -> Option<Arc<Notify>> {
    (class == Class::Batch).then(|| hall.stops.entry(ticket).or_default().clone())
}

/// Has a batch call give way to a more important one that waits, if there is one; the waiting call has its turn there. Where a
/// place would not help nobody is stopped: the call waits for another node, has room already, or may not use all there is.
pub(super) fn make_way(shared: &Arc<Shared>, state: &mut State, key: u64) {
    let State { queue, hall } = state;
    let Some(parked) = hall.parked(key) else {
        return;
    };
    if hall.stops.is_empty() || !parked.facts.class.may_preempt(Class::Batch) {
        return;
    }
    let (ticket, facts, wants) = (parked.ticket, parked.facts.clone(), parked.spot.seat());
    let table = shared.routes.load();
    let Some(route) = table.model(&facts.model) else {
        return;
    };
    let now = shared.clock.monotonic();
    if queue.is_heavy(ticket, now) {
        return;
    }
    let could_serve = |hall: &mut Hall, replica: &Replica| {
        let view = &replica.node.view;
        let verdict = replica.live.breaker.lock().verdict(now);
        view.is_routable()
            && verdict == BreakerVerdict::Allow
            && facts.excludes(view.id).is_none()
            && route.may_be_on(view)
            && hall
                .may_run(replica.live.seat.number(), now)
                .verdict
                .has_room()
    };
    let lane = |replica: &Replica| Spot::Reserved(replica.live.seat.number()).lane();
    let replicas = || route.replicas.iter();
    // Who waits for one node although others have room would not stay at another.
    let is_wanted =
        |replica: &&Arc<Replica>| wants.is_none_or(|seat| seat == replica.live.seat.number());
    let could: Vec<&Arc<Replica>> = replicas()
        .filter(is_wanted)
        .filter(|replica| could_serve(hall, replica))
        .collect();
    if could.iter().any(|replica| has_room(hall, replica, now)) {
        return;
    }
    let seats: Vec<_> = could.iter().map(|replica| lane(replica)).collect();
    let Some(preemption) = queue.preempt(ticket, seats) else {
        return;
    };
    if let Some(replica) = replicas().find(|replica| lane(replica) == preemption.seat) {
        let spot = Spot::Reserved(replica.live.seat.number());
        park(shared, hall, key, spot, Some(replica));
    }
    if let Some(stop) = hall.stops.get(&preemption.victim) {
        stop.notify_one();
    }
}

/// Waits until a call has to give its place up: for most calls, for ever.
pub(crate) fn has_to_give_way(exchange: &Exchange) -> impl Future<Output = ()> + Send + 'static {
    let told = exchange.turn.as_ref().map(Turn::has_to_give_way);
    async move {
        match told {
            Some(told) => told.await,
            None => std::future::pending().await,
        }
    }
}

/// Notes that a call has given its place up: it waits again. To be called once the place is dropped.
pub(crate) fn gave_way(exchange: &mut Exchange) {
    exchange.note_failure("gave its place up, before its first token, to a more important call");
    exchange.shared().metrics.residency.preemption();
    exchange.waits_again = true;
}
