//! Cron expressions in a time zone.

use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use primitives::{Classify, ErrorKind, Timestamp};

/// When something happens again and again: five fields (minute, hour, day of month, month, day of week), or six with seconds before them.
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    zone: Tz,
    parsed: croner::Cron,
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It cannot be read.
    #[error(
        "{text:?} is no cron expression ({reason}): write five fields, as \"30 2 * * 1-5\" for half past two on weekdays"
    )]
    Expression {
        /// The expression.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such time zone.
    #[error("there is no time zone {0:?}: write a name as \"UTC\" or \"Europe/Vienna\"")]
    Zone(String),
    /// It can be read, but never comes.
    #[error("{0:?} never happens: there is no such day")]
    Never(String),
}

impl Classify for CronError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn public_message(&self) -> String {
        self.to_string()
    }
}

impl Cron {
    /// Reads an expression and the name of a time zone.
    ///
    /// # Errors
    /// When either cannot be read, or the expression names no moment of the years to come.
    pub fn parse(text: &str, zone: &str) -> Result<Self, CronError> {
        let zone = Tz::from_str(zone).map_err(|_| CronError::Zone(zone.to_owned()))?;
        let parsed = croner::Cron::from_str(text).map_err(|error| CronError::Expression {
            text: text.to_owned(),
            reason: error.to_string(),
        })?;
        let cron = Self {
            text: text.to_owned(),
            zone,
            parsed,
        };
        // 2024 is a leap year: what does not come after it within croner's search never does.
        cron.next(Timestamp::from_micros(1_704_067_200_000_000))
            .map(|_| cron.clone())
            .ok_or_else(|| CronError::Never(text.to_owned()))
    }

    /// Returns the first moment after `after`.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = DateTime::<Utc>::from_timestamp_micros(after.as_micros())?;
        let next = self
            .parsed
            .find_next_occurrence(&after.with_timezone(&self.zone), false)
            .ok()?;
        Some(Timestamp::from_micros(next.timestamp_micros()))
    }

    /// Returns the expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the name of the time zone.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn the_next_moment_goes_by_the_time_zone_and_its_summer_time() {
        let cron = Cron::parse("30 2 * * *", "Europe/Vienna").unwrap();
        assert_eq!(
            cron.next(at("2026-01-10T00:00:00Z")),
            Some(at("2026-01-10T01:30:00Z"))
        );
        assert_eq!(
            cron.next(at("2026-07-10T00:00:00Z")),
            Some(at("2026-07-10T00:30:00Z"))
        );
        // Strictly after: what fires does not fire again.
        assert_eq!(
            cron.next(at("2026-07-10T00:30:00Z")),
            Some(at("2026-07-11T00:30:00Z"))
        );
    }

    #[test]
    fn what_cannot_be_used_says_what_to_write() {
        for (text, zone, says) in [
            ("every day", "UTC", "five fields"),
            ("61 * * * *", "UTC", "five fields"),
            ("", "UTC", "five fields"),
            ("0 0 * * *", "Mars/Olympus", "time zone"),
            ("0 0 30 2 *", "UTC", "never happens"),
        ] {
            let error = Cron::parse(text, zone).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
