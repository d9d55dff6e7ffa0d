//! Loads: who begins one, whom it drives out, and what ends it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use primitives::{MonotonicTime, NodeId};
use scheduling::{Resident, evictions, load_time};

use super::super::hall::Hall;

/// A load ahead of need that failed is not tried again at the same node for this time.
const AHEAD_PAUSE: Duration = Duration::from_mins(1);
/// Other nodes may load a model after so many times what the load should take, within the bounds below: well before those who
/// wait for it give up.
const SLOW_TIMES: u32 = 4;
const SLOW_FROM: Duration = Duration::from_secs(30);
const SLOW_AT_LAST: Duration = Duration::from_mins(2);

impl Hall {
    /// Notes that a call starts at a seat; tells whether it makes the node load the model.
    pub(in crate::admission) fn starts_at(&mut self, number: u32, now: MonotonicTime) -> bool {
        let Some(seat) = self.seat_mut(number) else {
            return false;
        };
        seat.memory.last_used = Some(now);
        let loads = seat.memory.is_told && !seat.memory.is_there();
        let node = seat.node;
        if loads {
            self.begin_load(number, now);
        }
        if let Some(node) = self.node_mut(node) {
            node.memory.hold.started(now);
        }
        loads
    }

    /// Notes that a node begins to load the model of a seat ahead of need.
    pub(in crate::admission) fn begin_load_ahead(&mut self, number: u32, now: MonotonicTime) {
        self.begin_load(number, now);
        if let Some(seat) = self.seat_mut(number) {
            seat.memory.ahead = true;
        }
    }

    /// Notes that a load ahead of need is over.
    pub(in crate::admission) fn load_ahead_ended(
        &mut self,
        number: u32,
        done: bool,
        now: MonotonicTime,
    ) {
        self.load_ended(number, done, now);
        if let Some(seat) = self.seat_mut(number) {
            seat.memory.ahead_failed = (!done).then_some(now);
        }
    }

    /// Tells whether a load ahead of need failed at a seat a moment ago: it would again.
    pub(in crate::admission) fn failed_ahead_lately(
        &self,
        number: u32,
        now: MonotonicTime,
    ) -> bool {
        self.seat(number)
            .and_then(|seat| seat.memory.ahead_failed)
            .is_some_and(|at| now.since(at) < AHEAD_PAUSE)
    }

    /// Notes that a node begins to load the model of a seat.
    fn begin_load(&mut self, number: u32, now: MonotonicTime) {
        let Some(seat) = self.seat_mut(number) else {
            return;
        };
        seat.memory.loading = Some(now);
        let (node, name) = (seat.node, seat.name.clone());
        if let Some(id) = self.node_id(node) {
            // Somebody else's load goes on beside it: a trial by somebody whom nothing else could serve.
            self.loads.begin(&name, id, now);
        }
        self.loading_seats.push(number);
        self.make_room_for(number);
        self.note_presence(number);
        if let Some(node) = self.node_mut(node) {
            node.memory.hold.swapped();
            node.memory.newcomer = Some(number);
        }
    }

    /// Notes that a call left a seat, `served` or not. A load goes on without the call that caused it as long as others wait
    /// for it there; whoever is served tells that it is done. Tells whether a load is over by this.
    pub(in crate::admission) fn left(
        &mut self,
        number: u32,
        served: bool,
        now: MonotonicTime,
    ) -> bool {
        let Some(seat) = self.seat_mut(number) else {
            return false;
        };
        seat.memory.last_used = Some(now);
        let awaited = seat.capacity.in_flight() > 0 || seat.memory.ahead;
        (served || !awaited) && self.load_ended(number, served, now)
    }

    /// Notes that a load is over; `done` tells whether the model answers now. Changes nothing when it was over before, and tells
    /// whether it was not.
    pub(in crate::admission) fn load_ended(
        &mut self,
        number: u32,
        done: bool,
        now: MonotonicTime,
    ) -> bool {
        let Some(seat) = self.seat_mut(number) else {
            return false;
        };
        seat.memory.ahead = false;
        if seat.memory.loading.take().is_none() {
            return false;
        }
        if done {
            seat.memory.present = true;
            (seat.memory.last_used, seat.memory.loaded_at) = (Some(now), Some(now));
        }
        let (node, name) = (seat.node, seat.name.clone());
        self.loading_seats.retain(|seat| *seat != number);
        if let Some(id) = self.node_id(node) {
            self.loads.done(&name, id);
        }
        self.note_presence(number);
        if !done {
            self.nobody_had_to_go_for(number, node);
        }
        true
    }

    /// Ends the loads of seats that are not among the `routable` ones: nobody may be sent there, so nobody may wait for them.
    pub(in crate::admission) fn end_lost_loads(
        &mut self,
        routable: &HashSet<u32>,
        now: MonotonicTime,
    ) {
        let is_lost = |seat: &u32| !routable.contains(seat);
        let lost: Vec<u32> = self.loading_seats.iter().copied().filter(is_lost).collect();
        for seat in lost {
            self.load_ended(seat, false, now);
        }
    }

    /// Lets other nodes load what a node has been loading for much longer than that takes. For the node itself it goes on.
    pub(in crate::admission) fn give_up_slow_loads(&mut self, now: MonotonicTime) {
        let is_slow = |number: &u32| {
            let seat = self.seat(*number)?;
            let limit = (load_time(seat.memory.bytes) * SLOW_TIMES).clamp(SLOW_FROM, SLOW_AT_LAST);
            let slow = now.since(seat.memory.loading?) >= limit;
            slow.then(|| Some((seat.name.clone(), self.node_id(seat.node)?)))?
        };
        let slow: Vec<(Arc<str>, NodeId)> = self.loading_seats.iter().filter_map(is_slow).collect();
        for (name, node) in slow {
            self.loads.done(&name, node);
        }
    }

    /// Takes those for whose sake nobody has to go after all to be where they were.
    fn nobody_had_to_go_for(&mut self, number: u32, node: u32) {
        if let Some(node) = self.node_mut(node)
            && node.memory.newcomer == Some(number)
        {
            node.memory.newcomer = None;
            node.memory.in_doubt = false;
        }
        for other in self.neighbours(number).to_vec() {
            if let Some(seat) = self.seat_mut(other)
                && seat.memory.gone_for == Some(number)
            {
                seat.memory.gone_for = None;
                seat.memory.present = true;
                self.note_presence(other);
            }
        }
    }

    /// Ends loads that nobody reports on (answers in one piece show no first token): the node tells that the model is there, and
    /// the time that loading takes is over. Tells whether there were any.
    pub(in crate::admission) fn end_quiet_loads(&mut self, now: MonotonicTime) -> bool {
        let is_over = |seat: &u32| {
            let memory = &self.seat(*seat)?.memory;
            let over = now.since(memory.loading?) >= load_time(memory.bytes);
            (memory.told_loaded && over).then_some(*seat)
        };
        let over: Vec<u32> = self.loading_seats.iter().filter_map(is_over).collect();
        for seat in &over {
            self.load_ended(*seat, true, now);
        }
        !over.is_empty()
    }

    /// Where not all fit, those who were unused longest are taken to be gone until the node tells; where nobody knows whether they
    /// fit, all who do not generate are.
    fn make_room_for(&mut self, number: u32) {
        let Some(wanted) = self.seat(number) else {
            return;
        };
        let Some(node) = self.node(wanted.node) else {
            return;
        };
        let (place, bytes) = (wanted.node, wanted.memory.bytes.unwrap_or(0));
        let others: Vec<u32> = node.memory.there.clone();
        let mut loaded_bytes = 0_u64;
        let residents: Vec<(u32, Resident)> = others
            .into_iter()
            .filter(|other| *other != number)
            .filter_map(|other| {
                let seat = self.seat(other)?;
                let bytes = seat.memory.bytes.unwrap_or(0);
                loaded_bytes = loaded_bytes.saturating_add(bytes);
                let resident = Resident {
                    bytes,
                    in_flight: seat.capacity.in_flight() + u32::from(seat.memory.loading.is_some()),
                    last_used: seat.memory.last_used,
                };
                Some((other, resident))
            })
            .collect();
        let only: Vec<Resident> = residents.iter().map(|(_, resident)| *resident).collect();
        let idle = |index: &usize| only.get(*index).is_some_and(|model| model.in_flight == 0);
        let gone = match node.memory.learned.free_for(bytes, loaded_bytes) {
            Some(free) => evictions(&only, bytes.saturating_sub(free)).unwrap_or_default(),
            None => (0..only.len()).filter(idle).collect(),
        };
        let in_doubt = node.memory.learned.free_for(bytes, loaded_bytes).is_none();
        for (other, _) in gone.into_iter().filter_map(|index| residents.get(index)) {
            if let Some(seat) = self.seat_mut(*other) {
                seat.memory.present = false;
                seat.memory.gone_for = Some(number);
            }
            self.note_presence(*other);
        }
        if let Some(node) = self.node_mut(place) {
            node.memory.in_doubt = in_doubt && !only.is_empty();
        }
    }
}
