//! Who is offered the room that became free.

use super::World;
use crate::admission::offer;
use crate::queue::Lane;
use crate::simulator::spot::Spot;

impl World<'_> {
    /// Offers a node's room first to those who have their turn there, then to those who wait in line for it or for any node; then,
    /// if the policy lets calls wait for nodes, to those who wait for others, whose reasons to wait may be gone.
    pub(super) fn offer_node(&mut self, node: u32) {
        let seats = self.router.node_seats[node as usize].clone();
        let mut lanes = std::mem::take(&mut self.lanes);
        for number in &seats {
            if self.router.seats[*number as usize].reserved > 0 && self.router.has_room(*number) {
                lanes.push(Spot::Reserved(*number).lane());
            }
        }
        self.offer_lanes(&mut lanes);
        for number in &seats {
            if !self.router.has_room(*number) {
                continue;
            }
            let seat = &self.router.seats[*number as usize];
            if seat.in_line > 0 {
                lanes.push(Spot::Line(*number).lane());
            }
            if self.router.models[seat.model as usize].waiting > 0 {
                lanes.push(Spot::Any(seat.model).lane());
            }
        }
        self.offer_lanes(&mut lanes);
        if self.waits_for_nodes {
            for number in &seats {
                if self.router.has_place(*number) {
                    self.push_awaited(self.router.seats[*number as usize].model, &mut lanes);
                }
            }
            self.offer_lanes(&mut lanes);
        }
        self.lanes = lanes;
    }

    /// Lists the lanes of calls for a model that wait for certain nodes.
    fn push_awaited(&mut self, model: u32, lanes: &mut Vec<Lane>) {
        self.elsewhere += 1;
        for number in self.router.awaited(model, self.elsewhere) {
            let seat = &self.router.seats[number as usize];
            if seat.reserved > 0 {
                lanes.push(Spot::Reserved(number).lane());
            }
            if seat.in_line > 0 {
                lanes.push(Spot::Line(number).lane());
            }
        }
    }

    fn offer_lanes(&mut self, lanes: &mut Vec<Lane>) {
        if !lanes.is_empty() {
            let now = self.router.now();
            offer(&mut self.queue, lanes, now, &mut self.router);
            lanes.clear();
        }
    }

    /// Offers everything to everybody: calls that nobody could serve, and those that waited for a held node.
    pub(super) fn look_again(&mut self) {
        let now = self.router.now();
        for model in 0..self.router.models.len() as u32 {
            loop {
                let before = self.router.models[model as usize].stranded;
                if before == 0 {
                    break;
                }
                offer(
                    &mut self.queue,
                    &[Spot::Nobody(model).lane()],
                    now,
                    &mut self.router,
                );
                if self.router.models[model as usize].stranded >= before {
                    break;
                }
            }
            offer(
                &mut self.queue,
                &[Spot::Any(model).lane()],
                now,
                &mut self.router,
            );
        }
        self.router
            .touched
            .extend(0..self.router.nodes.len() as u32);
    }
}
