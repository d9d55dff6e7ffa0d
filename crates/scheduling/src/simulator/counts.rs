//! What the gateway counts about calls that wait and run, and what it learns when they end.

use std::time::Duration;

use crate::breaker::CallOutcome;
use crate::capacity::CapacityOutcome;
use crate::residency::{Demand, Host, ModelHold, best_host, prewarm};
use crate::speed::SpeedSample;

use super::router::{Router, unread};
use super::spot::Spot;
use super::standing::make_dirty;

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
                model.lined_up -= 1;
                let seat = &mut self.seats[number as usize];
                match spot {
                    Spot::Reserved(_) => seat.reserved -= 1,
                    _ => seat.in_line -= 1,
                }
                if seat.reserved + seat.in_line == 0 {
                    model.awaited.remove(&number);
                }
                make_dirty(&mut self.dirty, &mut self.is_dirty, seat.node);
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
                model.lined_up += 1;
                model.awaited.insert(number);
                let seat = &mut self.seats[number as usize];
                match spot {
                    Spot::Reserved(_) => seat.reserved += 1,
                    _ => seat.in_line += 1,
                }
                make_dirty(&mut self.dirty, &mut self.is_dirty, seat.node);
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
            make_dirty(&mut self.dirty, &mut self.is_dirty, seat.node);
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
        make_dirty(&mut self.dirty, &mut self.is_dirty, seat.node);
        let load = &mut self.loads[seat.node as usize];
        load.in_flight -= 1;
        load.queued_tokens -= std::mem::take(&mut running.queued_tokens);
        self.touched.push(seat.node);
    }

    /// Takes a call that has sent nothing back from its node; returns its model, or `None` when the node has it no more.
    pub(super) fn withdraw(&mut self, request: u32) -> Option<u32> {
        let running = self.requests.get_mut(request)?;
        let number = running.seat?;
        let node = self.seats[number as usize].node as usize;
        let requests = &self.requests;
        let blocks_of = |request| requests.blocks(request);
        if !self.nodes[node].withdraw(request, self.now_us, blocks_of) {
            return None;
        }
        self.ended(request, CallOutcome::NotTheNode, None);
        let running = self.requests.get_mut(request)?;
        running.tries -= 1;
        Some(running.model)
    }

    /// Tells whether more copies of a model could be loaded for those who wait for it.
    pub(super) fn could_prewarm(&self, model: u32) -> bool {
        let wanted = &self.models[model as usize];
        self.loads_models && wanted.waiting + wanted.lined_up > 0
    }

    /// Notes that a model was loaded.
    pub(super) fn loaded(&mut self, node: u32, model: u32) {
        self.cold_loads
            .done(&self.models[model as usize].name, self.ids[node as usize]);
        make_dirty(&mut self.dirty, &mut self.is_dirty, node);
        self.touched.push(node);
    }

    /// Forgets the loads of a node that failed.
    pub(super) fn node_failed(&mut self, node: u32) {
        self.cold_loads.forget_node(self.ids[node as usize]);
        self.loads[node as usize].hold = ModelHold::default();
        make_dirty(&mut self.dirty, &mut self.is_dirty, node);
    }

    /// Loads one more copy of a model ahead of need, when its line is longer than the load takes.
    pub(super) fn prewarm(&mut self, model: u32, expected_wait: Duration) {
        let (now, wanted) = (self.now(), &self.models[model as usize]);
        let (waiting, bytes) = (wanted.waiting + wanted.lined_up, wanted.bytes);
        let hosts: Vec<(u32, Host)> = wanted
            .seats
            .iter()
            .map(|seat| self.seats[*seat as usize].node)
            .filter(|node| !self.nodes[*node as usize].has_or_loads(model))
            .map(|node| (node, self.host(node, bytes)))
            .collect();
        let demand = Demand {
            waiting,
            loaded: (wanted.seats.len() - hosts.len()) as u32,
            loading: self.cold_loads.loading(&wanted.name, now).is_some(),
            expected_wait,
            load_time: hosts
                .iter()
                .map(|(_, host)| host.load_time)
                .min()
                .unwrap_or_default(),
        };
        if !prewarm(&demand) {
            return;
        }
        let only_hosts: Vec<Host> = hosts.iter().map(|(_, host)| *host).collect();
        let Some((node, _)) = best_host(&only_hosts, bytes).and_then(|index| hosts.get(index))
        else {
            return;
        };
        let id = self.ids[*node as usize];
        self.cold_loads.begin(&wanted.name, id, now);
        self.nodes[*node as usize].load(model, bytes, self.now_us);
        self.loads[*node as usize].hold.swapped();
        make_dirty(&mut self.dirty, &mut self.is_dirty, *node);
        self.touched.push(*node);
    }

    fn host(&self, number: u32, bytes: u64) -> Host {
        let node = &self.nodes[number as usize];
        let is_wanted = |model: u32| {
            self.node_seats[number as usize]
                .iter()
                .map(|seat| &self.seats[*seat as usize])
                .filter(|seat| seat.model == model)
                .any(|seat| seat.reserved + seat.in_line + self.models[model as usize].waiting > 0)
        };
        Host {
            free_bytes: node.free_bytes(),
            unused_bytes: node.unused_bytes(is_wanted),
            busy: !node.up || node.is_loading(),
            load_time: Duration::from_micros(node.load_us(bytes)),
        }
    }
}
