//! What has happened in the last quarter of an hour, in steps of five seconds: rates, waits, failures.
//!
//! Fed from the records of ended requests as they are logged, off the request path. Nothing of it outlives the process: the records do.

mod distribution;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use primitives::{RequestId, Timestamp};

use self::distribution::Distribution;
use crate::record::{Outcome, RequestRecord};

/// How long a step lasts.
pub(crate) const STEP: Duration = Duration::from_secs(5);
/// Steps that are kept: a quarter of an hour.
const STEPS: usize = 180;
/// Over how many steps the rates of the moment go: half a minute.
const MOMENT: usize = 6;
/// Over how many steps distributions and shares go: five minutes.
const LATELY: usize = 60;
/// Nodes that are told apart within a step; others count for the whole only.
const NODES: usize = 1_000;
/// Failures that are kept.
const FAILURES: usize = 20;

/// What has happened lately.
#[derive(Debug)]
pub(crate) struct Pulse {
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    /// Since when there is something to tell.
    begun: i64,
    /// The oldest first; the last one is under way.
    steps: VecDeque<Step>,
    /// The newest last.
    failures: VecDeque<Failure>,
}

#[derive(Debug, Default)]
struct Step {
    /// Which one since 1970.
    number: i64,
    requests: u64,
    failed: u64,
    tokens: u64,
    first_token: Distribution,
    wait: Distribution,
    nodes: HashMap<Arc<str>, NodeStep>,
}

#[derive(Clone, Copy, Debug, Default)]
struct NodeStep {
    requests: u64,
    tokens: u64,
}

/// A request that ended badly.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) id: RequestId,
    pub(crate) received_at: Timestamp,
    pub(crate) model: Arc<str>,
    pub(crate) outcome: Outcome,
    pub(crate) status: u16,
    pub(crate) error: Option<String>,
}

/// What the window comes to.
#[derive(Clone, Debug)]
pub(crate) struct Lately {
    /// Ended requests a second, of the last half a minute.
    pub(crate) requests_per_second: f64,
    /// Those of them that ended badly.
    pub(crate) failed_per_second: f64,
    /// Tokens of answers a second, of the same.
    pub(crate) tokens_per_second: f64,
    /// Over how many seconds what follows goes, 300 at most.
    pub(crate) seconds: u64,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Median and 99th percentile of the time to the first token, in microseconds.
    pub(crate) first_token_us: Option<(u64, u64)>,
    /// The same of the time in the queue.
    pub(crate) wait_us: Option<(u64, u64)>,
    /// Requests and tokens of answers a second of each node that had any in the last half a minute.
    pub(crate) nodes: Vec<(Arc<str>, f64, f64)>,
    /// The newest first.
    pub(crate) failures: Vec<Failure>,
}

/// One step of the past.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PastStep {
    /// When it began.
    pub(crate) at: Timestamp,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) tokens: u64,
}

impl Pulse {
    /// Begins at `now`.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            window: Mutex::new(Window {
                begun: now.as_micros(),
                steps: VecDeque::new(),
                failures: VecDeque::new(),
            }),
        }
    }

    /// Counts a request that has ended.
    pub(crate) fn note(&self, record: &RequestRecord, now: Timestamp) {
        let mut window = self.window.lock();
        let bad = is_bad(record.outcome);
        if bad {
            if window.failures.len() >= FAILURES {
                window.failures.pop_front();
            }
            window.failures.push_back(Failure {
                id: record.id,
                received_at: record.received_at,
                model: record
                    .model
                    .clone()
                    .unwrap_or_else(|| record.requested_model.clone()),
                outcome: record.outcome,
                status: record.status,
                error: record.error.clone(),
            });
        }
        let step = window.step(now);
        step.requests += 1;
        step.failed += u64::from(bad);
        step.tokens += record.completion_tokens;
        step.wait.add(record.queue_us);
        if let Some(us) = record.first_token_us {
            step.first_token.add(us);
        }
        if let Some((_, name)) = &record.node {
            let is_known = step.nodes.contains_key(name);
            if is_known || step.nodes.len() < NODES {
                let node = step.nodes.entry(name.clone()).or_default();
                node.requests += 1;
                node.tokens += record.completion_tokens;
            }
        }
    }

    /// Counts a request that did not get as far as to have a record.
    pub(crate) fn note_refused(&self, outcome: Outcome, now: Timestamp) {
        let mut window = self.window.lock();
        let step = window.step(now);
        step.requests += 1;
        step.failed += u64::from(is_bad(outcome));
    }

    /// Sums up what has happened lately.
    pub(crate) fn lately(&self, now: Timestamp) -> Lately {
        let mut window = self.window.lock();
        window.step(now);
        let Window {
            begun,
            steps,
            failures,
        } = &*window;
        let age = Duration::from_micros(u64::try_from(now.as_micros() - begun).unwrap_or(0));
        let moment = seconds(MOMENT, now, age);
        let mut nodes: HashMap<Arc<str>, NodeStep> = HashMap::new();
        let (mut ended, mut badly, mut tokens) = (0, 0, 0);
        for step in recent(steps, MOMENT, now) {
            ended += step.requests;
            badly += step.failed;
            tokens += step.tokens;
            for (name, of_step) in &step.nodes {
                let node = nodes.entry(name.clone()).or_default();
                node.requests += of_step.requests;
                node.tokens += of_step.tokens;
            }
        }
        let (mut first_token, mut wait) = (Distribution::default(), Distribution::default());
        let (mut requests, mut failed) = (0, 0);
        for step in recent(steps, LATELY, now) {
            requests += step.requests;
            failed += step.failed;
            first_token.merge(&step.first_token);
            wait.merge(&step.wait);
        }
        let both = |of: &Distribution| Some((of.quantile(0.5)?, of.quantile(0.99)?));
        let mut nodes: Vec<_> = nodes
            .into_iter()
            .map(|(name, node)| {
                (
                    name,
                    node.requests as f64 / moment,
                    node.tokens as f64 / moment,
                )
            })
            .collect();
        nodes.sort_by(|one, other| one.0.cmp(&other.0));
        Lately {
            requests_per_second: ended as f64 / moment,
            failed_per_second: badly as f64 / moment,
            tokens_per_second: tokens as f64 / moment,
            seconds: seconds(LATELY, now, age) as u64,
            requests,
            failed,
            first_token_us: both(&first_token),
            wait_us: both(&wait),
            nodes,
            failures: failures.iter().rev().cloned().collect(),
        }
    }

    /// Returns the steps since the process began, of the last quarter of an hour at most, the oldest first; those in which nothing
    /// happened, too.
    pub(crate) fn past(&self, now: Timestamp) -> Vec<PastStep> {
        let mut window = self.window.lock();
        window.step(now);
        let from = number(Timestamp::from_micros(window.begun));
        let last = number(now);
        let from = from.max(last + 1 - STEPS as i64);
        let mut known = window.steps.iter().peekable();
        (from..last)
            .map(|number| {
                while known.next_if(|step| step.number < number).is_some() {}
                let step = known.next_if(|step| step.number == number);
                PastStep {
                    at: Timestamp::from_micros(number.saturating_mul(STEP.as_micros() as i64)),
                    requests: step.map_or(0, |step| step.requests),
                    failed: step.map_or(0, |step| step.failed),
                    tokens: step.map_or(0, |step| step.tokens),
                }
            })
            .collect()
    }
}

impl Window {
    /// Returns the step of `now`, and forgets those that are too old. A clock that was set back stays in the newest step.
    fn step(&mut self, now: Timestamp) -> &mut Step {
        let number = number(now);
        if self.steps.back().is_none_or(|last| last.number < number) {
            self.steps.push_back(Step {
                number,
                ..Step::default()
            });
        }
        let oldest = number - STEPS as i64;
        while self.steps.len() > 1 && self.steps.front().is_some_and(|step| step.number <= oldest) {
            self.steps.pop_front();
        }
        // Steps come in order, so there are never more than are kept.
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }
}

fn number(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(STEP.as_micros() as i64)
}

/// Returns the last so many steps, the one under way included.
fn recent(steps: &VecDeque<Step>, count: usize, now: Timestamp) -> impl Iterator<Item = &Step> {
    let from = number(now) - count as i64;
    steps
        .iter()
        .rev()
        .take_while(move |step| step.number > from)
}

/// Returns how many seconds the last so many steps have lasted so far, since the process began at most.
fn seconds(count: usize, now: Timestamp, age: Duration) -> f64 {
    let step = STEP.as_secs_f64();
    let under_way = now.as_micros().rem_euclid(STEP.as_micros() as i64) as f64 / 1e6;
    let lasted = (count as f64 - 1.0).mul_add(step, under_way);
    // Shortly after the start a few requests are no rate yet.
    lasted.min(age.as_secs_f64()).max(1.0)
}

/// Tells whether an operator should look at it.
const fn is_bad(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Failed | Outcome::Truncated | Outcome::Rejected
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn rates_go_over_the_last_half_minute_and_shares_over_five() {
        let pulse = Pulse::new(at(1_000_000));
        for second in 0..100 {
            pulse.note_refused(Outcome::Ok, at(1_000_000 + second));
            pulse.note_refused(Outcome::Failed, at(1_000_000 + second));
        }
        let lately = pulse.lately(at(1_000_099));
        assert!((lately.requests_per_second - 2.0).abs() < 0.1, "{lately:?}");
        assert_eq!(
            (lately.requests, lately.failed, lately.seconds),
            (200, 100, 99)
        );
        let quiet = pulse.lately(at(1_000_100 + 60));
        assert!(quiet.requests_per_second.abs() < f64::EPSILON);
        assert_eq!(quiet.requests, 200);
        let later = pulse.lately(at(1_000_100 + 600));
        assert_eq!((later.requests, later.seconds), (0, 295));
        assert_eq!(later.first_token_us, None);
    }

    #[test]
    fn the_past_has_every_step_and_ends_a_quarter_of_an_hour_ago() {
        let pulse = Pulse::new(at(1_000_000));
        pulse.note_refused(Outcome::Ok, at(1_000_002));
        pulse.note_refused(Outcome::Rejected, at(1_000_021));
        let past = pulse.past(at(1_000_026));
        let counts: Vec<_> = past
            .iter()
            .map(|step| (step.requests, step.failed))
            .collect();
        assert_eq!(counts, [(1, 0), (0, 0), (0, 0), (0, 0), (1, 1)]);
        assert_eq!(past[0].at, at(1_000_000));
        let later = pulse.past(at(1_000_000 + 10_000));
        assert_eq!(later.len(), STEPS - 1);
        assert!(later.iter().all(|step| step.requests == 0));
        // A clock that is set back counts into the newest step.
        pulse.note_refused(Outcome::Ok, at(1_000_000));
        assert_eq!(pulse.lately(at(1_010_000)).requests, 1);
    }
}
