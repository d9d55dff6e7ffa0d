//! The history of a node: how it was found to be, minute by minute, hour by hour, day by day.

use std::time::Duration;

use ::store::StoreError;
use cluster::NodeError;
use primitives::{Classify, ErrorKind, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::span::Span;
use crate::store;
use crate::surface::Fleet;

/// Points of an answer, about; what is asked for is told in so many steps.
const POINTS: i64 = 400;

/// How a node was over a time. What it does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct NodePoint {
    /// When the time begins.
    #[schema(value_type = String, format = DateTime)]
    pub starts_at: Timestamp,
    /// How often it was looked at.
    pub samples: u64,
    /// How often it could be used then.
    pub usable: u64,
    /// Requests in flight, in the mean.
    pub in_flight: f64,
    /// The most requests that were seen in flight.
    pub in_flight_most: u64,
    /// Models in memory, in the mean.
    pub models_loaded: f64,
    /// Use of its processor, 0 to 100, in the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// Use of its memory, 0 to 100, in the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<f64>,
    /// Use of its GPUs, 0 to 100, in the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_percent: Option<f64>,
    /// Use of the memory of its GPUs, 0 to 100, in the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_percent: Option<f64>,
    /// The hottest GPU's highest temperature in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_celsius_most: Option<f64>,
    /// What its GPUs draw together, in the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_watts: Option<f64>,
}

/// Why a node's history was not shown.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// There is no such node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The time ends before it begins.
    #[error("until is not after since")]
    Time,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for HistoryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Node(error) => error.kind(),
            Self::Time => ErrorKind::Invalid,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Node(error) => error.public_message(),
            Self::Time => format!("{self}: give an earlier `since`, or leave `until` out for now"),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// From which points a time is told, and how many of them make one of the answer: the finest that are kept so long.
fn resolution(age: Duration, asked: Duration, minutes: Duration, hours: Duration) -> (Span, i64) {
    let span = if age <= minutes && asked <= Duration::from_hours(48) {
        Span::Minute
    } else if age <= hours && asked <= Duration::from_hours(24 * 60) {
        Span::Hour
    } else {
        Span::Day
    };
    let asked = i64::try_from(asked.as_micros()).unwrap_or(i64::MAX);
    let points = asked / span.micros();
    (span, span.micros() * (points / POINTS).max(1))
}

impl Fleet {
    /// Shows how a node was between two times, in about 400 steps at most, and how long a step is.
    ///
    /// # Errors
    /// When there is no such node, the time cannot be so, or the database fails.
    pub async fn node_history(
        &self,
        node: &str,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<(Duration, Vec<NodePoint>), HistoryError> {
        let node = self.inner.registry.load_node(node)?;
        if until <= since {
            return Err(HistoryError::Time);
        }
        let config = &self.inner.config;
        let age = self.inner.clock.now().since(since);
        let (span, step) = resolution(age, until.since(since), config.minutes, config.hours);
        let points = store::history(&self.inner.db, node.id, (span, step), (since, until)).await?;
        Ok((Duration::from_micros(step.unsigned_abs()), points))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_told_in_coarser_steps() {
        let day = Duration::from_hours(24);
        let of = |age: Duration, asked: Duration| resolution(age, asked, 2 * day, 60 * day);
        let hours = Duration::from_hours;
        assert_eq!(of(hours(1), hours(1)), (Span::Minute, 60_000_000));
        // A day has 1,440 minutes: three of them in each step.
        assert_eq!(of(day, day), (Span::Minute, 180_000_000));
        assert_eq!(of(7 * day, 7 * day), (Span::Hour, 3_600_000_000));
        // Minutes of then are not kept.
        assert_eq!(of(7 * day, hours(2)), (Span::Hour, 3_600_000_000));
        assert_eq!(of(400 * day, 400 * day), (Span::Day, 86_400_000_000));
    }
}
