//! One candidate after the other.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::call::Call;
use crate::policy::{Decision, Describe, RoutingPolicy};
use crate::reason::Reason;
use crate::row::View;
use crate::scores::Scores;

/// How many counters models share. Two models that alternate on one counter would each stick to one node.
const COUNTERS: usize = 256;

/// Takes the candidates in turn, per model. The turn goes on when nodes come and go: it never starts again at the first.
#[derive(Debug)]
pub struct RoundRobin {
    turns: Box<[AtomicUsize]>,
}

impl Default for RoundRobin {
    fn default() -> Self {
        Self {
            turns: (0..COUNTERS).map(|_| AtomicUsize::new(0)).collect(),
        }
    }
}

impl RoundRobin {
    fn next_turn(&self, model: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        model.hash(&mut hasher);
        let counter = hasher.finish() as usize % COUNTERS;
        self.turns
            .get(counter)
            .map_or(0, |turn| turn.fetch_add(1, Ordering::Relaxed))
    }
}

impl RoundRobin {
    fn turn(&self, call: &Call<'_>, scores: &Scores) -> Option<usize> {
        match scores.eligible() {
            0 => None,
            eligible => scores.nth_eligible(self.next_turn(call.model) % eligible),
        }
    }
}

impl RoutingPolicy for RoundRobin {
    fn decide(&self, call: &Call<'_>, view: &View<'_>, describe: Describe<'_, '_>) -> Decision {
        let scores = Scores::of(call, view, |_| 0.0);
        let chosen = self.turn(call, &scores);
        scores.decide(
            call,
            view,
            describe,
            chosen,
            Some(Reason::Turn),
            |_, _, _| {},
        )
    }

    fn pick_of(&self, call: &Call<'_>, view: &View<'_>) -> Option<usize> {
        self.turn(call, &Scores::of(call, view, |_| 0.0))
    }

    fn name(&self) -> &'static str {
        "round_robin"
    }
}
