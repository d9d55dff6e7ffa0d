//! What the silence of a node says about it: a call that has waited for its first token proves that the next one may wait as long.

use std::time::Duration;

use crate::call::Candidate;
use crate::estimate::{Priors, slowdown, usable};
use crate::liveness::Health;
use crate::speed::Speed;

/// For how long a node has given no sign of its work although calls wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// How long.
    pub time: Duration,
    /// How long silence was to be expected from these calls.
    pub expected: Duration,
}

/// Silence this many times as long as was expected, and [`SLACK`] more, is more than chance: estimates are off by a factor of 2 or 3.
const MUCH_LONGER: f32 = 3.0;
const SLACK: Duration = Duration::from_secs(1);
/// A day; no call waits longer.
const MAX_LATE_MS: f32 = 86_400_000.0;
/// What doubt costs, in milliseconds: a suspect node is chosen only when the others are much worse.
const SUSPECT_MS: f32 = 5_000.0;
/// What a node costs that works but answers no probe: whoever answers comes first.
const BUSY_MS: f32 = 2_000.0;

impl Silence {
    /// Returns the silence in milliseconds when it is much longer than expected, otherwise 0. As long as it lasts, no first token is
    /// to be expected any sooner.
    pub fn late_ms(self) -> f32 {
        if self.time > self.expected.mul_f32(MUCH_LONGER) + SLACK {
            self.time.as_secs_f32() * 1_000.0
        } else {
            0.0
        }
    }
}

/// Returns the milliseconds before which no first token is to be expected from a candidate, by its silence.
pub(crate) const fn late_ms(candidate: &Candidate<'_>) -> f32 {
    if candidate.late_ms.is_finite() {
        candidate.late_ms.clamp(0.0, MAX_LATE_MS)
    } else {
        0.0
    }
}

/// Returns what doubts about a node cost, in milliseconds.
pub(crate) const fn doubt_ms(health: Health) -> f32 {
    match health {
        Health::Suspect => SUSPECT_MS,
        Health::Busy => BUSY_MS,
        Health::Alive | Health::Dead => 0.0,
    }
}

/// What has to be done for a call before its node can give a sign.
#[derive(Clone, Copy, Debug)]
pub struct FirstSign {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer, when it comes in one piece.
    pub whole_answer: Option<u32>,
    /// How long loading the model takes, when it is not in memory.
    pub loading: Duration,
}

impl FirstSign {
    /// Returns how long that takes at the speed that was learned there.
    pub fn expected(&self, speed: &Speed) -> Duration {
        let seconds = |tokens: u32, learned: Option<f32>, otherwise: f32| {
            Duration::from_secs_f32(tokens as f32 / usable(learned).unwrap_or(otherwise))
        };
        let reading = seconds(
            self.prompt_tokens,
            speed.prefill_tokens_per_s(),
            Priors::PREFILL_TOKENS_PER_S,
        );
        let usual = speed
            .ttft_ms()
            .and_then(|ms| Duration::try_from_secs_f32(ms / 1_000.0).ok())
            .unwrap_or_default();
        let answer = seconds(
            self.whole_answer.unwrap_or(0),
            speed.decode_tokens_per_s(),
            Priors::DECODE_TOKENS_PER_S,
        );
        // The answers of a node that works on others, too.
        self.loading + reading.max(usual) + answer.mul_f32(slowdown(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speed::SpeedSample;

    fn silence(seconds: f32, expected: f32) -> Silence {
        Silence {
            time: Duration::from_secs_f32(seconds),
            expected: Duration::from_secs_f32(expected),
        }
    }

    #[test]
    fn only_silence_that_is_much_longer_than_expected_counts() {
        assert!(silence(0.9, 0.01).late_ms() <= 0.0);
        assert!(silence(60.0, 30.0).late_ms() <= 0.0, "a long prefill");
        assert!((silence(12.0, 0.05).late_ms() - 12_000.0).abs() < 1.0);
    }

    #[test]
    fn a_sign_is_expected_after_the_prompt_was_read_or_the_whole_answer_was_made() {
        let mut speed = Speed::new();
        speed.observe(&SpeedSample {
            prefill_tokens: 1_000,
            prefill: Duration::from_secs(2),
            first_token: Some(Duration::from_secs(2)),
            decode_tokens: 100,
            decode: Duration::from_secs(10),
        });
        let streamed = FirstSign {
            prompt_tokens: 5_000,
            whole_answer: None,
            loading: Duration::ZERO,
        };
        assert_eq!(streamed.expected(&speed), Duration::from_secs(10));
        let short = FirstSign {
            prompt_tokens: 5,
            ..streamed
        };
        assert_eq!(short.expected(&speed), Duration::from_secs(2));
        let whole = FirstSign {
            whole_answer: Some(200),
            ..streamed
        };
        assert_eq!(whole.expected(&speed), Duration::from_secs(40));
        let cold = FirstSign {
            loading: Duration::from_secs(7),
            ..streamed
        };
        assert_eq!(cold.expected(&speed), Duration::from_secs(17));
    }
}
