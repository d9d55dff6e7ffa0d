//! The less loaded of two candidates drawn at random.

use super::better_of_two;
use crate::call::{Call, Candidate};
use crate::policy::{Decision, Describe, RoutingPolicy};
use crate::reason::{Reason, Reasons};
use crate::row::View;
use crate::scores::Scores;

/// Power of two choices by requests and tokens in flight, counted locally at the moment they are sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoad;

fn explain(candidate: &Candidate<'_>, reasons: &mut Reasons) {
    reasons.push(Reason::InFlight {
        in_flight: candidate.in_flight,
        slots: candidate.slots,
    });
    reasons.push_doubts(candidate);
    reasons.push_weight(candidate);
}

impl RoutingPolicy for LeastLoad {
    fn decide(&self, call: &Call<'_>, view: &View<'_>, describe: Describe<'_, '_>) -> Decision {
        let scores = Scores::of(call, view, |row| -row.load);
        let chosen = better_of_two(&scores, call.random);
        let why = (scores.eligible() > 1).then_some(Reason::BetterOfTwo);
        scores.decide(
            call,
            view,
            describe,
            chosen,
            why,
            |candidate, _, reasons| {
                explain(candidate, reasons);
            },
        )
    }

    fn pick_of(&self, call: &Call<'_>, view: &View<'_>) -> Option<usize> {
        better_of_two(&Scores::of(call, view, |row| -row.load), call.random)
    }

    fn name(&self) -> &'static str {
        "least_load"
    }
}
