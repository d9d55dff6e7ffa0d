//! The scores of one decision, held apart from their explanation: a large fleet is scored in one pass over plain numbers, and
//! only what will be shown is explained afterwards.

use std::collections::BinaryHeap;

use crate::call::{Call, Candidate};
use crate::eligibility::exclusion;
use crate::policy::{Decision, Describe, EXPLAINED, Scored};
use crate::reason::{Reason, Reasons};
use crate::row::{Row, View};

/// One score per candidate; negative infinity for those that may not be chosen.
#[derive(Debug)]
pub(crate) struct Scores {
    values: Vec<f32>,
    best: f32,
}

impl Scores {
    /// Scores every candidate that may be chosen. Higher is better.
    pub(crate) fn of(call: &Call<'_>, view: &View<'_>, mut score: impl FnMut(&Row) -> f32) -> Self {
        let mut best = f32::NEG_INFINITY;
        let values = view
            .rows
            .iter()
            .map(|row| {
                if !view.is_eligible(call, row) {
                    return f32::NEG_INFINITY;
                }
                // Also turns what is not a number into the worst score.
                let score = score(row).max(f32::MIN);
                best = best.max(score);
                score
            })
            .collect();
        Self { values, best }
    }

    /// Takes scores that were worked out together.
    pub(crate) fn ready(values: Vec<f32>) -> Self {
        // Eight at a time: one after the other each comparison would wait for the one before.
        let (lanes, rest) = values.as_chunks::<8>();
        let mut best = [f32::NEG_INFINITY; 8];
        for lane in lanes {
            for (best, score) in best.iter_mut().zip(lane) {
                *best = best.max(*score);
            }
        }
        let best = best.iter().chain(rest).copied();
        Self {
            best: best.fold(f32::NEG_INFINITY, f32::max),
            values,
        }
    }

    /// Returns the best score; negative infinity when nobody may be chosen.
    pub(crate) const fn best(&self) -> f32 {
        self.best
    }

    /// Counts the candidates that may be chosen.
    pub(crate) fn eligible(&self) -> usize {
        self.at_least(f32::MIN).count()
    }

    /// Returns a candidate's score.
    pub(crate) fn get(&self, index: usize) -> f32 {
        self.values.get(index).copied().unwrap_or(f32::NEG_INFINITY)
    }

    /// Returns the index of the `nth` candidate that may be chosen.
    pub(crate) fn nth_eligible(&self, nth: usize) -> Option<usize> {
        self.at_least(f32::MIN).nth(nth)
    }

    /// Draws one of the candidates that score `least` or more and that `fits`; returns it with how many there were.
    pub(crate) fn draw(
        &self,
        random: u64,
        least: f32,
        fits: impl Fn(usize) -> bool,
    ) -> Option<(usize, u32)> {
        let fitting = || self.at_least(least).filter(|index| fits(*index));
        let count = fitting().count();
        let nth = (random as u32 as usize).checked_rem(count)?;
        Some((fitting().nth(nth)?, count as u32))
    }

    /// Lists the candidates that may be chosen and score `least` or more.
    fn at_least(&self, least: f32) -> impl Iterator<Item = usize> {
        // Who may not be chosen scores below any number.
        let least = least.max(f32::MIN);
        let eights = self.values.chunks(8).zip((0..).step_by(8));
        // Eight at a time: most are worse.
        eights
            .filter(move |(scores, _)| scores.iter().fold(f32::MIN, |a, b| a.max(*b)) >= least)
            .flat_map(move |(scores, first)| {
                let found = scores.iter().zip(first..);
                found.filter_map(move |(score, index)| (*score >= least).then_some(index))
            })
    }

    /// Makes the decision: `explain` says what the scores of those who are shown are made of, `why` what decided.
    pub(crate) fn decide<'c>(
        self,
        call: &Call<'_>,
        view: &View<'_>,
        describe: Describe<'_, 'c>,
        chosen: Option<usize>,
        why: Option<Reason>,
        mut explain: impl FnMut(&Candidate<'c>, &Row, &mut Reasons),
    ) -> Decision {
        let scored = self
            .shown(chosen)
            .into_iter()
            .filter_map(|index| {
                let (candidate, row) = (describe(index)?, view.get(index)?);
                let mut reasons = Reasons::new();
                if let Some(exclusion) = exclusion(call, &candidate) {
                    reasons.push(Reason::Excluded(exclusion));
                } else {
                    if !candidate.memory.has_room() {
                        reasons.push(Reason::Memory(candidate.memory));
                    }
                    explain(&candidate, row, &mut reasons);
                }
                if let (true, Some(why)) = (chosen == Some(index), why) {
                    reasons.push(why);
                }
                Some(Scored {
                    index,
                    score: self.get(index),
                    reasons,
                })
            })
            .collect();
        Decision { chosen, scored }
    }

    /// Lists who is explained, in the candidates' order.
    fn shown(&self, chosen: Option<usize>) -> Vec<usize> {
        let count = self.values.len();
        if count <= EXPLAINED {
            return (0..count).collect();
        }
        let others = EXPLAINED - usize::from(chosen.is_some());
        // The score in the upper half, ordered like integers, and the index in the lower: of these the smallest are kept.
        let mut best: BinaryHeap<u64> = BinaryHeap::with_capacity(others);
        for (index, score) in self.values.iter().enumerate() {
            let key = u64::from(!ordered(*score)) << 32 | index as u64;
            if Some(index) == chosen {
                continue;
            }
            if best.len() < others {
                best.push(key);
            } else if let Some(mut worst) = best.peek_mut()
                && key < *worst
            {
                *worst = key;
            }
        }
        let mut shown: Vec<usize> = best.into_iter().map(|key| key as u32 as usize).collect();
        shown.extend(chosen);
        shown.sort_unstable();
        shown
    }
}

/// Maps a float to an integer of the same order.
const fn ordered(score: f32) -> u32 {
    let bits = score.to_bits();
    if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_keep_their_order_as_integers() {
        let floats = [f32::NEG_INFINITY, -7.5, -0.1, 0.0, 0.1, 3.0, f32::MAX];
        assert!(floats.map(ordered).is_sorted());
    }

    #[test]
    fn the_best_of_a_large_fleet_and_the_chosen_one_are_shown() {
        let values: Vec<f32> = (0..500).map(|n| -((n * 7 % 500) as f32)).collect();
        let scores = Scores { best: 0.0, values };
        let worst = 499 * 143 % 500;
        let shown = scores.shown(Some(worst));
        assert_eq!(shown.len(), EXPLAINED);
        assert!(shown.is_sorted() && shown.contains(&worst));
        let best = shown.iter().filter(|i| scores.get(**i) > -31.0).count();
        assert_eq!(best, EXPLAINED - 1);
    }
}
