//! `[placement]`: how what is wanted of models is brought about.

use cluster::Window;
use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::{ByteSize, Period};

/// The most windows.
const MOST_WINDOWS: usize = 20;
/// Slower copies would look as if they stood still.
const SLOWEST_COPY: u64 = 64 << 10;

/// Where models are, and who sees to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlacementSection {
    /// The time between two looks at the fleet; 5 s unless set.
    pub interval: Period,
    /// Models that are fetched at once over the whole fleet, one at a time at each node; 2 unless set.
    pub max_pulls: usize,
    /// The most bytes a second that one copy of a model between nodes takes, as `50MB`; 0 unless set: as many as there are.
    pub copy_bytes_per_second: ByteSize,
    /// Hours in which models are fetched and deleted, as `22:00-06:00`; always unless set.
    pub windows: Vec<String>,
    /// The time zone of these hours; UTC unless set.
    pub time_zone: String,
    /// A model that was used within this time is not taken from memory; 5 min unless set.
    pub quiet_for: Period,
    /// How long a node may be away until its copies are made elsewhere; 15 min unless set.
    pub absent_for: Period,
    /// How long actions that have ended are kept; 30 days unless set.
    pub retention: Period,
    /// More calls than this for each node that has a model in memory ask for another node; 4 unless set.
    pub calls_for_each: f64,
    /// How long they have to; 2 min unless set.
    pub rise: Period,
    /// How long half of that has to be enough for one node less until one goes; 30 min unless set.
    pub fall: Period,
}

impl Default for PlacementSection {
    fn default() -> Self {
        Self {
            interval: Period::seconds(5),
            max_pulls: 2,
            copy_bytes_per_second: ByteSize(0),
            windows: Vec::new(),
            time_zone: "UTC".to_owned(),
            quiet_for: Period::seconds(300),
            absent_for: Period::seconds(900),
            retention: Period::days(30),
            calls_for_each: 4.0,
            rise: Period::seconds(120),
            fall: Period::seconds(1_800),
        }
    }
}

impl PlacementSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        let bad = |key: &str, reason: &str| Err(at.bad(["placement", key], reason));
        if !(50..=600_000).contains(&self.interval.0.as_millis()) {
            return bad("interval", "must be 50ms to 10m");
        }
        if !(1..=100).contains(&self.max_pulls) {
            return bad("max_pulls", "must be 1 to 100");
        }
        if (1..SLOWEST_COPY).contains(&self.copy_bytes_per_second.0) {
            return bad(
                "copy_bytes_per_second",
                "must be at least 64KiB, or 0 for no limit",
            );
        }
        if self.windows.len() > MOST_WINDOWS {
            return bad("windows", "must be at most 20 windows");
        }
        if !(0.1..=10_000.0).contains(&self.calls_for_each) {
            return bad("calls_for_each", "must be 0.1 to 10000");
        }
        for (key, period) in [("rise", self.rise), ("fall", self.fall)] {
            if period > Period::days(7) {
                return bad(key, "must be at most 7d");
            }
        }
        if self.retention < Period::seconds(60) {
            return bad("retention", "must be at least one minute");
        }
        for window in &self.windows {
            if let Err(error) = Window::parse(window, &self.time_zone) {
                return bad("windows", &error.to_string());
            }
        }
        if let Err(error) = Window::parse("00:00-24:00", &self.time_zone) {
            return bad("time_zone", &error.to_string());
        }
        Ok(())
    }

    /// Returns the windows; those that cannot be read were refused at the start.
    pub(crate) fn parsed_windows(&self) -> Vec<Window> {
        self.windows
            .iter()
            .filter_map(|window| Window::parse(window, &self.time_zone).ok())
            .collect()
    }
}
