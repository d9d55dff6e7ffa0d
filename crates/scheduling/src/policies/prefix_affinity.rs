//! The node that has most of the prompt in its cache, unless it is loaded much above the mean.

use super::load;
use crate::call::{Call, Candidate};
use crate::eligibility::is_eligible;
use crate::policy::{Decision, RoutingPolicy};
use crate::reason::{Reason, Reasons};
use crate::scores::Scores;

/// Longest warm prefix with bounded load (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016):
/// candidates above 1.25 times the mean load lose their affinity. Without a useful prefix the least loaded wins.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrefixAffinity;

/// How far above the mean load affinity still counts.
const LOAD_FACTOR: f32 = 1.25;
/// The share of the prompt from which on a warm prefix attracts.
const MIN_SHARE: f32 = 0.3;

/// What the policy compares: affinity first, load among equals.
#[derive(Clone, Copy, Debug)]
struct Rule {
    mean_load: f32,
}

impl Rule {
    fn of(call: &Call<'_>, candidates: &[Candidate<'_>]) -> Self {
        let (sum, count) = candidates
            .iter()
            .filter(|c| is_eligible(call, c))
            .fold((0.0, 0.0), |(sum, count), c| (sum + load(c), count + 1.0));
        Self {
            mean_load: if count > 0.0 { sum / count } else { 0.0 },
        }
    }

    fn is_overloaded(self, candidate: &Candidate<'_>) -> bool {
        load(candidate) > LOAD_FACTOR * self.mean_load
    }

    fn warm_share(call: &Call<'_>, candidate: &Candidate<'_>) -> f32 {
        let share = candidate.prefix_blocks as f32 / call.prefix.len().max(1) as f32;
        if share < MIN_SHARE {
            0.0
        } else {
            share.min(1.0)
        }
    }

    fn score(self, call: &Call<'_>, candidate: &Candidate<'_>) -> f32 {
        // Less load is better among equal shares; any warm share outweighs all loads.
        let emptiness = 1.0 / (1.0 + load(candidate));
        if self.is_overloaded(candidate) {
            emptiness
        } else {
            let share = Self::warm_share(call, candidate);
            emptiness + if share > 0.0 { 1.0 + share } else { 0.0 }
        }
    }

    fn explain(self, call: &Call<'_>, candidate: &Candidate<'_>, reasons: &mut Reasons) {
        reasons.push(Reason::InFlight {
            in_flight: candidate.in_flight,
            slots: candidate.slots,
        });
        if candidate.full {
            reasons.push(Reason::Full {
                waiting: candidate.waiting,
            });
        }
        let blocks = candidate.prefix_blocks.min(call.prefix.len() as u32);
        if blocks > 0 {
            reasons.push(Reason::PrefixWarm { blocks });
            if self.is_overloaded(candidate) {
                reasons.push(Reason::Overloaded {
                    times_mean: load(candidate) / self.mean_load.max(f32::MIN_POSITIVE),
                });
            }
        }
        reasons.push_weight(candidate);
    }
}

/// Draws one of the best: equals share the calls.
fn draw_best(scores: &Scores, random: u64) -> Option<(usize, u32)> {
    let best = scores.best();
    scores.draw(random, |_, score| score >= best)
}

impl RoutingPolicy for PrefixAffinity {
    fn choose(&self, call: &Call<'_>, candidates: &[Candidate<'_>]) -> Decision {
        let rule = Rule::of(call, candidates);
        let scores = Scores::of(call, candidates, |candidate| rule.score(call, candidate));
        let drawn = draw_best(&scores, call.random);
        let why = drawn
            .filter(|(_, equals)| *equals > 1)
            .map(|(_, equals)| Reason::OneOfEquals { equals });
        let chosen = drawn.map(|(index, _)| index);
        scores.decide(call, candidates, chosen, why, |candidate, reasons| {
            rule.explain(call, candidate, reasons);
        })
    }

    fn pick(&self, call: &Call<'_>, candidates: &[Candidate<'_>]) -> Option<usize> {
        let rule = Rule::of(call, candidates);
        let scores = Scores::of(call, candidates, |candidate| rule.score(call, candidate));
        draw_best(&scores, call.random).map(|(index, _)| index)
    }

    fn waits_for_nodes(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "prefix_affinity"
    }
}
