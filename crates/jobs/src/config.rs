//! Bounds and patience of durable work.

use std::time::Duration;

/// Bounds and patience.
#[derive(Clone, Copy, Debug)]
pub struct JobsConfig {
    /// The most jobs that this process runs at once; half of them, rounded up, for one organisation. 0: it accepts jobs and runs none.
    pub concurrency: usize,
    /// The most jobs that have not ended, in all.
    pub max_live: u64,
    /// The most of one organisation.
    pub max_live_of_organisation: u64,
    /// How long a run holds a job without a sign of life; renewed at a third of it. At least three seconds.
    pub lease: Duration,
    /// Attempts after which a job has failed; waiting for a node or for a limit is none.
    pub most_attempts: u32,
    /// How long after it was accepted a job that waits has failed.
    pub give_up_after: Duration,
    /// How long a job that has ended is kept.
    pub retention: Duration,
    /// The most jobs that have ended and are kept; beyond it the oldest go.
    pub max_kept: u64,
    /// The most bytes that a job may put out.
    pub output_limit: usize,
    /// The most bytes of a file that is uploaded.
    pub file_limit: u64,
    /// How long files, and batches that have ended, are kept.
    pub file_retention: Duration,
    /// The most lines of a batch.
    pub batch_lines: u64,
    /// Lines of one batch that are answered at once.
    pub batch_places: usize,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            concurrency: 32,
            max_live: 10_000,
            max_live_of_organisation: 2_000,
            lease: Duration::from_secs(30),
            most_attempts: 8,
            give_up_after: Duration::from_hours(24),
            retention: Duration::from_hours(24),
            max_kept: 100_000,
            output_limit: 4 << 20,
            file_limit: 200 << 20,
            file_retention: Duration::from_hours(30 * 24),
            batch_lines: 50_000,
            batch_places: 16,
        }
    }
}

impl JobsConfig {
    /// Returns how many jobs of one organisation this process runs at once.
    pub(crate) fn most_of_one(&self) -> usize {
        self.concurrency.div_ceil(2)
    }
}
