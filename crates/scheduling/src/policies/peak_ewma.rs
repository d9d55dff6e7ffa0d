//! The lower product of recent latency and requests in flight, of two candidates drawn at random.

use super::better_of_two;
use crate::call::{Call, Candidate};
use crate::policy::{Decision, Describe, RoutingPolicy};
use crate::reason::{Reason, Reasons};
use crate::row::View;
use crate::scores::Scores;
use crate::silence::late_ms;

/// Latency times load over power of two choices, as linkerd's balancer does. The latency is the learned time to the first
/// token, or the silence of a node that owes one for longer; who has none yet gets a low one, and so is tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeakEwma;

/// Latency assumed until one is learned, milliseconds: linkerd's default round trip.
const ASSUMED_MS: f32 = 30.0;

/// Returns the latency that a candidate is taken to have, in milliseconds.
pub(crate) fn latency_ms(candidate: &Candidate<'_>) -> f32 {
    candidate
        .ttft_ewma_ms
        .filter(|ms| ms.is_finite() && *ms >= 0.0)
        .unwrap_or(ASSUMED_MS)
        .max(1.0)
        .max(late_ms(candidate))
}

fn explain(candidate: &Candidate<'_>, reasons: &mut Reasons) {
    reasons.push(Reason::InFlight {
        in_flight: candidate.in_flight,
        slots: candidate.slots,
    });
    if late_ms(candidate) <= 0.0 {
        reasons.push(Reason::Latency {
            ewma_ms: latency_ms(candidate),
        });
    }
    reasons.push_doubts(candidate);
    reasons.push_weight(candidate);
}

impl RoutingPolicy for PeakEwma {
    fn decide(&self, call: &Call<'_>, view: &View<'_>, describe: Describe<'_, '_>) -> Decision {
        let scores = Scores::of(call, view, |row| -row.latency);
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
        better_of_two(&Scores::of(call, view, |row| -row.latency), call.random)
    }

    fn name(&self) -> &'static str {
        "peak_ewma"
    }
}
