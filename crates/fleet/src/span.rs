//! The lengths of time that are counted together.

use std::time::Duration;

use primitives::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The first Monday after 1970 began, a Thursday.
const MONDAY: i64 = 4 * DAY;

/// A length of time that is counted together, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day, from midnight.
    Day,
    /// One week, from Monday.
    Week,
}

impl Span {
    /// Returns the name used in the database and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    /// Returns its length.
    pub const fn length(self) -> Duration {
        Duration::from_micros(self.micros().unsigned_abs())
    }

    pub(crate) const fn micros(self) -> i64 {
        match self {
            Self::Minute => MINUTE,
            Self::Hour => HOUR,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
        }
    }

    /// Returns how far its beginnings are from whole multiples of its length since 1970.
    pub(crate) const fn offset(self) -> i64 {
        match self {
            Self::Week => MONDAY,
            Self::Minute | Self::Hour | Self::Day => 0,
        }
    }

    /// Returns when the one that a time lies in began.
    pub fn start_of(self, at: Timestamp) -> Timestamp {
        let since = at.as_micros() - self.offset();
        Timestamp::from_micros(at.as_micros() - since.rem_euclid(self.micros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_begin_on_the_hour_at_midnight_and_on_mondays() {
        let at = Timestamp::parse_rfc3339("2026-11-26T19:41:07.5Z").unwrap();
        let start = |span: Span| span.start_of(at).to_rfc3339();
        assert!(start(Span::Minute).starts_with("2026-11-26T19:41:00"));
        assert!(start(Span::Hour).starts_with("2026-11-26T19:00:00"));
        assert!(start(Span::Day).starts_with("2026-11-26T00:00:00"));
        assert!(start(Span::Week).starts_with("2026-11-23T00:00:00"));
        let monday = Span::Week.start_of(at);
        assert_eq!(Span::Week.start_of(monday), monday);
    }
}
