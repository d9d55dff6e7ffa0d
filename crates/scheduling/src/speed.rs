//! How fast a model runs on a node, learned from the calls that ran there.

use std::time::Duration;

/// What one call shows about speed. Zero and absurd values are ignored.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpeedSample {
    /// Prompt tokens that were really read (without those from the node's cache).
    pub prefill_tokens: u64,
    /// How long reading them took; the time to the first token where the node does not tell.
    pub prefill: Duration,
    /// The time from sending the request to the first token, when there was one.
    pub first_token: Option<Duration>,
    /// Tokens generated.
    pub decode_tokens: u64,
    /// How long generating them took.
    pub decode: Duration,
}

/// The share of a new observation in the average.
const ALPHA: f32 = 0.2;
/// Shorter prompts measure overhead, not speed.
const MIN_PREFILL_TOKENS: u64 = 32;
/// Shorter answers measure noise.
const MIN_DECODE_TOKENS: u64 = 8;
/// A time to the first token counts as this many times the mean at most: one call that hung must not make a node the last choice long
/// after it works again. A node that stays slow is found out after a few calls all the same.
const MOST_TIMES_MEAN: f32 = 4.0;
/// A mean below this is taken for this.
const LEAST_FIRST_TOKEN_MS: f32 = 10.0;
/// Rates outside of this range are measuring errors.
const PLAUSIBLE_TOKENS_PER_S: std::ops::RangeInclusive<f32> = 0.01..=1.0e6;

/// An exponentially weighted moving average that starts at its first observation.
#[derive(Clone, Copy, Debug, Default)]
struct Ewma(Option<f32>);

impl Ewma {
    fn observe(&mut self, value: f32) {
        self.0 = Some(self.0.map_or(value, |mean| mean + ALPHA * (value - mean)));
    }
}

/// Moving averages of prefill and decode tokens per second and of the time to the first token, for one (node, model).
#[derive(Clone, Copy, Debug, Default)]
pub struct Speed {
    decode: Ewma,
    prefill: Ewma,
    first_token_ms: Ewma,
}

impl Speed {
    /// Makes a record of nothing.
    pub const fn new() -> Self {
        Self {
            decode: Ewma(None),
            prefill: Ewma(None),
            first_token_ms: Ewma(None),
        }
    }

    /// Learns from one call.
    pub fn observe(&mut self, sample: &SpeedSample) {
        if let Some(rate) = rate(sample.decode_tokens, sample.decode, MIN_DECODE_TOKENS) {
            self.decode.observe(rate);
        }
        if let Some(rate) = rate(sample.prefill_tokens, sample.prefill, MIN_PREFILL_TOKENS) {
            self.prefill.observe(rate);
        }
        if let Some(first_token) = sample.first_token {
            let ms = first_token.as_secs_f32() * 1_000.0;
            let most = self.first_token_ms.0.map_or(f32::INFINITY, |mean| {
                MOST_TIMES_MEAN * mean.max(LEAST_FIRST_TOKEN_MS)
            });
            self.first_token_ms.observe(ms.min(most));
        }
    }

    /// Returns tokens per second generated in one stream, once learned.
    pub const fn decode_tokens_per_s(&self) -> Option<f32> {
        self.decode.0
    }

    /// Returns prompt tokens read per second, once learned.
    pub const fn prefill_tokens_per_s(&self) -> Option<f32> {
        self.prefill.0
    }

    /// Returns the time to the first token in milliseconds, once learned.
    pub const fn ttft_ms(&self) -> Option<f32> {
        self.first_token_ms.0
    }
}

fn rate(tokens: u64, time: Duration, least: u64) -> Option<f32> {
    if tokens < least || time.is_zero() {
        return None;
    }
    let rate = tokens as f32 / time.as_secs_f32();
    PLAUSIBLE_TOKENS_PER_S.contains(&rate).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generating(tokens: u64, seconds: f32) -> SpeedSample {
        SpeedSample {
            decode_tokens: tokens,
            decode: Duration::from_secs_f32(seconds),
            ..SpeedSample::default()
        }
    }

    #[test]
    fn the_first_observation_counts_fully_and_later_ones_pull_towards_them() {
        let mut speed = Speed::new();
        assert_eq!(speed.decode_tokens_per_s(), None);
        speed.observe(&generating(100, 1.0));
        assert_eq!(speed.decode_tokens_per_s(), Some(100.0));
        for _ in 0..40 {
            speed.observe(&generating(50, 1.0));
        }
        let learned = speed.decode_tokens_per_s().unwrap();
        assert!((50.0..50.1).contains(&learned), "{learned}");
    }

    #[test]
    fn a_call_that_hung_says_little_of_the_next_one() {
        let first_token = |ms| SpeedSample {
            first_token: Some(Duration::from_millis(ms)),
            ..SpeedSample::default()
        };
        let mut speed = Speed::new();
        speed.observe(&first_token(50));
        speed.observe(&first_token(50_000));
        let learned = speed.ttft_ms().unwrap();
        assert!((79.0..81.0).contains(&learned), "{learned}");
        for _ in 0..25 {
            speed.observe(&first_token(5_000));
        }
        let learned = speed.ttft_ms().unwrap();
        assert!(learned > 4_500.0, "{learned}: it stays slow");
    }

    #[test]
    fn what_measures_nothing_teaches_nothing() {
        let mut speed = Speed::new();
        speed.observe(&generating(1, 0.001));
        speed.observe(&generating(100, 0.0));
        speed.observe(&generating(u64::MAX, 1.0));
        speed.observe(&SpeedSample {
            prefill_tokens: 3,
            prefill: Duration::from_millis(80),
            ..SpeedSample::default()
        });
        assert_eq!(speed.decode_tokens_per_s(), None);
        assert_eq!(speed.prefill_tokens_per_s(), None);
        speed.observe(&SpeedSample {
            prefill_tokens: 1_000,
            prefill: Duration::from_millis(500),
            first_token: Some(Duration::from_millis(600)),
            ..SpeedSample::default()
        });
        assert_eq!(speed.prefill_tokens_per_s(), Some(2_000.0));
        assert_eq!(speed.ttft_ms(), Some(600.0));
    }
}
