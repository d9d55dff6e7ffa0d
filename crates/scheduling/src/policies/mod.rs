//! The routing policies, one file each.

mod least_load;
mod peak_ewma;
mod prefix_affinity;
mod remuda;
mod round_robin;

pub use least_load::LeastLoad;
pub use peak_ewma::PeakEwma;
pub use prefix_affinity::PrefixAffinity;
pub use remuda::Remuda;
pub use round_robin::RoundRobin;

pub(crate) use peak_ewma::latency_ms;

use crate::call::Candidate;
use crate::estimate::Priors;
use crate::scores::Scores;
use crate::silence::{doubt_ms, late_ms};

/// Tokens that weigh as much as one more request in flight, so that long requests count for more than short ones.
const TOKENS_PER_REQUEST: f32 = 1_024.0;

/// Milliseconds of silence or doubt that weigh as much as one more request in flight.
const MS_PER_REQUEST: f32 = 1_000.0;

/// Returns a candidate's work per slot and weight; 1.0 stands for one short request per slot.
pub(crate) fn load(candidate: &Candidate<'_>) -> f32 {
    let slots = candidate.slots.unwrap_or(Priors::SLOTS).max(1) as f32;
    let requests = (candidate.in_flight + candidate.waiting) as f32;
    let trouble_ms = late_ms(candidate) + doubt_ms(candidate.health);
    let work = requests
        + candidate.queued_tokens as f32 / TOKENS_PER_REQUEST
        + trouble_ms / MS_PER_REQUEST;
    // One more than the present work: a weight must count for idle nodes too.
    (work + 1.0) / (slots * candidate.effective_weight())
}

/// Returns the better of two eligible candidates drawn at random (Mitzenmacher, "The Power of Two Choices", 2001): nearly as
/// even as looking at all, without everybody running to the same idle node.
fn better_of_two(scores: &Scores, random: u64) -> Option<usize> {
    let (first, second) = draw_two(random, scores.eligible())?;
    let (first, second) = (scores.nth_eligible(first)?, scores.nth_eligible(second)?);
    Some(if scores.get(second) > scores.get(first) {
        second
    } else {
        first
    })
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
