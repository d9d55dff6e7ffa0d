//! What came of requests: counted by the hour from their records, by the day from hours, and asked for by model, node and operation.

use std::time::Duration;

use ::store::{Durability, StoreError};
use primitives::{Classify, ErrorKind, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::span::Span;
use crate::store::{self, Counted, Group};
use crate::surface::Fleet;

/// Hours that are counted anew at every turn: records are kept under the time of arrival and come when the request has ended.
const LATE: Duration = Duration::from_hours(2);
/// How far back hours are counted at most: what came later than this after its request is in the records alone.
const FARTHEST: Duration = Duration::from_hours(24 * 8);
/// The most lines of an answer.
pub(crate) const LINES: u32 = 5_000;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct StatisticsQuery {
    /// What is counted together.
    pub span: Span,
    /// Whether models are told apart.
    pub by_model: bool,
    /// Whether nodes are told apart.
    pub by_node: bool,
    /// Whether operations are told apart.
    pub by_operation: bool,
    /// From the span on that this lies in; for the last 48 hours, 30 days or 12 weeks unless given.
    pub since: Option<Timestamp>,
    /// Before this; now unless given.
    pub until: Option<Timestamp>,
    /// Only this model; `(unknown)`: those that nobody has.
    pub model: Option<String>,
    /// Only this node, by name.
    pub node: Option<String>,
    /// Only this operation.
    pub operation: Option<String>,
}

/// What came of the requests of a time.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct StatisticsRow {
    /// When the time begins.
    #[schema(value_type = String, format = DateTime)]
    pub starts_at: Timestamp,
    /// The model, where models are told apart; empty for requests that came to none, `(unknown)` for those of models that nobody has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The node's name, where nodes are told apart; empty for requests that came to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The operation, where they are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Requests.
    pub requests: u64,
    /// Answered in full.
    pub ok: u64,
    /// The clients' mistakes.
    pub client_errors: u64,
    /// Turned away by a limit.
    pub rejected: u64,
    /// No node could answer.
    pub failed: u64,
    /// The client went away.
    pub cancelled: u64,
    /// The answer broke off.
    pub truncated: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Streams that went on from another node, each time counted.
    pub continued: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// Time in the queue in the mean, in microseconds.
    pub queue_us: u64,
    /// From arrival to the first token in the mean, in microseconds; absent where no token came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_us: Option<u64>,
    /// Half of the first tokens came within this, in microseconds; read off between counts at 0.1, 0.3, 1, 3, 10 and 30 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_p50_us: Option<u64>,
    /// 99 of 100 came within this, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_p99_us: Option<u64>,
    /// The longest, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_most_us: Option<u64>,
    /// From arrival to the end in the mean, in microseconds.
    pub total_us: u64,
    /// Half of the requests ended within this, in microseconds; read off between counts at 0.3, 1, 3, 10, 30 and 100 s.
    pub total_p50_us: u64,
    /// 99 of 100 ended within this, likewise.
    pub total_p99_us: u64,
    /// The longest, in microseconds.
    pub total_most_us: u64,
}

/// Why statistics were not shown.
#[derive(Debug, thiserror::Error)]
pub enum StatisticsError {
    /// Minutes are not counted.
    #[error("requests are not counted by the minute")]
    Minutes,
    /// The time ends before it begins.
    #[error("until is not after since")]
    Time,
    /// The answer would be too long.
    #[error("there are more than {LINES} lines")]
    TooMuch,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for StatisticsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Minutes | Self::Time | Self::TooMuch => ErrorKind::Invalid,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Minutes => format!("{self}: `span` is hour, day or week"),
            Self::Time => format!("{self}: give an earlier `since`, or leave `until` out for now"),
            Self::TooMuch => {
                format!("{self}: ask for a shorter time, a longer span, or tell less apart")
            }
            Self::Store(error) => error.public_message(),
        }
    }
}

impl Fleet {
    /// Shows what came of requests, the oldest first. The present hour is up to some seconds behind, or minutes where it has millions.
    ///
    /// # Errors
    /// When what is asked for cannot be so, there is too much of it, or the database fails.
    pub async fn request_statistics(
        &self,
        query: StatisticsQuery,
    ) -> Result<Vec<StatisticsRow>, StatisticsError> {
        let now = self.inner.clock.now();
        let usual = match query.span {
            Span::Minute => return Err(StatisticsError::Minutes),
            Span::Hour => Duration::from_hours(48),
            Span::Day => Duration::from_hours(24 * 30),
            Span::Week => Duration::from_hours(24 * 7 * 12),
        };
        let until = query
            .until
            .unwrap_or_else(|| now.after(Duration::from_secs(1)));
        let since = query.since.unwrap_or_else(|| until.before(usual));
        if until <= since {
            return Err(StatisticsError::Time);
        }
        let group = Group {
            span: query.span,
            by_model: query.by_model,
            by_node: query.by_node,
            by_operation: query.by_operation,
            since: query.span.start_of(since),
            until,
            model: query.model,
            node: query.node,
            operation: query.operation,
        };
        let lines = store::read_statistics(&self.inner.db, &group, LINES + 1).await?;
        if lines.len() > LINES as usize {
            return Err(StatisticsError::TooMuch);
        }
        let rows = lines
            .into_iter()
            .map(|(at, [model, node, operation], counted)| {
                StatisticsRow::new(
                    at,
                    (
                        group.by_model.then_some(model),
                        group.by_node.then_some(node),
                        group.by_operation.then_some(operation),
                    ),
                    &counted,
                )
            });
        Ok(rows.collect())
    }

    /// Counts the hours that may have changed, and their days. An hour whose records are being deleted keeps what was counted.
    pub(crate) async fn roll_up_requests(&self) -> Result<(), StoreError> {
        let db = &self.inner.db;
        let now = self.inner.clock.now();
        let (last, first) = store::rolled_until(db).await?;
        let Some(first) = first else {
            return Ok(());
        };
        let from = last.unwrap_or(first).min(now.before(LATE)).max(first);
        let mut hour = Span::Hour.start_of(from.max(now.before(FARTHEST)));
        let mut days = Vec::new();
        while hour <= now {
            let mut tx = db.read().await?;
            let (present, counted) = store::count_hour(&mut tx, hour).await?;
            tx.commit().await?;
            if present > counted {
                let mut tx = db.write_with(Durability::Relaxed).await?;
                store::replace_hour(&mut tx, hour).await?;
                tx.commit().await?;
                let day = Span::Day.start_of(hour);
                if days.last() != Some(&day) {
                    days.push(day);
                }
            }
            hour = hour.after(Span::Hour.length());
        }
        for day in days {
            let mut tx = db.write_with(Durability::Relaxed).await?;
            store::replace_day(&mut tx, day).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

impl StatisticsRow {
    fn new(
        starts_at: Timestamp,
        (model, node, operation): (Option<String>, Option<String>, Option<String>),
        counted: &Counted,
    ) -> Self {
        let c = counted;
        let mean = |sum: u64, count: u64| sum.checked_div(count);
        let first = [
            (100_000, c.first_100ms),
            (300_000, c.first_300ms),
            (1_000_000, c.first_1s),
            (3_000_000, c.first_3s),
            (10_000_000, c.first_10s),
            (30_000_000, c.first_30s),
        ];
        let total = [
            (300_000, c.total_300ms),
            (1_000_000, c.total_1s),
            (3_000_000, c.total_3s),
            (10_000_000, c.total_10s),
            (30_000_000, c.total_30s),
            (100_000_000, c.total_100s),
        ];
        Self {
            starts_at,
            model,
            node,
            operation,
            requests: c.requests,
            ok: c.ok,
            client_errors: c.client_errors,
            rejected: c.rejected,
            failed: c.failed,
            cancelled: c.cancelled,
            truncated: c.truncated,
            retries: c.retries,
            continued: c.continued,
            prompt_tokens: c.prompt_tokens,
            completion_tokens: c.completion_tokens,
            queue_us: mean(c.queue_us, c.requests).unwrap_or(0),
            first_token_us: mean(c.first_token_us, c.first_tokens),
            first_token_p50_us: quantile(&first, (c.first_tokens, c.first_most_us), 0.5),
            first_token_p99_us: quantile(&first, (c.first_tokens, c.first_most_us), 0.99),
            first_token_most_us: (c.first_tokens > 0).then_some(c.first_most_us),
            total_us: mean(c.total_us, c.requests).unwrap_or(0),
            total_p50_us: quantile(&total, (c.requests, c.total_most_us), 0.5).unwrap_or(0),
            total_p99_us: quantile(&total, (c.requests, c.total_most_us), 0.99).unwrap_or(0),
            total_most_us: c.total_most_us,
        }
    }
}

/// Reads a share off cumulative counts of `all`, on a straight line between two bounds, as Prometheus's `histogram_quantile` does; `most`
/// is the bound of all. `None`: nothing was counted.
fn quantile(counts: &[(u64, u64)], (all, most): (u64, u64), share: f64) -> Option<u64> {
    if all == 0 {
        return None;
    }
    let wanted = share * all as f64;
    let (mut below, mut seen) = (0, 0);
    for &(bound, count) in counts.iter().chain([&(most, all)]) {
        let bound = bound.min(most);
        if count as f64 >= wanted {
            let within = (wanted - seen as f64) / count.saturating_sub(seen).max(1) as f64;
            return Some(below + (bound.saturating_sub(below) as f64 * within).round() as u64);
        }
        (below, seen) = (bound, count);
    }
    Some(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_off_between_counts() {
        let counts = [(100, 50), (300, 90), (1_000, 99)];
        let of = |all, most, share| quantile(&counts, (all, most), share);
        assert_eq!(of(100, 2_000, 0.25), Some(50));
        assert_eq!(of(100, 2_000, 0.5), Some(100));
        assert_eq!(of(100, 2_000, 0.7), Some(200));
        assert_eq!(of(100, 2_000, 0.99), Some(1_000));
        assert_eq!(of(100, 2_000, 1.0), Some(2_000));
        // Beyond the last bound, and no further than the longest.
        assert_eq!(of(199, 2_000, 0.995), Some(1_990));
        assert_eq!(of(99, 650, 1.0), Some(650));
        assert_eq!(of(0, 0, 0.5), None);
    }
}
