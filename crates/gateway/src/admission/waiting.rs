//! Those who wait, and what is counted for them: by model, by seat, by node, by class.

use std::sync::Arc;

use dialects::ResidencyChange;
use primitives::NodeId;
use scheduling::Exclusion;
use scheduling::queue::{Class, Tenant, Ticket};
use tokio::sync::oneshot;

use super::Verdict;
use super::hall::Hall;
use super::spot::{ModelKey, Spot};

/// What deciding about a call needs to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The model, normalised.
    pub(crate) model: Arc<str>,
    pub(crate) prompt_tokens: u32,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) num_ctx: Option<u32>,
    pub(crate) prefix: Vec<u64>,
    /// Nodes that it is not sent to, and why.
    pub(crate) passed_over: Vec<(NodeId, Exclusion)>,
    /// Whether its first token will be seen.
    pub(crate) streams: bool,
    /// Whether texts are to be embedded.
    pub(crate) embeds: bool,
    /// Nothing is asked but to load the model, or to unload it.
    pub(crate) residency: Option<ResidencyChange>,
    pub(crate) class: Class,
    pub(crate) tenant: Tenant,
    pub(crate) caller: Arc<str>,
    /// The only node that may serve it.
    pub(crate) only: Option<NodeId>,
}

impl Facts {
    /// Tells whether what was asked keeps the call from a node.
    pub(super) fn excludes(&self, node: NodeId) -> Option<Exclusion> {
        excluded(&self.passed_over, self.only, node)
    }
}

/// Tells whether a call is kept from a node by what is known of that node, or by where it must go.
pub(crate) fn excluded(
    passed_over: &[(NodeId, Exclusion)],
    only: Option<NodeId>,
    node: NodeId,
) -> Option<Exclusion> {
    if only.is_some_and(|only| only != node) {
        return Some(Exclusion::OtherNode);
    }
    let mut known = passed_over.iter();
    let (_, why) = known.find(|(over, _)| *over == node)?;
    Some(*why)
}

/// A call that waits.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) ticket: Ticket,
    pub(super) facts: Facts,
    pub(super) spot: Spot,
    /// Where its tokens are counted as waiting, and how many: all, and those of the prompt.
    counted: Option<(u32, u64, u64)>,
    pub(super) answer: oneshot::Sender<Verdict>,
}

impl Hall {
    /// Returns the key for one more waiting call.
    pub(super) const fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Lets a call wait.
    pub(super) fn enter(
        &mut self,
        key: u64,
        ticket: Ticket,
        facts: Facts,
        spot: Spot,
        answer: oneshot::Sender<Verdict>,
    ) {
        self.gauge(facts.class, 1);
        self.count_waiting(spot, true);
        self.parked.insert(
            key,
            Parked {
                ticket,
                facts,
                spot,
                counted: None,
                answer,
            },
        );
    }

    /// Takes a call out that waits no more.
    pub(super) fn leave(&mut self, key: u64) -> Option<Parked> {
        self.unpark(key);
        let parked = self.parked.remove(&key)?;
        self.count_waiting(parked.spot, false);
        self.gauge(parked.facts.class, -1);
        self.settle_contests(ModelKey::of(&parked.facts.model));
        Some(parked)
    }

    /// Counts who waits for any seat of a model, in or out.
    fn count_waiting(&mut self, spot: Spot, one_more: bool) {
        let (Spot::Any(model) | Spot::Again(model)) = spot else {
            return;
        };
        let count = self.waiting_for.entry(model).or_default();
        if one_more {
            *count += 1;
        } else {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.waiting_for.remove(&model);
            }
        }
    }

    /// Returns how many wait for any seat of a model.
    pub(super) fn waiting_for(&self, model: ModelKey) -> u32 {
        self.waiting_for.get(&model).copied().unwrap_or(0)
    }

    /// Returns how many wait for a model: for any of its seats, or for a certain one.
    pub(super) fn waiting_for_all_of(&self, model: ModelKey) -> u32 {
        let seats = self.seats_of(model).iter();
        let lined_up = seats.filter_map(|seat| Some(self.seat(*seat)?.awaiting()));
        self.waiting_for(model) + lined_up.sum::<u32>()
    }

    /// Tells whether nobody waits for anything.
    pub(super) fn nobody_waits(&self) -> bool {
        self.parked.is_empty()
    }

    fn gauge(&self, class: Class, change: i64) {
        if let Some(gauge) = self.waiting_gauges.get(class as usize) {
            gauge.inc_by(change);
        }
    }

    pub(super) fn parked(&self, key: u64) -> Option<&Parked> {
        self.parked.get(&key)
    }

    /// Returns all who wait, in the order in which they came.
    pub(super) fn all_parked(&self) -> impl Iterator<Item = &Parked> {
        self.parked.values()
    }

    /// Returns those who came first, with their keys, at most so many.
    pub(super) fn oldest_parked(&self, limit: usize) -> impl Iterator<Item = (u64, &Parked)> {
        let parked = self.parked.iter().take(limit);
        parked.map(|(key, parked)| (*key, parked))
    }

    /// Takes a waiting call off the counts of what it waits for.
    pub(super) fn unpark(&mut self, key: u64) {
        let Some(parked) = self.parked.get_mut(&key) else {
            return;
        };
        let spot = parked.spot;
        let Some((number, tokens, prompt_tokens)) = parked.counted.take() else {
            return;
        };
        let Some(seat) = self.seat_mut(number) else {
            return;
        };
        match spot {
            Spot::Reserved(_) => seat.reserved = seat.reserved.saturating_sub(1),
            Spot::Line(_) | Spot::Any(_) | Spot::Again(_) => {
                seat.in_line = seat.in_line.saturating_sub(1);
            }
        }
        let node = seat.node;
        if let Some(node) = self.node_mut(node) {
            node.waiting = node.waiting.saturating_sub(1);
            node.waiting_tokens = node.waiting_tokens.saturating_sub(tokens);
            node.waiting_prompt_tokens = node.waiting_prompt_tokens.saturating_sub(prompt_tokens);
        }
    }

    /// Counts a waiting call at what it waits for: `tokens` in all, `prompt_tokens` of them to be read.
    pub(super) fn park(&mut self, key: u64, spot: Spot, tokens: u64, prompt_tokens: u64) {
        self.unpark(key);
        let Some(parked) = self.parked.get_mut(&key) else {
            return;
        };
        let before = std::mem::replace(&mut parked.spot, spot);
        if before != spot {
            self.count_waiting(before, false);
            self.count_waiting(spot, true);
        }
        let Some(number) = spot.seat() else {
            return;
        };
        let Some(seat) = self.seat_mut(number) else {
            return;
        };
        match spot {
            Spot::Reserved(_) => seat.reserved += 1,
            Spot::Line(_) | Spot::Any(_) | Spot::Again(_) => seat.in_line += 1,
        }
        let node = seat.node;
        if let Some(node) = self.node_mut(node) {
            node.waiting += 1;
            node.waiting_tokens += tokens;
            node.waiting_prompt_tokens += prompt_tokens;
        }
        if let Some(parked) = self.parked.get_mut(&key) {
            parked.counted = Some((number, tokens, prompt_tokens));
        }
    }
}
