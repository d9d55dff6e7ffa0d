//! The circuit breaker of one (node, model): one broken model must not take a whole machine out of service.

use std::time::Duration;

use primitives::MonotonicTime;

use crate::window::Window;

/// What the breaker says about sending a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerVerdict {
    /// Nothing against it.
    #[default]
    Allow,
    /// The time out is over: exactly one call may try whether the failure is too.
    Probe,
    /// Too many calls failed.
    Refuse {
        /// How long until one call may try again.
        retry_in: Duration,
        /// Calls that failed in the window that opened the breaker.
        failed: u32,
        /// Calls in that window.
        calls: u32,
    },
}

/// How a call ended, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// The node did its work.
    Success,
    /// The node failed: an error of its own, a reset, a stall, a malformed answer.
    Failure,
    /// No connection could be made.
    ConnectFailure,
    /// The client asked for something wrong, or went away: says nothing about the node.
    NotTheNode,
}

const BUCKET: Duration = Duration::from_secs(5);
/// Six buckets of five seconds: the last 30 seconds count.
const BUCKETS: usize = 6;
const MIN_FAILURES: u32 = 5;
const MAX_CONNECT_FAILURES: u32 = 3;
const BASE_OPEN: Duration = Duration::from_secs(15);
const MAX_OPEN: Duration = Duration::from_mins(2);
/// A trial call that nobody reports back is taken for lost after this time.
const LOST_PROBE: Duration = Duration::from_mins(1);
/// A breaker that stayed closed this long starts again with the short time out.
const FORGIVEN_AFTER: Duration = Duration::from_mins(5);

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        since: MonotonicTime,
    },
    Open {
        until: MonotonicTime,
        failed: u32,
        calls: u32,
        cause: Cause,
    },
    HalfOpen {
        probe_since: Option<MonotonicTime>,
        failed: u32,
        calls: u32,
        cause: Cause,
    },
}

/// What opened a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Nothing but connections that could not be made.
    Connections,
    /// Answers, too.
    Answers,
}

/// Opens when at least 5 calls and at least half of the calls of the last 30 seconds failed, or after 3 failed connections
/// in a row. Stays open 15 seconds, twice as long each time it opens again, at most 120 seconds, plus up to a tenth of
/// jitter. Then one call at a time may try.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    calls_and_failures: Window<BUCKETS>,
    connect_failures: u32,
    /// How many times it opened without staying closed in between.
    streak: u32,
    jitter: u64,
}

impl Breaker {
    /// Makes a closed breaker. `seed` decides its jitter: give each breaker another one.
    pub const fn new(seed: u64) -> Self {
        Self {
            state: State::Closed {
                since: MonotonicTime::from_micros(0),
            },
            calls_and_failures: Window::new(BUCKET),
            connect_failures: 0,
            streak: 0,
            jitter: seed,
        }
    }

    /// Tells what [`permit`](Self::permit) would say, without taking the single trial.
    pub fn verdict(&self, now: MonotonicTime) -> BreakerVerdict {
        match self.state {
            State::Closed { .. } => BreakerVerdict::Allow,
            State::Open {
                until,
                failed,
                calls,
                ..
            } => {
                if now >= until {
                    BreakerVerdict::Probe
                } else {
                    BreakerVerdict::Refuse {
                        retry_in: until.since(now),
                        failed,
                        calls,
                    }
                }
            }
            State::HalfOpen {
                probe_since,
                failed,
                calls,
                ..
            } => match probe_since {
                Some(since) if now.since(since) < LOST_PROBE => BreakerVerdict::Refuse {
                    retry_in: LOST_PROBE.saturating_sub(now.since(since)),
                    failed,
                    calls,
                },
                _ => BreakerVerdict::Probe,
            },
        }
    }

    /// Asks to send a call now. A `Probe` answer takes the single trial: its outcome must be recorded.
    pub fn permit(&mut self, now: MonotonicTime) -> BreakerVerdict {
        let verdict = self.verdict(now);
        if verdict == BreakerVerdict::Probe {
            let (failed, calls, cause) = match self.state {
                State::Open {
                    failed,
                    calls,
                    cause,
                    ..
                }
                | State::HalfOpen {
                    failed,
                    calls,
                    cause,
                    ..
                } => (failed, calls, cause),
                State::Closed { .. } => (0, 0, Cause::Answers),
            };
            self.state = State::HalfOpen {
                probe_since: Some(now),
                failed,
                calls,
                cause,
            };
        }
        verdict
    }

    /// Takes note of how a call ended.
    pub fn record(&mut self, outcome: CallOutcome, now: MonotonicTime) {
        match outcome {
            CallOutcome::Success => self.succeed(now),
            CallOutcome::Failure => {
                self.connect_failures = 0;
                self.fail(Cause::Answers, now);
            }
            CallOutcome::ConnectFailure => {
                self.connect_failures = self.connect_failures.saturating_add(1);
                self.fail(Cause::Connections, now);
            }
            CallOutcome::NotTheNode => {
                if let State::HalfOpen { probe_since, .. } = &mut self.state {
                    *probe_since = None;
                }
            }
        }
    }

    /// Takes note that the node was reached after it could not be: a breaker that failed connections alone opened has no reason to
    /// be open any more. The next time out is longer all the same when it opens again soon. Returns whether that closed it.
    pub const fn node_reached(&mut self) -> bool {
        if let State::Open {
            until,
            cause: Cause::Connections,
            ..
        } = self.state
        {
            self.state = State::Closed { since: until };
            return true;
        }
        false
    }

    /// Tells whether calls are being kept away.
    pub fn is_open(&self, now: MonotonicTime) -> bool {
        matches!(self.verdict(now), BreakerVerdict::Refuse { .. })
    }

    fn succeed(&mut self, now: MonotonicTime) {
        self.connect_failures = 0;
        match self.state {
            State::Closed { since } => {
                self.calls_and_failures.add(now, 1, 0);
                if now.since(since) >= FORGIVEN_AFTER {
                    self.streak = 0;
                }
            }
            State::HalfOpen { .. } => {
                self.calls_and_failures.clear();
                self.state = State::Closed { since: now };
            }
            // A call from before the breaker opened: the one trial decides, not it.
            State::Open { .. } => {}
        }
    }

    fn fail(&mut self, why: Cause, now: MonotonicTime) {
        match self.state {
            State::Closed { since } => {
                if now.since(since) >= FORGIVEN_AFTER {
                    self.streak = 0;
                }
                self.calls_and_failures.add(now, 1, 1);
                let (calls, failed) = self.calls_and_failures.sums(now);
                let mostly_failing = failed >= MIN_FAILURES && failed.saturating_mul(2) >= calls;
                if mostly_failing || self.connect_failures >= MAX_CONNECT_FAILURES {
                    let cause = if self.connect_failures >= failed {
                        Cause::Connections
                    } else {
                        Cause::Answers
                    };
                    self.open(now, failed, calls, cause);
                }
            }
            State::HalfOpen {
                failed,
                calls,
                cause,
                ..
            } => {
                let cause = if cause == why { cause } else { Cause::Answers };
                self.open(
                    now,
                    failed.saturating_add(1),
                    calls.saturating_add(1),
                    cause,
                );
            }
            State::Open { .. } => {}
        }
    }

    fn open(&mut self, now: MonotonicTime, failed: u32, calls: u32, cause: Cause) {
        let time_out = BASE_OPEN
            .saturating_mul(1_u32.checked_shl(self.streak).unwrap_or(u32::MAX))
            .min(MAX_OPEN);
        self.jitter = self
            .jitter
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let jitter = time_out.mul_f64((self.jitter >> 40) as f64 / f64::from(1_u32 << 24) / 10.0);
        self.streak = self.streak.saturating_add(1);
        self.calls_and_failures.clear();
        self.connect_failures = 0;
        self.state = State::Open {
            until: now.after(time_out + jitter),
            failed,
            calls,
            cause,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_micros(seconds * 1_000_000)
    }

    fn fail_times(breaker: &mut Breaker, times: usize, now: MonotonicTime) {
        for _ in 0..times {
            breaker.record(CallOutcome::Failure, now);
        }
    }

    fn open_seconds(breaker: &Breaker, now: MonotonicTime) -> u64 {
        match breaker.verdict(now) {
            BreakerVerdict::Refuse { retry_in, .. } => retry_in.as_secs(),
            other => panic!("expected an open breaker, got {other:?}"),
        }
    }

    #[test]
    fn it_opens_at_five_failures_when_they_are_half_of_the_calls() {
        let mut breaker = Breaker::new(1);
        fail_times(&mut breaker, 4, at(1));
        assert_eq!(breaker.permit(at(1)), BreakerVerdict::Allow);
        breaker.record(CallOutcome::Success, at(2));
        fail_times(&mut breaker, 1, at(2));
        let BreakerVerdict::Refuse { failed, calls, .. } = breaker.permit(at(2)) else {
            panic!("it stays closed");
        };
        assert_eq!((failed, calls), (5, 6));
    }

    #[test]
    fn a_minority_of_failures_and_old_failures_do_not_open_it() {
        let mut breaker = Breaker::new(1);
        for _ in 0..10 {
            breaker.record(CallOutcome::Success, at(1));
        }
        fail_times(&mut breaker, 9, at(1));
        assert_eq!(breaker.permit(at(1)), BreakerVerdict::Allow);
        let mut breaker = Breaker::new(1);
        fail_times(&mut breaker, 4, at(1));
        fail_times(&mut breaker, 4, at(60));
        assert_eq!(breaker.permit(at(60)), BreakerVerdict::Allow);
    }

    #[test]
    fn three_failed_connections_in_a_row_open_it() {
        let mut breaker = Breaker::new(1);
        breaker.record(CallOutcome::ConnectFailure, at(1));
        breaker.record(CallOutcome::ConnectFailure, at(1));
        breaker.record(CallOutcome::Success, at(1));
        breaker.record(CallOutcome::ConnectFailure, at(2));
        breaker.record(CallOutcome::ConnectFailure, at(2));
        assert!(!breaker.is_open(at(2)));
        breaker.record(CallOutcome::ConnectFailure, at(2));
        assert!(breaker.is_open(at(2)));
    }

    #[test]
    fn faults_of_clients_are_ignored() {
        let mut breaker = Breaker::new(1);
        for _ in 0..1_000 {
            breaker.record(CallOutcome::NotTheNode, at(1));
        }
        assert_eq!(breaker.permit(at(1)), BreakerVerdict::Allow);
    }

    #[test]
    fn a_node_that_is_reached_again_closes_what_failed_connections_opened() {
        let mut breaker = Breaker::new(1);
        for _ in 0..3 {
            breaker.record(CallOutcome::ConnectFailure, at(1));
        }
        assert!(breaker.is_open(at(2)));
        breaker.node_reached();
        assert_eq!(breaker.permit(at(2)), BreakerVerdict::Allow);
        for _ in 0..3 {
            breaker.record(CallOutcome::ConnectFailure, at(3));
        }
        let open = open_seconds(&breaker, at(3));
        assert!((30..=33).contains(&open), "{open}: it is not forgiven");
    }

    #[test]
    fn bad_answers_keep_a_breaker_open_however_often_the_node_is_reached() {
        let mut breaker = Breaker::new(1);
        breaker.record(CallOutcome::Failure, at(0));
        for _ in 0..4 {
            breaker.record(CallOutcome::ConnectFailure, at(1));
        }
        breaker.node_reached();
        assert!(breaker.is_open(at(2)));
        assert_eq!(breaker.permit(at(20)), BreakerVerdict::Probe);
        breaker.record(CallOutcome::ConnectFailure, at(20));
        breaker.node_reached();
        assert!(breaker.is_open(at(21)), "they were among the causes");
    }

    #[test]
    fn half_open_lets_one_call_through() {
        let mut breaker = Breaker::new(1);
        fail_times(&mut breaker, 5, at(0));
        assert!((15..=16).contains(&open_seconds(&breaker, at(0))));
        assert_eq!(breaker.permit(at(20)), BreakerVerdict::Probe);
        assert!(matches!(
            breaker.permit(at(20)),
            BreakerVerdict::Refuse { .. }
        ));
        breaker.record(CallOutcome::Success, at(21));
        assert_eq!(breaker.permit(at(21)), BreakerVerdict::Allow);
    }

    #[test]
    fn a_trial_that_says_nothing_or_is_lost_frees_the_place() {
        let mut breaker = Breaker::new(1);
        fail_times(&mut breaker, 5, at(0));
        assert_eq!(breaker.permit(at(20)), BreakerVerdict::Probe);
        breaker.record(CallOutcome::NotTheNode, at(21));
        assert_eq!(breaker.permit(at(21)), BreakerVerdict::Probe);
        assert!(matches!(
            breaker.permit(at(22)),
            BreakerVerdict::Refuse { .. }
        ));
        assert_eq!(breaker.permit(at(90)), BreakerVerdict::Probe);
    }

    #[test]
    fn each_failed_trial_doubles_the_time_out_up_to_two_minutes() {
        let mut breaker = Breaker::new(7);
        fail_times(&mut breaker, 5, at(0));
        let mut now = at(0);
        let mut seconds = Vec::new();
        for _ in 0..6 {
            let open = open_seconds(&breaker, now);
            seconds.push(open);
            now = now.after(Duration::from_secs(open + 2));
            assert_eq!(breaker.permit(now), BreakerVerdict::Probe);
            breaker.record(CallOutcome::Failure, now);
        }
        for (open, base) in seconds.iter().zip([15, 30, 60, 120, 120, 120]) {
            assert!((base..=base + base / 10).contains(open), "{seconds:?}");
        }
    }

    #[test]
    fn staying_closed_for_a_while_is_rewarded() {
        let mut breaker = Breaker::new(1);
        fail_times(&mut breaker, 5, at(0));
        breaker.permit(at(20));
        breaker.record(CallOutcome::Failure, at(20));
        breaker.permit(at(60));
        breaker.record(CallOutcome::Success, at(60));
        breaker.record(CallOutcome::Success, at(400));
        fail_times(&mut breaker, 5, at(401));
        assert!((15..=16).contains(&open_seconds(&breaker, at(401))));
    }
}
