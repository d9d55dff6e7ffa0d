//! The less loaded of two candidates drawn at random.

use super::{better_of_two, load};
use crate::call::{Call, Candidate};
use crate::policy::{Decision, RoutingPolicy};
use crate::reason::{Reason, Reasons};
use crate::scores::Scores;

/// Power of two choices by requests and tokens in flight, counted locally at the moment they are sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoad;

fn explain(candidate: &Candidate<'_>, reasons: &mut Reasons) {
    reasons.push(Reason::InFlight {
        in_flight: candidate.in_flight,
        slots: candidate.slots,
    });
    reasons.push_weight(candidate);
}

impl RoutingPolicy for LeastLoad {
    fn choose(&self, call: &Call<'_>, candidates: &[Candidate<'_>]) -> Decision {
        let scores = Scores::of(call, candidates, |candidate| -load(candidate));
        let chosen = better_of_two(&scores, call.random);
        let why = (scores.eligible() > 1).then_some(Reason::BetterOfTwo);
        scores.decide(call, candidates, chosen, why, explain)
    }

    fn pick(&self, call: &Call<'_>, candidates: &[Candidate<'_>]) -> Option<usize> {
        let scores = Scores::of(call, candidates, |candidate| -load(candidate));
        better_of_two(&scores, call.random)
    }

    fn name(&self) -> &'static str {
        "least_load"
    }
}
