//! What the gateway counts about calls that wait and run, and what it learns when they end.

use crate::breaker::CallOutcome;
use crate::capacity::CapacityOutcome;
use crate::residency::ModelHold;
use crate::speed::SpeedSample;

use super::router::{Router, unread};
use super::spot::Spot;

impl Router<'_> {
    /// Takes a waiting call off the counts of what it waits for.
    pub(super) fn unpark(&mut self, request: u32) {
        let Some(waiting) = self.requests.get_mut(request) else {
            return;
        };
        let model = &mut self.models[waiting.model as usize];
        match waiting.waits_for.take() {
            Some(Spot::Nobody(_)) => model.stranded -= 1,
            Some(Spot::Any(_)) => model.waiting -= 1,
            Some(spot @ (Spot::Reserved(number) | Spot::Line(number))) => {
                let seat = &mut self.seats[number as usize];
                match spot {
                    Spot::Reserved(_) => seat.reserved -= 1,
                    _ => seat.in_line -= 1,
                }
                let load = &mut self.loads[seat.node as usize];
                load.waiting -= 1;
                load.waiting_tokens -= waiting.expected_tokens;
                load.waiting_prompt_tokens -= waiting.parked_prompt_tokens;
            }
            None => {}
        }
    }

    /// Counts a call as waiting for something.
    pub(super) fn park(&mut self, request: u32, spot: Spot) {
        self.unpark(request);
        let Some(waiting) = self.requests.get_mut(request) else {
            return;
        };
        waiting.waits_for = Some(spot);
        let model = &mut self.models[waiting.model as usize];
        match spot {
            Spot::Nobody(_) => model.stranded += 1,
            Spot::Any(_) => model.waiting += 1,
            Spot::Reserved(number) | Spot::Line(number) => {
                let seat = &mut self.seats[number as usize];
                match spot {
                    Spot::Reserved(_) => seat.reserved += 1,
                    _ => seat.in_line += 1,
                }
                let node = self.ids[seat.node as usize];
                let load = &mut self.loads[seat.node as usize];
                waiting.parked_prompt_tokens = unread(
                    waiting.prompt_tokens,
                    self.prefixes.leading_hits(node, &waiting.blocks),
                    waiting.blocks.len(),
                );
                load.waiting += 1;
                load.waiting_tokens += waiting.expected_tokens;
                load.waiting_prompt_tokens += waiting.parked_prompt_tokens;
            }
        }
    }

    /// Notes the first token of a call.
    pub(super) fn first_token(&mut self, request: u32) {
        let Some(running) = self.requests.get_mut(request) else {
            return;
        };
        if let Some(seat) = running.seat {
            let pending = std::mem::take(&mut running.pending_prompt_tokens);
            let seat = &mut self.seats[seat as usize];
            seat.capacity.prompt_read(pending);
            let load = &mut self.loads[seat.node as usize];
            load.queued_tokens -= pending;
            running.queued_tokens -= pending;
        }
    }

    /// Takes a call off the counts of where it ran, and lets breaker, capacity and speed learn.
    pub(super) fn ended(
        &mut self,
        request: u32,
        outcome: CallOutcome,
        sample: Option<&SpeedSample>,
    ) {
        let now = self.now();
        let Some(running) = self.requests.get_mut(request) else {
            return;
        };
        let Some(number) = running.seat.take() else {
            return;
        };
        let seat = &mut self.seats[number as usize];
        seat.capacity
            .prompt_read(std::mem::take(&mut running.pending_prompt_tokens));
        let served = outcome == CallOutcome::Success;
        let learned = if served {
            CapacityOutcome::Served
        } else {
            CapacityOutcome::Other
        };
        seat.capacity.end(learned, now);
        seat.breaker.record(outcome, now);
        if let Some(sample) = sample {
            seat.speed.observe(sample);
        }
        let load = &mut self.loads[seat.node as usize];
        load.in_flight -= 1;
        load.queued_tokens -= std::mem::take(&mut running.queued_tokens);
        self.touched.push(seat.node);
    }

    /// Notes that a model was loaded.
    pub(super) fn loaded(&mut self, node: u32, model: u32) {
        self.cold_loads
            .done(&self.models[model as usize].name, self.ids[node as usize]);
        self.touched.push(node);
    }

    /// Forgets the loads of a node that failed.
    pub(super) fn node_failed(&mut self, node: u32) {
        for model in &self.models {
            self.cold_loads.done(&model.name, self.ids[node as usize]);
        }
        self.loads[node as usize].hold = ModelHold::default();
    }
}
