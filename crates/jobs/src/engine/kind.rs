//! Kinds of work: what the program registers, with the limits that hold for it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use primitives::JobId;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::executor::{Executor, Outcome};

/// Carries out the jobs of one kind.
pub trait Handler: Send + Sync {
    /// Carries a job out. Dropped when the job is called off or the program ends.
    fn run(&self, task: Task) -> BoxFuture<'static, Outcome>;
}

/// A job as its handler gets it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id, the same in every attempt.
    pub id: JobId,
    /// The key within which it is held apart from others of its kind.
    pub lane: Arc<str>,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// What was enqueued.
    pub payload: Value,
    /// Cancelled when the job is called off or taken over, and when the program ends.
    pub stop: CancellationToken,
}

/// So many within so long, over all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many may begin, at least one.
    pub most: u32,
    /// Within this time, counted from the first of them.
    pub per: Duration,
}

/// Waits between attempts: twice as long each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first attempt.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Backoff {
    /// Returns the wait after an attempt, numbered from 1.
    pub fn after(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

/// Makes a wait up to a quarter longer, by the last byte of an id, so that what failed together is not tried together.
pub(crate) fn jittered(wait: Duration, by: u8) -> Duration {
    wait + wait * u32::from(by) / 1024
}

/// What is kept of a job that is done. One that has failed is kept either way: it is the dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// The job and its result, for the retention.
    Result,
}

/// How a kind of work is carried out.
#[derive(Clone, Copy, Debug)]
pub struct KindSpec {
    /// Its name.
    pub name: &'static str,
    /// The most that this process carries out at once.
    pub places: usize,
    /// So many are claimed together, once so many places are free.
    pub claimed_together: usize,
    /// The most that all processes carry out at once.
    pub most_everywhere: Option<u32>,
    /// The most of one lane that all processes carry out at once.
    pub most_of_lane: Option<u32>,
    /// How many may begin.
    pub rate: Option<Rate>,
    /// How many of one lane may begin.
    pub lane_rate: Option<Rate>,
    /// Attempts after which a job has failed.
    pub most_attempts: u32,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// What is kept of those that are done.
    pub keep: Keep,
}

impl KindSpec {
    /// Makes the description of a kind without limits over all processes: one place here, eight attempts, nothing kept.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            places: 1,
            claimed_together: 1,
            most_everywhere: None,
            most_of_lane: None,
            rate: None,
            lane_rate: None,
            most_attempts: 8,
            backoff: Backoff {
                first: Duration::from_secs(2),
                longest: Duration::from_mins(5),
            },
            keep: Keep::Nothing,
        }
    }

    /// Tells whether claims of this kind have to take turns with those of other processes.
    pub(crate) const fn is_counted(&self) -> bool {
        self.most_everywhere.is_some()
            || self.most_of_lane.is_some()
            || self.rate.is_some()
            || self.lane_rate.is_some()
    }
}

/// Who carries a kind out.
#[derive(Clone)]
pub(crate) enum Doer {
    /// An answer that is followed as it comes.
    Inference(Arc<dyn Executor>),
    /// Anything else.
    Handler(Arc<dyn Handler>),
}

/// A kind with who carries it out.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) spec: KindSpec,
    pub(crate) doer: Doer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = KindSpec::new("k").backoff;
        assert_eq!(backoff.after(1), Duration::from_secs(2));
        assert_eq!(backoff.after(4), Duration::from_secs(16));
        assert_eq!(backoff.after(u32::MAX), Duration::from_mins(5));
    }

    #[test]
    fn waits_differ_by_up_to_a_quarter() {
        let wait = Duration::from_secs(4);
        assert_eq!(jittered(wait, 0), wait);
        let mut all: Vec<Duration> = (0..=u8::MAX).map(|by| jittered(wait, by)).collect();
        assert!(all.iter().all(|one| (wait..wait * 5 / 4).contains(one)));
        all.dedup();
        assert_eq!(all.len(), 256);
    }
}
