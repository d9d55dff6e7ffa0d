//! Numbers that nodes write about their own work.
//!
//! They never make an answer an error: a server that counts wrongly has still answered. What cannot be a count is unknown.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::event::Usage;

/// More tokens than any context holds: whoever claims them has miscounted.
const MOST_TOKENS: u64 = 1_000_000_000;

/// A number as a node wrote it, whatever its type; `None` when it is not a number at or above zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number(Option<f64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Self::of(raw.get()))
    }
}

impl Number {
    /// Reads a JSON value.
    pub(crate) fn of(json: &str) -> Self {
        // Whole numbers are the rule, and quickly read.
        let number = match json.parse::<u32>() {
            Ok(number) => Some(f64::from(number)),
            Err(_) => json.parse::<f64>().ok(),
        };
        Self(number.filter(|number| number.is_finite() && *number >= 0.0))
    }

    /// Returns the number of tokens; `None` for what no server can have counted.
    pub(crate) fn tokens(self) -> Option<u64> {
        let tokens = self.0? as u64;
        (tokens <= MOST_TOKENS).then_some(tokens)
    }

    /// Returns a moment in Unix seconds.
    pub(crate) fn seconds(self) -> Option<i64> {
        self.0.map(|seconds| seconds as i64)
    }

    /// Returns a time in nanoseconds, which Ollama writes as 0 where it did not measure.
    pub(crate) fn nanos(self) -> Option<Duration> {
        let nanos = self.0? as u64;
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Returns a time in milliseconds.
    pub(crate) fn millis(self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.0? / 1_000.0).ok()
    }
}

/// Returns the usage with the two counts that every dialect has, or `None` when one of them is impossible: then nothing is
/// known, and what was seen of the answer is counted instead. An absent count is zero.
pub(crate) fn usage(prompt: Option<Number>, completion: Option<Number>) -> Option<Usage> {
    let tokens = |count: Option<Number>| count.map_or(Some(0), Number::tokens);
    Some(Usage {
        prompt_tokens: tokens(prompt)?,
        completion_tokens: tokens(completion)?,
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(json: &str) -> Option<u64> {
        serde_json::from_str::<Number>(json).unwrap().tokens()
    }

    #[test]
    fn counts_are_read_however_they_are_written() {
        assert_eq!(tokens("7"), Some(7));
        assert_eq!(tokens("7.0"), Some(7));
        assert_eq!(tokens("0"), Some(0));
    }

    #[test]
    fn what_cannot_be_a_count_is_unknown() {
        for json in [
            "-1",
            "-0.5",
            "1e999",
            "18446744073709551616",
            "99999999999999999999999999",
            "\"seven\"",
            "true",
            "{}",
            "[1]",
        ] {
            assert_eq!(tokens(json), None, "{json}");
        }
        assert_eq!(usage(serde_json::from_str("-1").ok(), None), None);
    }
}
