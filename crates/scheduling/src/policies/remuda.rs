//! The default policy: the least expected time to the first token and to the end.

use crate::call::{Call, Candidate, Residency};
use crate::estimate::{Assumed, Estimate};
use crate::policy::{Decision, RoutingPolicy};
use crate::reason::{Reason, Reasons};

/// Chooses by expected time, from residency, work ahead, learned speeds, prefix hits and context fit.
///
/// Candidates within two percent are equals and one of them is drawn, so that equal nodes share the work. One call in a
/// hundred goes to another reasonable candidate, so that a node which was slow once is not judged by that for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remuda;

/// Costs this close to the best are the same cost.
const EQUAL_WITHIN: f32 = 0.02;
/// One call in this many explores.
const EXPLORE_EVERY: u64 = 100;
/// Exploring goes only to candidates whose cost is at most this many times the best.
const EXPLORE_WITHIN: f32 = 4.0;

impl RoutingPolicy for Remuda {
    fn choose(&self, call: &Call<'_>, candidates: &[Candidate<'_>]) -> Decision {
        let assumed = Assumed::best_of(candidates);
        let mut decision = Decision::scoring(call, candidates, |candidate, reasons| {
            score(call, candidate, assumed, reasons)
        });
        let best = decision
            .scored
            .iter()
            .map(|scored| scored.score)
            .fold(f32::NEG_INFINITY, f32::max);
        if best == f32::NEG_INFINITY {
            return decision;
        }
        if (call.random >> 32).is_multiple_of(EXPLORE_EVERY) {
            let reasonable = |decision: &Decision, index: usize| {
                let loaded = candidates
                    .get(index)
                    .is_some_and(|c| c.residency != Residency::OnDisk);
                loaded
                    && decision
                        .scored
                        .get(index)
                        .is_some_and(|s| s.score >= best * EXPLORE_WITHIN)
            };
            if let Some((index, equals)) = draw(&decision, call.random, reasonable)
                && equals > 1
            {
                decision.choose(index, Some(Reason::Exploring));
                return decision;
            }
        }
        let equal = |decision: &Decision, index: usize| {
            decision
                .scored
                .get(index)
                .is_some_and(|s| s.score >= best * (1.0 + EQUAL_WITHIN))
        };
        if let Some((index, equals)) = draw(&decision, call.random, equal) {
            let why = (equals > 1).then_some(Reason::OneOfEquals { equals });
            decision.choose(index, why);
        }
        decision
    }

    fn name(&self) -> &'static str {
        "remuda"
    }
}

fn score(
    call: &Call<'_>,
    candidate: &Candidate<'_>,
    assumed: Assumed,
    reasons: &mut Reasons,
) -> f32 {
    if matches!(candidate.breaker, crate::BreakerVerdict::Probe) {
        reasons.push(Reason::BreakerProbe);
    }
    let estimate = Estimate::of(call, candidate, assumed, reasons);
    let weight = candidate.effective_weight();
    if (weight - 1.0).abs() > f32::EPSILON {
        reasons.push(Reason::Weight(weight));
    }
    reasons.push(Reason::Expected {
        first_token_ms: estimate.first_token_ms,
        finish_ms: estimate.finish_ms,
    });
    -estimate.cost_ms / weight
}

/// Draws one of the candidates that satisfy `fits`; returns it with how many there were.
fn draw(
    decision: &Decision,
    random: u64,
    fits: impl Fn(&Decision, usize) -> bool,
) -> Option<(usize, u32)> {
    let fitting = || {
        decision
            .scored
            .iter()
            .filter(|s| !s.is_excluded() && fits(decision, s.index))
            .map(|s| s.index)
    };
    let count = fitting().count();
    let nth = (random as u32 as usize).checked_rem(count)?;
    Some((fitting().nth(nth)?, count as u32))
}
