//! What the load has seen, and the report of it.

use std::fmt;
use std::io;
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use scheduling::simulator::{Chart, Panel, Series};
use serde::Serialize;

use super::connection::Answer;

/// The longest time that is told from a longer one: a minute.
const LONGEST_US: u64 = 60_000_000;
/// Points in the picture, as far as there are so many seconds.
const MOST_POINTS: u64 = 120;

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was carried out.
    Done,
    /// It would have broken a rule.
    Refused,
    /// The server had too many calls.
    Shed,
    /// Anything else.
    Failed,
}

impl Outcome {
    pub(super) fn of(answered: &io::Result<Answer>) -> Self {
        match answered {
            Ok(answer) => match answer.status {
                200..300 => Self::Done,
                400 | 409 => Self::Refused,
                503 => Self::Shed,
                _ => Self::Failed,
            },
            Err(_) => Self::Failed,
        }
    }

    /// Tells whether the server has looked at the call. Times are of such calls.
    const fn was_taken_on(self) -> bool {
        matches!(self, Self::Done | Self::Refused)
    }
}

/// Counts and times of a stretch of time.
struct Stretch {
    counts: [u64; 4],
    times: Histogram<u64>,
}

impl Stretch {
    fn new(empty: &Histogram<u64>) -> Self {
        Self {
            counts: [0; 4],
            times: empty.clone(),
        }
    }

    fn count(&mut self, outcome: Outcome, micros: u64) {
        if let Some(count) = self.counts.get_mut(outcome as usize) {
            *count += 1;
        }
        if outcome.was_taken_on() {
            self.times.saturating_record(micros);
        }
    }
}

/// What was seen so far.
pub(super) struct Figures {
    empty: Histogram<u64>,
    width: Duration,
    stretches: Vec<Stretch>,
    all: Stretch,
    /// How late calls were sent.
    late: Histogram<u64>,
    /// Times of calls that the server took on, from when they were sent.
    answering: Histogram<u64>,
    first_failure: Option<String>,
}

/// A point of the picture.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Moment {
    second: f64,
    calls_per_second: f64,
    shed_per_second: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// The report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    connections: u32,
    wanted_per_second: Option<u32>,
    seconds: f64,
    /// Calls that were answered by a success or a refusal.
    answered: u64,
    calls_per_second: f64,
    done: u64,
    refused: u64,
    shed: u64,
    pub(super) failed: u64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// How late calls were sent: for want of a free connection, or of a processor for the load itself.
    late_p50_ms: f64,
    late_p99_ms: f64,
    /// Times from when calls were sent.
    answering_p50_ms: f64,
    answering_p99_ms: f64,
    over_time: Vec<Moment>,
}

impl Figures {
    pub(super) fn new(duration: Duration) -> Result<Self, CreationError> {
        let seconds = duration.as_secs().max(1).div_ceil(MOST_POINTS);
        // Times are right within one in a hundred.
        let empty = Histogram::new_with_bounds(1, LONGEST_US, 2)?;
        Ok(Self {
            width: Duration::from_secs(seconds),
            stretches: Vec::new(),
            all: Stretch::new(&empty),
            late: empty.clone(),
            answering: empty.clone(),
            empty,
            first_failure: None,
        })
    }

    /// Takes note of a call that has ended `since` the beginning, was sent `late` and answered after `took`.
    pub(super) fn note(
        &mut self,
        since: Duration,
        late: Duration,
        took: Duration,
        outcome: Outcome,
        answered: io::Result<Answer>,
    ) {
        let place = (since.as_micros() / self.width.as_micros().max(1)) as usize;
        while self.stretches.len() <= place {
            self.stretches.push(Stretch::new(&self.empty));
        }
        let micros = |time: Duration| (time.as_micros() as u64).clamp(1, LONGEST_US);
        self.late.saturating_record(micros(late));
        if outcome.was_taken_on() {
            self.answering.saturating_record(micros(took));
        }
        let micros = micros(late + took);
        self.all.count(outcome, micros);
        if let Some(stretch) = self.stretches.get_mut(place) {
            stretch.count(outcome, micros);
        }
        if outcome == Outcome::Failed && self.first_failure.is_none() {
            self.first_failure = Some(match answered {
                Ok(answer) => {
                    let body = String::from_utf8_lossy(&answer.body);
                    let body: String = body.chars().take(200).collect();
                    format!("status {}: {}", answer.status, body.trim())
                }
                Err(error) => error.to_string(),
            });
        }
    }

    pub(super) fn first_failure(&self) -> Option<&str> {
        self.first_failure.as_deref()
    }

    pub(super) fn report(
        &self,
        connections: u32,
        wanted_per_second: Option<u32>,
        took: Duration,
    ) -> Report {
        let ms = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        let at = |quantile: f64| ms(&self.all.times, quantile);
        let [done, refused, shed, failed] = self.all.counts;
        let seconds = took.as_secs_f64();
        let width = self.width.as_secs_f64();
        // The last stretch is not a whole one.
        let whole = (took.as_micros() / self.width.as_micros().max(1)) as usize;
        let over_time = self.stretches.iter().take(whole.max(1)).enumerate();
        Report {
            connections,
            wanted_per_second,
            seconds,
            answered: done + refused,
            calls_per_second: (done + refused) as f64 / seconds,
            done,
            refused,
            shed,
            failed,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.all.times.max() as f64 / 1e3,
            late_p50_ms: ms(&self.late, 0.5),
            late_p99_ms: ms(&self.late, 0.99),
            answering_p50_ms: ms(&self.answering, 0.5),
            answering_p99_ms: ms(&self.answering, 0.99),
            over_time: over_time
                .map(|(place, stretch)| {
                    let at = |quantile: f64| stretch.times.value_at_quantile(quantile) as f64 / 1e3;
                    let [done, refused, shed, _] = stretch.counts;
                    Moment {
                        second: place as f64 * width,
                        calls_per_second: (done + refused) as f64 / width,
                        shed_per_second: shed as f64 / width,
                        p50_ms: at(0.5),
                        p95_ms: at(0.95),
                        p99_ms: at(0.99),
                        max_ms: stretch.times.max() as f64 / 1e3,
                    }
                })
                .collect(),
        }
    }
}

impl Report {
    /// Draws rate and times over time.
    pub(super) fn chart(&self) -> Chart {
        let series = |name: &str, value: fn(&Moment) -> f64| Series {
            name: name.to_owned(),
            points: self
                .over_time
                .iter()
                .map(|moment| (moment.second, value(moment)))
                .collect(),
        };
        Chart {
            title: format!(
                "{:.0} calls a second over {} connections",
                self.calls_per_second, self.connections
            ),
            panels: vec![
                Panel {
                    name: "calls a second".to_owned(),
                    series: vec![
                        series("answered", |moment| moment.calls_per_second),
                        series("shed", |moment| moment.shed_per_second),
                    ],
                },
                Panel {
                    name: "time, ms".to_owned(),
                    series: vec![
                        series("p50", |moment| moment.p50_ms),
                        series("p95", |moment| moment.p95_ms),
                        series("p99", |moment| moment.p99_ms),
                    ],
                },
            ],
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:.0} calls a second over {} connections in {:.1} s",
            self.calls_per_second, self.connections, self.seconds
        )?;
        writeln!(
            f,
            "  carried out {}, refused {}, shed {}, failed {}",
            self.done, self.refused, self.shed, self.failed
        )?;
        writeln!(
            f,
            "  p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, longest {:.1} ms",
            self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.max_ms
        )?;
        if self.wanted_per_second.is_some() {
            writeln!(
                f,
                "  of these: sent late p50 {:.1} ms, p99 {:.1} ms; answered after p50 {:.1} ms, p99 {:.1} ms",
                self.late_p50_ms, self.late_p99_ms, self.answering_p50_ms, self.answering_p99_ms
            )?;
        }
        Ok(())
    }
}
