//! What a simulation found.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::options::Slo;

/// Latencies in milliseconds, exact to one in a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half are below.
    pub p50_ms: f64,
    /// Nine of ten are below.
    pub p90_ms: f64,
    /// All but one of a hundred are below.
    pub p99_ms: f64,
    /// The mean.
    pub mean_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// How much of the prompts came out of prefix caches, as shares of all prompt tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PrefixReport {
    /// What the nodes had.
    pub hit_ratio: f64,
    /// What one cache without bound would have had.
    pub oracle: f64,
    /// What one cache with the memory of all nodes together would have had.
    pub bounded_oracle: f64,
    /// The hits as a share of the bounded oracle's.
    pub of_bounded_oracle: f64,
}

/// What a simulation found. Replayed arrivals do not wait for answers, so it is an estimate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The policy.
    pub policy: &'static str,
    /// Requests that arrived.
    pub requests: u64,
    /// Requests that were served to the end.
    pub served: u64,
    /// Requests that the queue refused.
    pub refused: u64,
    /// Requests that were given up: no node could serve them, or too many tries failed.
    pub failed: u64,
    /// Tries that failed and were made again.
    pub retries: u64,
    /// Times that a batch call gave its place up before its first token.
    pub preempted: u64,
    /// From the first arrival to the last end, in seconds.
    pub duration_s: f64,
    /// Time to the first token.
    pub first_token: Latency,
    /// Time to the end.
    pub end_to_end: Latency,
    /// Time to the first token of everybody but the flooding tenant, when there is one.
    pub first_token_of_others: Option<Latency>,
    /// Requests per second that were served within the objectives.
    pub goodput_per_s: f64,
    /// Their share of all requests.
    pub within_slo: f64,
    /// Prefix caches.
    pub prefix: PrefixReport,
    /// Loads of models.
    pub cold_loads: u64,
    /// Jain's fairness index of how well tenants were served (work that a request needs over the time it took, in the mean):
    /// 1 when all are served equally well, 1/n when one has everything.
    pub fairness: f64,
    /// The share of the time that nodes read prompts, in the mean.
    pub reading_utilisation: f64,
    /// The share of slots that were taken, in the mean.
    pub slot_utilisation: f64,
    /// Time to the first token in milliseconds, at each percent from 1 to 100: for plots.
    #[serde(skip_serializing)]
    pub first_token_percentiles: Vec<f64>,
}

/// Tenants that fairness is counted for; further ones are not.
const MAX_TENANTS: usize = 100_000;

/// Latencies are told apart up to ten days.
const LONGEST_US: u64 = 864_000_000_000;

/// Collects what a report tells.
#[derive(Debug)]
pub(super) struct Tally {
    slo: Slo,
    first_token: Histogram<u64>,
    first_token_of_others: Histogram<u64>,
    end_to_end: Histogram<u64>,
    tenants: HashMap<u64, (f64, u64)>,
    pub(super) requests: u64,
    pub(super) served: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) retries: u64,
    pub(super) preempted: u64,
    within_slo: u64,
    pub(super) prompt_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) last_end_us: u64,
}

/// One served request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    pub(super) tenant: u64,
    pub(super) floods: bool,
    pub(super) first_token_us: u64,
    pub(super) total_us: u64,
    pub(super) output_tokens: u32,
    /// What it would have taken on an idle node.
    pub(super) alone_us: u64,
}

impl Tally {
    pub(super) fn new(slo: Slo) -> Result<Self, hdrhistogram::CreationError> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 3);
        Ok(Self {
            slo,
            first_token: histogram()?,
            first_token_of_others: histogram()?,
            end_to_end: histogram()?,
            tenants: HashMap::new(),
            requests: 0,
            served: 0,
            refused: 0,
            failed: 0,
            retries: 0,
            preempted: 0,
            within_slo: 0,
            prompt_tokens: 0,
            cached_tokens: 0,
            last_end_us: 0,
        })
    }

    pub(super) fn serve(&mut self, served: &Served) {
        self.served += 1;
        self.first_token.saturating_record(served.first_token_us);
        self.end_to_end.saturating_record(served.total_us);
        if !served.floods {
            self.first_token_of_others
                .saturating_record(served.first_token_us);
        }
        let further = u64::from(served.output_tokens.saturating_sub(1)).max(1);
        let per_token_us = (served.total_us - served.first_token_us.min(served.total_us)) / further;
        if u128::from(served.first_token_us) <= self.slo.first_token.as_micros()
            && u128::from(per_token_us) <= self.slo.per_token.as_micros()
        {
            self.within_slo += 1;
        }
        let tenants = self.tenants.len();
        if tenants < MAX_TENANTS || self.tenants.contains_key(&served.tenant) {
            let (sum, count) = self.tenants.entry(served.tenant).or_default();
            // A cached prompt can make it faster than alone: not more than served at once.
            *sum += (served.alone_us as f64 / served.total_us.max(1) as f64).min(1.0);
            *count += 1;
        }
    }

    /// Makes the report; what the fleet and the oracle know is filled in by the caller.
    pub(super) fn report(self, policy: &'static str, has_flood: bool) -> Report {
        let duration_s = (self.last_end_us as f64 / 1e6).max(1e-6);
        Report {
            policy,
            requests: self.requests,
            served: self.served,
            refused: self.refused,
            failed: self.failed,
            retries: self.retries,
            preempted: self.preempted,
            duration_s,
            first_token: latency(&self.first_token),
            end_to_end: latency(&self.end_to_end),
            first_token_of_others: has_flood.then(|| latency(&self.first_token_of_others)),
            goodput_per_s: self.within_slo as f64 / duration_s,
            within_slo: self.within_slo as f64 / self.requests.max(1) as f64,
            prefix: PrefixReport::default(),
            cold_loads: 0,
            fairness: jain(self.tenants.values().map(|(sum, n)| sum / *n as f64)),
            reading_utilisation: 0.0,
            slot_utilisation: 0.0,
            first_token_percentiles: (1..=100)
                .map(|p| self.first_token.value_at_percentile(f64::from(p)) as f64 / 1e3)
                .collect(),
        }
    }
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    let at = |percentile| histogram.value_at_percentile(percentile) as f64 / 1e3;
    Latency {
        p50_ms: at(50.0),
        p90_ms: at(90.0),
        p99_ms: at(99.0),
        mean_ms: histogram.mean() / 1e3,
        max_ms: histogram.max() as f64 / 1e3,
    }
}

/// Returns Jain's index of some shares: 1 for equal ones; 1 also for none.
fn jain(shares: impl Iterator<Item = f64>) -> f64 {
    // Sorted, so that the sums do not depend on the order of a map.
    let mut shares: Vec<f64> = shares.collect();
    shares.sort_unstable_by(f64::total_cmp);
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares > 0.0 {
        sum * sum / (shares.len() as f64 * squares)
    } else {
        1.0
    }
}

/// Several reports side by side, as a text table.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a>(pub &'a [Report]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = [
            "policy",
            "TTFT p50",
            "p90",
            "p99",
            "total p50",
            "p90",
            "p99",
            "goodput/s",
            "in SLO",
            "hits",
            "oracle",
            "of bounded",
            "loads",
            "fair",
            "reading",
            "slots",
            "failed",
        ];
        let mut rows = vec![header.map(str::to_owned)];
        rows.extend(self.0.iter().map(row));
        let mut widths = [0; 17];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        for row in &rows {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
                if index == 0 {
                    write!(line, "{cell:<width$}")?;
                } else {
                    write!(line, "  {cell:>width$}")?;
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        for report in self.0 {
            if let Some(others) = report.first_token_of_others {
                writeln!(
                    f,
                    "{}: first token of all but the flooding tenant p50 {}, p99 {}",
                    report.policy,
                    seconds(others.p50_ms),
                    seconds(others.p99_ms)
                )?;
            }
        }
        Ok(())
    }
}

fn row(report: &Report) -> [String; 17] {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    [
        report.policy.to_owned(),
        seconds(report.first_token.p50_ms),
        seconds(report.first_token.p90_ms),
        seconds(report.first_token.p99_ms),
        seconds(report.end_to_end.p50_ms),
        seconds(report.end_to_end.p90_ms),
        seconds(report.end_to_end.p99_ms),
        format!("{:.2}", report.goodput_per_s),
        percent(report.within_slo),
        percent(report.prefix.hit_ratio),
        percent(report.prefix.oracle),
        percent(report.prefix.of_bounded_oracle),
        report.cold_loads.to_string(),
        format!("{:.3}", report.fairness),
        percent(report.reading_utilisation),
        percent(report.slot_utilisation),
        (report.failed + report.refused).to_string(),
    ]
}

fn seconds(ms: f64) -> String {
    if ms < 1_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.2} s", ms / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index_knows_equals_and_favourites() {
        assert!((jain([0.5, 0.5, 0.5].into_iter()) - 1.0).abs() < 1e-9);
        assert!((jain([1.0, 0.0, 0.0, 0.0].into_iter()) - 0.25).abs() < 1e-9);
        assert!((jain(std::iter::empty()) - 1.0).abs() < 1e-9);
    }
}
