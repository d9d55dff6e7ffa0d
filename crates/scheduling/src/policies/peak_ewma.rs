//! The lower product of recent latency and requests in flight, of two candidates drawn at random.

use super::better_of_two;
use crate::call::{Call, Candidate};
use crate::policy::{Decision, RoutingPolicy};
use crate::reason::{Reason, Reasons};
use crate::scores::Scores;

/// Latency times load over power of two choices, as linkerd's balancer does. The latency is the learned time to the first
/// token; who has none yet gets a low one, and so is tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeakEwma;

/// Latency assumed until one is learned, milliseconds: linkerd's default round trip.
const ASSUMED_MS: f32 = 30.0;

fn latency_ms(candidate: &Candidate<'_>) -> f32 {
    candidate
        .ttft_ewma_ms
        .filter(|ms| ms.is_finite() && *ms >= 0.0)
        .unwrap_or(ASSUMED_MS)
        .max(1.0)
}

fn score(candidate: &Candidate<'_>) -> f32 {
    let requests = (candidate.in_flight + candidate.waiting) as f32;
    -latency_ms(candidate) * (requests + 1.0) / candidate.effective_weight()
}

fn explain(candidate: &Candidate<'_>, reasons: &mut Reasons) {
    reasons.push(Reason::InFlight {
        in_flight: candidate.in_flight,
        slots: candidate.slots,
    });
    reasons.push(Reason::Latency {
        ewma_ms: latency_ms(candidate),
    });
    reasons.push_weight(candidate);
}

impl RoutingPolicy for PeakEwma {
    fn choose(&self, call: &Call<'_>, candidates: &[Candidate<'_>]) -> Decision {
        let scores = Scores::of(call, candidates, score);
        let chosen = better_of_two(&scores, call.random);
        let why = (scores.eligible() > 1).then_some(Reason::BetterOfTwo);
        scores.decide(call, candidates, chosen, why, explain)
    }

    fn pick(&self, call: &Call<'_>, candidates: &[Candidate<'_>]) -> Option<usize> {
        better_of_two(&Scores::of(call, candidates, score), call.random)
    }

    fn name(&self) -> &'static str {
        "peak_ewma"
    }
}
