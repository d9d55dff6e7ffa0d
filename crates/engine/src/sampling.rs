//! Chooses the next token from the model's scores.

use crate::request::SamplingParams;

/// A small random number generator (`SplitMix64`), so that a seed gives the same text on every machine and in every version.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A token with its score and, later, its probability.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    score: f32,
    probability: f32,
}

/// One sequence's way of choosing tokens.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    params: SamplingParams,
    random: Random,
}

impl Sampler {
    /// Makes a sampler; `fresh_seed` is used when the parameters name no seed.
    pub(crate) fn new(params: &SamplingParams, fresh_seed: u64) -> Self {
        Self {
            random: Random(params.seed.unwrap_or(fresh_seed)),
            params: params.clone(),
        }
    }

    /// Chooses a token. `history` holds all tokens before it, prompt included.
    pub(crate) fn choose(&mut self, scores: &mut [f32], history: &[u32]) -> Option<u32> {
        self.penalise(scores, history);
        let finite = |score: &f32| !score.is_nan() && *score > f32::NEG_INFINITY;
        if self.params.temperature <= 0.0 {
            let best = (0u32..)
                .zip(scores.iter())
                .filter(|(_, score)| finite(score));
            // `max_by` takes the last of equals; the lowest id shall win.
            return best
                .max_by(|a, b| a.1.total_cmp(b.1).then_with(|| b.0.cmp(&a.0)))
                .map(|(id, _)| id);
        }
        let mut candidates: Vec<Candidate> = (0u32..)
            .zip(scores.iter())
            .filter(|(_, score)| finite(score))
            .map(|(id, score)| Candidate {
                id,
                score: *score,
                probability: 0.0,
            })
            .collect();
        self.filter(&mut candidates);
        for candidate in &mut candidates {
            candidate.score /= self.params.temperature;
        }
        share(&mut candidates);
        self.draw(&candidates)
    }

    fn penalise(&self, scores: &mut [f32], history: &[u32]) {
        let SamplingParams {
            repeat_penalty,
            presence_penalty,
            frequency_penalty,
            repeat_last_n,
            ..
        } = self.params;
        let neutral = (repeat_penalty - 1.0).abs() < f32::EPSILON
            && presence_penalty == 0.0
            && frequency_penalty == 0.0;
        let last = usize::try_from(repeat_last_n)
            .unwrap_or(usize::MAX)
            .min(history.len());
        if neutral || last == 0 {
            return;
        }
        let mut recent = history[history.len() - last..].to_vec();
        recent.sort_unstable();
        for run in recent.chunk_by(|a, b| a == b) {
            let Some(score) = run.first().and_then(|id| scores.get_mut(*id as usize)) else {
                continue;
            };
            if repeat_penalty > 0.0 {
                *score = if *score > 0.0 {
                    *score / repeat_penalty
                } else {
                    *score * repeat_penalty
                };
            }
            *score -= presence_penalty + frequency_penalty * run.len() as f32;
        }
    }

    /// Keeps the candidates that the filters allow, likeliest first; at least one stays.
    fn filter(&self, candidates: &mut Vec<Candidate>) {
        let order = |a: &Candidate, b: &Candidate| {
            b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id))
        };
        let top = self.params.top_k;
        if top > 0 && top < candidates.len() {
            candidates.select_nth_unstable_by(top - 1, order);
            candidates.truncate(top);
        }
        candidates.sort_unstable_by(order);
        share(candidates);
        if self.params.top_p < 1.0 {
            let mut sum = 0.0;
            let keep = candidates.iter().position(|candidate| {
                sum += candidate.probability;
                sum >= self.params.top_p
            });
            if let Some(last) = keep {
                candidates.truncate(last + 1);
            }
        }
        if let Some(first) = candidates.first().filter(|_| self.params.min_p > 0.0) {
            let least = first.probability * self.params.min_p.min(1.0);
            candidates.retain(|candidate| candidate.probability >= least);
        }
    }

    fn draw(&mut self, candidates: &[Candidate]) -> Option<u32> {
        let mut left = self.random.unit();
        for candidate in candidates {
            left -= f64::from(candidate.probability);
            if left < 0.0 {
                return Some(candidate.id);
            }
        }
        candidates.last().map(|candidate| candidate.id)
    }
}

/// Turns scores into probabilities.
fn share(candidates: &mut [Candidate]) {
    let most = candidates
        .iter()
        .map(|candidate| candidate.score)
        .fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for candidate in candidates.iter_mut() {
        candidate.probability = (candidate.score - most).exp();
        sum += candidate.probability;
    }
    for candidate in candidates {
        candidate.probability /= sum;
    }
}

/// Computes the log probabilities of a chosen token and of the `top` likeliest tokens.
pub(crate) fn log_probabilities(scores: &[f32], chosen: u32, top: usize) -> (f32, Vec<(u32, f32)>) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total = scores
        .iter()
        .map(|score| (score - most).exp())
        .sum::<f32>()
        .ln()
        + most;
    let log = |id: u32| {
        scores
            .get(id as usize)
            .map_or(f32::NEG_INFINITY, |score| score - total)
    };
    let mut ids: Vec<u32> = (0..scores.len() as u32).collect();
    let order = |a: &u32, b: &u32| log(*b).total_cmp(&log(*a)).then_with(|| a.cmp(b));
    let top = top.min(ids.len());
    if top > 0 && top < ids.len() {
        ids.select_nth_unstable_by(top - 1, order);
    }
    ids.truncate(top);
    ids.sort_unstable_by(order);
    (
        log(chosen),
        ids.into_iter().map(|id| (id, log(id))).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> SamplingParams {
        SamplingParams {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            repeat_penalty: 1.0,
            seed: Some(7),
            ..SamplingParams::default()
        }
    }

    fn drawn(params: &SamplingParams, scores: &[f32]) -> Vec<u32> {
        let mut sampler = Sampler::new(params, 0);
        let mut seen: Vec<u32> = (0..200)
            .filter_map(|_| sampler.choose(&mut scores.to_vec(), &[]))
            .collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    #[test]
    fn temperature_zero_takes_the_likeliest_and_the_lowest_id_among_equals() {
        let mut sampler = Sampler::new(
            &SamplingParams {
                temperature: 0.0,
                ..params()
            },
            0,
        );
        assert_eq!(sampler.choose(&mut [0.0, 3.0, 3.0, f32::NAN], &[]), Some(1));
        assert_eq!(sampler.choose(&mut [], &[]), None);
    }

    #[test]
    fn filters_leave_only_likely_tokens() {
        let scores = [2.0, 1.9, 1.0, -1.0];
        assert_eq!(drawn(&params(), &scores), [0, 1, 2, 3]);
        assert_eq!(
            drawn(
                &SamplingParams {
                    top_k: 2,
                    ..params()
                },
                &scores
            ),
            [0, 1]
        );
        assert_eq!(
            drawn(
                &SamplingParams {
                    top_p: 0.5,
                    ..params()
                },
                &scores
            ),
            [0, 1]
        );
        assert_eq!(
            drawn(
                &SamplingParams {
                    top_p: 0.0,
                    ..params()
                },
                &scores
            ),
            [0]
        );
        assert_eq!(
            drawn(
                &SamplingParams {
                    min_p: 0.3,
                    ..params()
                },
                &scores
            ),
            [0, 1, 2]
        );
        assert_eq!(
            drawn(
                &SamplingParams {
                    min_p: 5.0,
                    ..params()
                },
                &scores
            ),
            [0]
        );
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let scores: Vec<f32> = (0..50).map(|id| (id % 7) as f32 / 3.0).collect();
        let draw = |seed| {
            let mut sampler = Sampler::new(
                &SamplingParams {
                    seed: Some(seed),
                    ..params()
                },
                0,
            );
            (0..20)
                .filter_map(|_| sampler.choose(&mut scores.clone(), &[]))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn penalties_lower_recent_tokens_only() {
        let greedy = SamplingParams {
            temperature: 0.0,
            repeat_last_n: 2,
            ..params()
        };
        let choose = |params: &SamplingParams| {
            Sampler::new(params, 0).choose(&mut [2.0, 1.8, 1.5], &[1, 0, 2])
        };
        assert_eq!(choose(&greedy), Some(0));
        assert_eq!(
            choose(&SamplingParams {
                repeat_penalty: 2.0,
                ..greedy.clone()
            }),
            Some(1)
        );
        assert_eq!(
            choose(&SamplingParams {
                presence_penalty: 1.0,
                ..greedy.clone()
            }),
            Some(1)
        );
        assert_eq!(
            choose(&SamplingParams {
                frequency_penalty: 1.0,
                ..greedy.clone()
            }),
            Some(1)
        );
        assert_eq!(
            choose(&SamplingParams {
                repeat_penalty: 2.0,
                repeat_last_n: 0,
                ..greedy
            }),
            Some(0)
        );
    }

    #[test]
    fn log_probabilities_are_sorted_and_sum_to_one() {
        let (chosen, top) = log_probabilities(&[1.0, 2.0, 3.0], 0, 9);
        assert_eq!(top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 1, 0]);
        assert!((top.iter().map(|(_, log)| log.exp()).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!((chosen - top[2].1).abs() < 1e-6);
        assert_eq!(log_probabilities(&[1.0, 2.0], 1, 0).1, []);
    }
}
