//! The less loaded of two candidates drawn at random.

use crate::call::{Call, Candidate};
use crate::estimate::Priors;
use crate::policy::{Decision, RoutingPolicy};
use crate::reason::{Reason, Reasons};

/// Power of two choices: nearly as even as looking at all, without everybody running to the same idle node.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoad;

/// Tokens that weigh as much as one more request in flight, so that long requests count for more than short ones.
const TOKENS_PER_REQUEST: f32 = 1_024.0;

fn load(candidate: &Candidate<'_>, reasons: &mut Reasons) -> f32 {
    reasons.push(Reason::InFlight {
        in_flight: candidate.in_flight,
        slots: candidate.slots,
    });
    let weight = candidate.effective_weight();
    if (weight - 1.0).abs() > f32::EPSILON {
        reasons.push(Reason::Weight(weight));
    }
    let slots = candidate.slots.unwrap_or(Priors::SLOTS).max(1) as f32;
    let work = candidate.in_flight as f32 + candidate.queued_tokens as f32 / TOKENS_PER_REQUEST;
    // One more than the present work: a weight must count for idle nodes too.
    -(work + 1.0) / (slots * weight)
}

impl RoutingPolicy for LeastLoad {
    fn choose(&self, call: &Call<'_>, candidates: &[Candidate<'_>]) -> Decision {
        let mut decision = Decision::scoring(call, candidates, load);
        let eligible = decision.eligible_count();
        let Some((first, second)) = draw_two(call.random, eligible) else {
            return decision;
        };
        let (Some(first), Some(second)) =
            (decision.nth_eligible(first), decision.nth_eligible(second))
        else {
            return decision;
        };
        let score = |index: usize| {
            decision
                .scored
                .get(index)
                .map_or(f32::NEG_INFINITY, |s| s.score)
        };
        let better = if score(second) > score(first) {
            second
        } else {
            first
        };
        let why = (eligible > 1).then_some(Reason::BetterOfTwo);
        decision.choose(better, why);
        decision
    }

    fn name(&self) -> &'static str {
        "least_load"
    }
}

/// Draws two different positions below `count` (the same one when there is only one). `None` when there is none.
fn draw_two(random: u64, count: usize) -> Option<(usize, usize)> {
    let (low, high) = (random as u32 as usize, (random >> 32) as usize);
    match count {
        0 => None,
        1 => Some((0, 0)),
        _ => {
            let first = low % count;
            let second = (first + 1 + high % (count - 1)) % count;
            Some((first, second))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_different_positions_are_drawn() {
        assert_eq!(draw_two(7, 0), None);
        assert_eq!(draw_two(7, 1), Some((0, 0)));
        for random in (0..10_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
            let (first, second) = draw_two(random, 3).unwrap();
            assert!(first != second && first < 3 && second < 3);
        }
    }
}
