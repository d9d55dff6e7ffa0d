//! `[statistics]`: what is kept longer than request records.

use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::Period;

/// Statistics of requests and the history of nodes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatisticsSection {
    /// How long the history of nodes is kept by the minute; 2 days unless set.
    pub minutes: Period,
    /// How long that and the counts of requests are kept by the hour; 60 days unless set.
    pub hours: Period,
    /// How long both are kept by the day; 730 days unless set.
    pub days: Period,
}

impl Default for StatisticsSection {
    fn default() -> Self {
        Self {
            minutes: Period::days(2),
            hours: Period::days(60),
            days: Period::days(730),
        }
    }
}

impl StatisticsSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        // Coarser points are made while all of their finer ones are there.
        let least = [
            ("minutes", self.minutes, 1),
            ("hours", self.hours, 3),
            ("days", self.days, 7),
        ];
        for (key, kept, days) in least {
            if kept < Period::days(days) {
                let least = format!("must be at least {days}d");
                return Err(at.bad(["statistics", key], least));
            }
        }
        Ok(())
    }
}
