//! Maintenance windows: the hours of the day in which files are fetched and deleted.

use std::str::FromStr as _;

use chrono::{DateTime, Timelike as _, Utc};
use chrono_tz::Tz;
use primitives::Timestamp;

/// Hours of every day in a time zone; past midnight where the end is not later than the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Minutes after midnight.
    from: u32,
    to: u32,
    zone: Tz,
}

/// Why a window cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// It names no hours.
    #[error("{0:?} is no window: write the hours as \"22:00-06:00\"")]
    Hours(String),
    /// There is no such time zone.
    #[error("there is no time zone {0:?}: write a name as \"UTC\" or \"Europe/Vienna\"")]
    Zone(String),
}

impl Window {
    /// Reads hours, as `22:00-06:00`, and the name of a time zone.
    ///
    /// # Errors
    /// When either cannot be read.
    pub fn parse(hours: &str, zone: &str) -> Result<Self, WindowError> {
        let zone = Tz::from_str(zone).map_err(|_| WindowError::Zone(zone.to_owned()))?;
        let parsed = hours
            .split_once('-')
            .and_then(|(from, to)| Some((minute(from.trim())?, minute(to.trim())?)));
        let (from, to) = parsed.ok_or_else(|| WindowError::Hours(hours.to_owned()))?;
        Ok(Self { from, to, zone })
    }

    /// Tells whether a moment is within it.
    pub fn is_open(&self, at: Timestamp) -> bool {
        let Some(at) = DateTime::<Utc>::from_timestamp_micros(at.as_micros()) else {
            return false;
        };
        let local = at.with_timezone(&self.zone);
        let now = local.hour() * 60 + local.minute();
        if self.from < self.to {
            (self.from..self.to).contains(&now)
        } else {
            now >= self.from || now < self.to
        }
    }
}

fn minute(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<u32>().ok())
            .flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let in_day = minutes < 60 && (hours < 24 || (hours == 24 && minutes == 0));
    in_day.then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn a_window_may_go_past_midnight_and_follows_the_summer_time() {
        let night = Window::parse("22:00-06:00", "Europe/Vienna").unwrap();
        assert!(night.is_open(at("2026-01-15T21:00:00Z")));
        assert!(!night.is_open(at("2026-01-15T20:59:00Z")));
        assert!(night.is_open(at("2026-07-15T20:00:00Z")), "summer time");
        assert!(night.is_open(at("2026-07-15T03:59:00Z")));
        assert!(!night.is_open(at("2026-07-15T04:00:00Z")));
        let noon = Window::parse("12:00-13:30", "UTC").unwrap();
        assert!(noon.is_open(at("2026-07-15T13:29:59Z")));
        assert!(!noon.is_open(at("2026-07-15T13:30:00Z")));
        assert!(
            Window::parse("00:00-24:00", "UTC")
                .unwrap()
                .is_open(at("2026-07-15T23:59:59Z"))
        );
    }

    #[test]
    fn what_names_no_hours_is_refused() {
        for text in [
            "",
            "22:00",
            "22-06",
            "24:01-06:00",
            "1:00-2:00",
            "12:60-13:00",
            "+1:00-02:00",
        ] {
            assert!(Window::parse(text, "UTC").is_err(), "{text}");
        }
        assert!(Window::parse("22:00-06:00", "Mars/Base").is_err());
    }
}
