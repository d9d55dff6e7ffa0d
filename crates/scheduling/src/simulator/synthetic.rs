//! A trace that nobody recorded: conversations as they are on chat servers, as many as wanted, in bounded memory.
//!
//! Conversations begin at random (a Poisson process) and have four turns in the mean, half a minute apart. Each turn's prompt is one
//! of 16 system prompts and everything said so far, so that prefixes are shared as in real traffic. Sizes of what is said spread
//! like those of public traces: most are short, a few are very long. Only sums and products are used, so that a seed gives the same
//! trace on every machine.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::trace::{BLOCK_TOKENS, TraceError, TraceRequest};
use crate::hashing::{Random, fold};

/// Turns of a conversation in the mean: after each it goes on with a chance of three in four.
const TURNS: f64 = 4.0;
const GOES_ON: f64 = 1.0 - 1.0 / TURNS;
/// Seconds between two turns in the mean.
const THINKING_S: f64 = 30.0;
/// System prompts there are, and the blocks of each.
const SYSTEM_PROMPTS: u64 = 16;
const SYSTEM_BLOCKS: u32 = 2;
/// The median tokens of what a person says, and of an answer.
const SAID_TOKENS: f64 = 160.0;
const ANSWER_TOKENS: f64 = 160.0;
/// A conversation ends when it has this many tokens.
const MAX_TOKENS: u32 = 100_000;

/// A conversation's next turn, ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at_us: u64,
    conversation: u64,
    /// Tokens of all that was said before.
    said: u32,
}

/// A generated trace.
#[derive(Debug)]
pub struct Synthetic {
    left: u64,
    begin_every_us: f64,
    next_begin_us: f64,
    conversations: u64,
    turns: BinaryHeap<Reverse<Turn>>,
    random: Random,
}

impl Synthetic {
    /// Generates `requests` requests, `per_s` a second in the mean (at least one in a million seconds).
    pub fn new(requests: u64, per_s: f64, seed: u64) -> Self {
        let per_s = if per_s.is_finite() {
            per_s.max(1e-6)
        } else {
            1e-6
        };
        Self {
            left: requests,
            begin_every_us: 1e6 * TURNS / per_s,
            next_begin_us: 0.0,
            conversations: 0,
            turns: BinaryHeap::new(),
            random: Random::new(fold(seed ^ 0x5F3C)),
        }
    }

    /// Draws from about an exponential distribution of mean 1: the logarithm is taken as straight between powers of two.
    fn exponential(&mut self) -> f64 {
        let bits = self.random.next() | 1;
        let halvings = f64::from(bits.leading_zeros());
        let rest = (bits << bits.leading_zeros()) as f64 / 2.0_f64.powi(63);
        (halvings + 2.0 - rest) * std::f64::consts::LN_2
    }

    /// Draws a size: up to four octaves above or below the median, near it most often.
    fn size(&mut self, median: f64) -> u32 {
        let octaves = (self.random.next() & 0xFF).count_ones() as i32 - 4;
        let within = 0.75 + 0.5 * self.random.next_share();
        (median * 2.0_f64.powi(octaves) * within) as u32 + 1
    }

    fn next_turn(&mut self) -> Turn {
        match self.turns.peek() {
            Some(Reverse(turn)) if (turn.at_us as f64) < self.next_begin_us => {
                let turn = *turn;
                self.turns.pop();
                turn
            }
            _ => {
                let at_us = self.next_begin_us as u64;
                self.next_begin_us += self.begin_every_us * self.exponential();
                self.conversations += 1;
                Turn {
                    at_us,
                    conversation: self.conversations,
                    said: 0,
                }
            }
        }
    }

    /// Names the blocks of a conversation's prompt.
    fn blocks(conversation: u64, prompt_tokens: u32) -> Vec<u64> {
        let system = fold(conversation) % SYSTEM_PROMPTS;
        (0..prompt_tokens / BLOCK_TOKENS)
            .map(|block| {
                let whose = if block < SYSTEM_BLOCKS {
                    system
                } else {
                    conversation + SYSTEM_PROMPTS
                };
                fold(whose << 20 | u64::from(block))
            })
            .collect()
    }
}

impl Iterator for Synthetic {
    type Item = Result<TraceRequest, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let turn = self.next_turn();
        let said = turn.said + self.size(SAID_TOKENS);
        let prompt_tokens = SYSTEM_BLOCKS * BLOCK_TOKENS + said;
        let output_tokens = self.size(ANSWER_TOKENS);
        if self.random.next_share() < GOES_ON && prompt_tokens < MAX_TOKENS {
            let pause_us = 1e6 * THINKING_S * self.exponential();
            self.turns.push(Reverse(Turn {
                at_us: turn.at_us + pause_us as u64,
                said: said + output_tokens,
                ..turn
            }));
        }
        Some(Ok(TraceRequest {
            at_us: turn.at_us,
            prompt_tokens,
            output_tokens,
            blocks: Self::blocks(turn.conversation, prompt_tokens),
            ..TraceRequest::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_come_at_the_rate_asked_for_and_share_their_beginnings() {
        let trace: Vec<TraceRequest> = Synthetic::new(20_000, 50.0, 7).flatten().collect();
        assert_eq!(trace.len(), 20_000);
        assert!(trace.is_sorted_by_key(|request| request.at_us));
        // It begins with first turns only, so the mean is taken from the second half.
        let (half, end) = (trace[10_000].at_us, trace[19_999].at_us);
        let per_s = 9_999.0 / ((end - half) as f64 / 1e6);
        assert!((40.0..60.0).contains(&per_s), "{per_s}");
        let mean = trace
            .iter()
            .map(|r| f64::from(r.prompt_tokens))
            .sum::<f64>()
            / 20_000.0;
        assert!((1_500.0..4_000.0).contains(&mean), "{mean}");
        let systems: std::collections::HashSet<u64> = trace
            .iter()
            .filter_map(|r| r.blocks.first().copied())
            .collect();
        assert_eq!(systems.len(), 16);
        let again: Vec<TraceRequest> = Synthetic::new(20_000, 50.0, 7).flatten().collect();
        assert_eq!(trace, again);
        assert_ne!(
            trace[0],
            Synthetic::new(1, 50.0, 8).flatten().next().unwrap()
        );
    }
}
