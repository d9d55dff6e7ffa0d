//! The node that has most of the prompt in its cache, unless it is loaded much above the mean.

use crate::call::{Call, Candidate};
use crate::policy::{Decision, Describe, RoutingPolicy};
use crate::reason::{Reason, Reasons};
use crate::row::{Row, View};
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
    fn of(call: &Call<'_>, view: &View<'_>) -> Self {
        let (sum, count) = view
            .rows
            .iter()
            .filter(|row| view.is_eligible(call, row))
            .fold((0.0, 0.0), |(sum, count), row| {
                (sum + row.load, count + 1.0)
            });
        Self {
            mean_load: if count > 0.0 { sum / count } else { 0.0 },
        }
    }

    fn is_overloaded(self, row: &Row) -> bool {
        row.load > LOAD_FACTOR * self.mean_load
    }

    fn warm_share(call: &Call<'_>, row: &Row) -> f32 {
        let share = f32::from(row.prefix_blocks) / call.prefix.len().max(1) as f32;
        if share < MIN_SHARE {
            0.0
        } else {
            share.min(1.0)
        }
    }

    fn score(self, call: &Call<'_>, row: &Row) -> f32 {
        // Less load is better among equal shares; any warm share outweighs all loads.
        let emptiness = 1.0 / (1.0 + row.load);
        if self.is_overloaded(row) {
            emptiness
        } else {
            let share = Self::warm_share(call, row);
            emptiness + if share > 0.0 { 1.0 + share } else { 0.0 }
        }
    }

    fn explain(self, call: &Call<'_>, candidate: &Candidate<'_>, row: &Row, reasons: &mut Reasons) {
        reasons.push(Reason::InFlight {
            in_flight: candidate.in_flight,
            slots: candidate.slots,
        });
        if candidate.full {
            reasons.push(Reason::Full {
                waiting: candidate.waiting,
            });
        }
        let blocks = u32::from(row.prefix_blocks).min(call.prefix.len() as u32);
        if blocks > 0 {
            reasons.push(Reason::PrefixWarm { blocks });
            if self.is_overloaded(row) {
                reasons.push(Reason::Overloaded {
                    times_mean: row.load / self.mean_load.max(f32::MIN_POSITIVE),
                });
            }
        }
        reasons.push_doubts(candidate);
        reasons.push_weight(candidate);
    }
}

/// Draws one of the best: equals share the calls.
fn draw_best(scores: &Scores, random: u64) -> Option<(usize, u32)> {
    let best = scores.best();
    scores.draw(random, best, |_| true)
}

impl RoutingPolicy for PrefixAffinity {
    fn decide(&self, call: &Call<'_>, view: &View<'_>, describe: Describe<'_, '_>) -> Decision {
        let rule = Rule::of(call, view);
        let scores = Scores::of(call, view, |row| rule.score(call, row));
        let drawn = draw_best(&scores, call.random);
        let why = drawn
            .filter(|(_, equals)| *equals > 1)
            .map(|(_, equals)| Reason::OneOfEquals { equals });
        let chosen = drawn.map(|(index, _)| index);
        scores.decide(
            call,
            view,
            describe,
            chosen,
            why,
            |candidate, row, reasons| rule.explain(call, candidate, row, reasons),
        )
    }

    fn pick_of(&self, call: &Call<'_>, view: &View<'_>) -> Option<usize> {
        let rule = Rule::of(call, view);
        let scores = Scores::of(call, view, |row| rule.score(call, row));
        draw_best(&scores, call.random).map(|(index, _)| index)
    }

    fn waits_for_nodes(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "prefix_affinity"
    }
}
