//! The guards: a call's turn in the queue, and its place at a node. Dropping one gives back what it stands for, whatever
//! happened: the client gone, another node, the end.

use std::sync::Arc;
use std::time::Duration;

use cluster::InFlight;
use dialects::ResidencyChange;
use primitives::NodeId;
use scheduling::queue::Ticket;
use scheduling::{CapacityOutcome, FirstSign, Residency, load_time};
use tokio::sync::Notify;

use super::State;
use super::desk::{Wakes, offer_around};
use super::hall::Hall;
use crate::fleet_view::Replica;
use crate::live::ReplicaLive;
use crate::shared::Shared;

/// A call's turn: it waits or runs until this is dropped.
pub(crate) struct Turn {
    shared: Arc<Shared>,
    ticket: Ticket,
    used: u64,
    /// Tells that it may have to give its place up; only batch calls may have to.
    stop: Option<Arc<Notify>>,
}

impl Turn {
    pub(super) const fn new(
        shared: Arc<Shared>,
        ticket: Ticket,
        stop: Option<Arc<Notify>>,
    ) -> Self {
        Self {
            shared,
            ticket,
            used: 0,
            stop,
        }
    }

    /// Waits until the call has to give its place up for a more important one. For most calls that is for ever.
    pub(crate) fn has_to_give_way(&self) -> impl Future<Output = ()> + Send + 'static {
        let stop = self.stop.clone().map(|stop| (self.shared.clone(), stop));
        let ticket = self.ticket;
        async move {
            let Some((shared, stop)) = stop else {
                return std::future::pending().await;
            };
            loop {
                stop.notified().await;
                // Its first token may have come in the meantime.
                if shared.live.admission.state.lock().queue.gives_way(ticket) {
                    return;
                }
            }
        }
    }

    /// Lets the call run to its end from now on: others go along with it, or its client has a part of the answer.
    pub(crate) fn keep_place(&self) {
        if self.stop.is_some() {
            let mut state = self.shared.live.admission.state.lock();
            state.queue.first_token(self.ticket);
        }
    }

    pub(super) const fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Ends the turn and settles it with the weighted tokens that were used.
    pub(crate) fn end(mut self, used: u64) {
        self.used = used;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let left = {
            let mut state = self.shared.live.admission.state.lock();
            let State { queue, hall } = &mut *state;
            let left = queue
                .end(self.ticket, self.used)
                .and_then(|key| hall.leave(key));
            hall.stops.remove(&self.ticket);
            self.shared
                .metrics
                .queue_running
                .set(queue.running() as i64);
            left
        };
        // Not under the lock: the other end of its channel may be woken.
        drop(left);
    }
}

/// What a call is expected to cost a node.
pub(crate) struct Load<'a> {
    pub(crate) prompt_tokens: u32,
    pub(crate) answer_tokens: u32,
    pub(crate) prefix: &'a [u64],
    /// Whether its first token will be seen.
    pub(crate) streams: bool,
    /// Nothing is asked but to load the model, or to unload it.
    pub(crate) residency: Option<ResidencyChange>,
}

/// A call's place at a node; its load counts until this is dropped.
pub(crate) struct Place {
    shared: Arc<Shared>,
    seat: Arc<ReplicaLive>,
    lease: Option<InFlight>,
    ticket: Ticket,
    unread: u64,
    /// Whether its first token is still to come.
    silent: bool,
    /// Whether the call is about the node's memory, not about an answer.
    is_about_memory: bool,
    node: NodeId,
    outcome: CapacityOutcome,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("seat", &self.seat.seat.number())
            .field("unread", &self.unread)
            .finish_non_exhaustive()
    }
}

impl Place {
    /// Counts a call in at a replica.
    pub(super) fn take(
        shared: &Arc<Shared>,
        hall: &mut Hall,
        replica: &Replica,
        load: &Load<'_>,
        ticket: Ticket,
    ) -> Self {
        let unread = if load.streams {
            unread(shared, replica.node.view.id, load)
        } else {
            0
        };
        let now = shared.clock.monotonic();
        let unloads = load.residency == Some(ResidencyChange::Unload);
        if !unloads && hall.starts_at(replica.live.seat.number(), now) {
            shared.metrics.residency.load("call");
        }
        hall.begin(replica.live.seat.number(), unread);
        let tokens = u64::from(load.prompt_tokens) + u64::from(load.answer_tokens);
        let lease = replica.node.view.activity.begin(tokens);
        Self {
            shared: shared.clone(),
            seat: replica.live.clone(),
            lease: Some(lease.waiting(first_sign(replica, load), now)),
            ticket,
            unread,
            silent: true,
            is_about_memory: load.residency.is_some(),
            node: replica.node.view.id,
            outcome: CapacityOutcome::Other,
        }
    }

    /// Notes that the first token is here: the prompt was read. Later calls change nothing.
    pub(crate) fn first_token(&mut self) {
        if !std::mem::take(&mut self.silent) {
            return;
        }
        let read = std::mem::take(&mut self.unread);
        if let Some(lease) = &mut self.lease {
            lease.done(read);
        }
        let now = self.shared.clock.monotonic();
        let ticket = self.ticket;
        let loaded = self.change(|state, seat| {
            state.queue.first_token(ticket);
            state.hall.prompt_read(seat, read);
            state.hall.load_ended(seat, true, now)
        });
        if loaded {
            // Who had to go for it, only the node knows.
            self.shared.registry.look_again(self.node);
        }
    }

    /// Notes how the call ended, as far as capacity cares.
    pub(crate) const fn note(&mut self, outcome: CapacityOutcome) {
        self.outcome = outcome;
    }

    /// Changes the counts and offers what became free; returns what `change` does.
    fn change(&self, change: impl FnOnce(&mut State, u32) -> bool) -> bool {
        let seat = self.seat.seat.number();
        let (told, wakes) = {
            let mut state = self.shared.live.admission.state.lock();
            let told = change(&mut state, seat);
            let wakes = if state.queue.waiting() > 0 {
                offer_around(&self.shared, &mut state, seat)
            } else {
                Wakes::default()
            };
            (told, wakes)
        };
        wakes.send();
        told
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = self.shared.clock.monotonic();
        let (unread, outcome, lease) = (self.unread, self.outcome, self.lease.take());
        let served = outcome == CapacityOutcome::Served;
        let load_ended = self.change(|state, seat| {
            let hall = &mut state.hall;
            hall.prompt_read(seat, unread);
            hall.end(seat, outcome, now);
            if let Some(lease) = lease {
                lease.end(now);
            }
            hall.left(seat, served, now)
        });
        if load_ended || self.is_about_memory {
            self.shared.registry.look_again(self.node);
        }
    }
}

/// Returns how long a call is expected to wait for a sign of its answer.
fn first_sign(replica: &Replica, load: &Load<'_>) -> Duration {
    let loading = match replica.residency {
        Residency::OnDisk => load_time(replica.model.size_bytes),
        Residency::Loaded { .. } | Residency::Unknown => Duration::ZERO,
    };
    let sign = FirstSign {
        prompt_tokens: load.prompt_tokens,
        whole_answer: (!load.streams).then_some(load.answer_tokens),
        loading,
    };
    sign.expected(&replica.live.speed.lock())
}

/// Returns the tokens of a prompt that a node has not in its cache, as far as is known: at least one.
pub(super) fn unread(shared: &Shared, node: NodeId, load: &Load<'_>) -> u64 {
    let hits = if load.prefix.is_empty() {
        0
    } else {
        shared.live.prefixes.lock().leading_hits(node, load.prefix)
    };
    let cold = 1.0 - f64::from(hits) / load.prefix.len().max(1) as f64;
    ((f64::from(load.prompt_tokens) * cold) as u64).max(1)
}
