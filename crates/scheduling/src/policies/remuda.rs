//! The default policy: the least expected time to the first token and to the end.

use crate::breaker::BreakerVerdict;
use crate::call::{Call, Candidate};
use crate::estimate::{Assumed, Costs, Estimate};
use crate::policy::{Decision, Describe, RoutingPolicy};
use crate::reason::{Reason, Reasons};
use crate::row::{Row, View};
use crate::scores::Scores;

/// Chooses by expected time, from residency, work ahead, learned speeds, prefix hits, context fit and memory fit.
///
/// Candidates within two percent are equals and one of them is drawn, so that equal nodes share the work. One call in 250
/// goes to another reasonable candidate, so that a node which was slow once is not judged by that for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remuda;

/// Costs this close to the best are the same cost.
const EQUAL_WITHIN: f32 = 0.02;
/// One call in this many explores.
const EXPLORE_EVERY: u64 = 250;
/// Exploring goes only to candidates whose cost is at most this many times the best.
const EXPLORE_WITHIN: f32 = 4.0;

/// Scores all candidates; also returns what was assumed of those about which too little is known.
fn score(call: &Call<'_>, view: &View<'_>) -> (Scores, Assumed) {
    if let Some(kept) = view.usual(call) {
        let assumed = Assumed::of_kept(kept);
        let costs = Costs::of(call, assumed);
        let mut scores = costs.usual_scores(kept);
        for (index, row) in kept.unusual() {
            if let Some(score) = scores.get_mut(index) {
                *score = (-costs.at(row) * row.inverse_weight).max(f32::MIN);
            }
        }
        return (Scores::ready(scores), assumed);
    }
    let assumed = Assumed::over(call, view);
    let costs = Costs::of(call, assumed);
    let scores = Scores::of(call, view, |row| -costs.at(row) * row.inverse_weight);
    (scores, assumed)
}

fn explain(
    call: &Call<'_>,
    candidate: &Candidate<'_>,
    row: &Row,
    assumed: &Assumed,
    reasons: &mut Reasons,
) {
    if matches!(candidate.breaker, BreakerVerdict::Probe) {
        reasons.push(Reason::BreakerProbe);
    }
    reasons.push_weight(candidate);
    Estimate::explain(call, candidate, row, assumed, reasons);
}

/// Chooses, and says why it was not simply the best.
fn draw(call: &Call<'_>, view: &View<'_>, scores: &Scores) -> Option<(usize, Option<Reason>)> {
    let best = scores.best();
    if (call.random >> 32).is_multiple_of(EXPLORE_EVERY) {
        let reasonable = |index: usize| {
            view.get(index)
                .is_some_and(|row| !row.is_on_disk() && !view.is_full(row))
        };
        let least = best * EXPLORE_WITHIN;
        if let Some((index, 2..)) = scores.draw(call.random, least, reasonable) {
            return Some((index, Some(Reason::Exploring)));
        }
    }
    let least = best * (1.0 + EQUAL_WITHIN);
    let (index, equals) = scores.draw(call.random, least, |_| true)?;
    let why = (equals > 1).then_some(Reason::OneOfEquals { equals });
    Some((index, why))
}

impl RoutingPolicy for Remuda {
    fn decide(&self, call: &Call<'_>, view: &View<'_>, describe: Describe<'_, '_>) -> Decision {
        let (scores, assumed) = score(call, view);
        let (chosen, why) = draw(call, view, &scores).unzip();
        scores.decide(
            call,
            view,
            describe,
            chosen,
            why.flatten(),
            |candidate, row, reasons| explain(call, candidate, row, &assumed, reasons),
        )
    }

    fn pick_of(&self, call: &Call<'_>, view: &View<'_>) -> Option<usize> {
        let (scores, _) = score(call, view);
        draw(call, view, &scores).map(|(index, _)| index)
    }

    fn waits_for_nodes(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "remuda"
    }
}
