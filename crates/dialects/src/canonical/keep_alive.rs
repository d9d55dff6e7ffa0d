//! Ollama's `keep_alive`: a number of seconds, or a Go duration as `1h30m`; negative means for ever.

use std::time::Duration;

use crate::error::ApiError;
use crate::json::Json;

/// What is longer (ten years) does not end.
const LONGEST: Duration = Duration::from_hours(24 * 3_650);

/// How long a model stays in memory after its last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// For this time; zero takes it out at once.
    For(Duration),
    /// As long as the server runs.
    Forever,
}

impl KeepAlive {
    /// Reads it as Ollama does; a text of digits alone, which Ollama refuses, are seconds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for what is neither a number nor a duration.
    pub fn read(json: &Json) -> Result<Self, ApiError> {
        let seconds = json.read::<f64>().or_else(|| {
            let text = json.read::<String>()?;
            text.parse().ok().or_else(|| go_duration(&text))
        });
        let seconds = seconds.filter(|seconds| seconds.is_finite()).ok_or_else(|| {
            ApiError::invalid_field(
                "keep_alive",
                "keep_alive must be a time as \"5m\" or \"1h30m\", a number of seconds, or -1 for ever",
            )
        })?;
        let time = Duration::try_from_secs_f64(seconds).ok();
        Ok(time
            .filter(|time| *time < LONGEST)
            .map_or(Self::Forever, Self::For))
    }

    /// Tells whether the model is to leave at once.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::For(Duration::ZERO))
    }
}

/// Reads a duration as Go's `time.ParseDuration` does, in seconds: numbers with units, and a sign before all.
fn go_duration(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit_at);
        let next = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = after.split_at(next.unwrap_or(after.len()));
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<KeepAlive, String> {
        KeepAlive::read(&Json::parse(json).unwrap()).map_err(|error| error.message)
    }

    #[test]
    fn numbers_and_durations_are_read() {
        let seconds = |n| Ok(KeepAlive::For(Duration::from_secs(n)));
        for (json, meant) in [
            ("300", seconds(300)),
            ("\"300\"", seconds(300)),
            ("\"5m\"", seconds(300)),
            ("\"1h30m\"", seconds(5_400)),
            ("\"1.5h\"", seconds(5_400)),
            ("\"+2000ms\"", seconds(2)),
            ("0", seconds(0)),
            ("\"0s\"", seconds(0)),
            ("-1", Ok(KeepAlive::Forever)),
            ("\"-1m\"", Ok(KeepAlive::Forever)),
            ("1e300", Ok(KeepAlive::Forever)),
        ] {
            assert_eq!(read(json), meant, "{json}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_what_to_say() {
        for json in [
            "\"abc\"", "\"\"", "\"-\"", "\"5 m\"", "\"m\"", "\"1x\"", "\"1h2\"", "true", "[5]",
            "\"inf\"", "\"nan\"",
        ] {
            let error = read(json).unwrap_err();
            assert!(
                error.contains("keep_alive must be a time"),
                "{json} {error}"
            );
        }
    }
}
