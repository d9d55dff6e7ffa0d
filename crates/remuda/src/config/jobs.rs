//! `[jobs]`: work that is accepted to be done later.

use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::{ByteSize, Period};

/// Durable work.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsSection {
    /// The most jobs that this process carries out at once; 32 unless set. 0: it accepts them and leaves them to other processes.
    pub concurrency: usize,
    /// The most jobs that have not ended, in all; 10,000 unless set. Beyond it further ones are refused.
    pub max_queued: u64,
    /// The most of one organisation; 2,000 unless set.
    pub max_queued_of_organisation: u64,
    /// How long a process holds a job without a sign of life; 30 s unless set.
    pub lease: Period,
    /// Attempts after which a job has failed; 8 unless set.
    pub max_attempts: u32,
    /// How long a job waits at most; 1 day unless set.
    pub give_up_after: Period,
    /// How long a job that has ended is kept, with its answer; 1 day unless set.
    pub retention: Period,
    /// The most jobs that have ended and are kept; 100,000 unless set.
    pub max_kept: u64,
    /// The most bytes of an answer; 4 MiB unless set.
    pub output_limit: ByteSize,
    /// The most bytes of a file that is uploaded; 200 MiB unless set.
    pub file_limit: ByteSize,
    /// How long files, and batches that have ended, are kept; 30 days unless set.
    pub file_retention: Period,
    /// The most lines of a batch; 50,000 unless set.
    pub batch_lines: u64,
    /// Lines of one batch that are answered at once; 16 unless set.
    pub batch_places: usize,
}

impl Default for JobsSection {
    fn default() -> Self {
        Self {
            concurrency: 32,
            max_queued: 10_000,
            max_queued_of_organisation: 2_000,
            lease: Period::seconds(30),
            max_attempts: 8,
            give_up_after: Period::days(1),
            retention: Period::days(1),
            max_kept: 100_000,
            output_limit: ByteSize::mebibytes(4),
            file_limit: ByteSize::mebibytes(200),
            file_retention: Period::days(30),
            batch_lines: 50_000,
            batch_places: 16,
        }
    }
}

impl JobsSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        if self.concurrency > 1_000 {
            return Err(at.bad(["jobs", "concurrency"], "must be 0 to 1000"));
        }
        for (key, count) in [
            ("max_queued", self.max_queued),
            (
                "max_queued_of_organisation",
                self.max_queued_of_organisation,
            ),
            ("max_kept", self.max_kept),
        ] {
            if !(1..=1_000_000).contains(&count) {
                return Err(at.bad(["jobs", key], "must be 1 to 1000000 jobs"));
            }
        }
        if !(1..=100).contains(&self.max_attempts) {
            return Err(at.bad(["jobs", "max_attempts"], "must be 1 to 100"));
        }
        if !(3..=3_600).contains(&self.lease.0.as_secs()) {
            return Err(at.bad(["jobs", "lease"], "must be 3s to 1h"));
        }
        for (key, period) in [
            ("give_up_after", self.give_up_after),
            ("retention", self.retention),
            ("file_retention", self.file_retention),
        ] {
            if period < Period::seconds(60) {
                return Err(at.bad(["jobs", key], "must be at least one minute"));
            }
        }
        if !(1 << 10..=64 << 20).contains(&self.output_limit.0) {
            return Err(at.bad(["jobs", "output_limit"], "must be 1KiB to 64MiB"));
        }
        if !(1 << 10..=4 << 30).contains(&self.file_limit.0) {
            return Err(at.bad(["jobs", "file_limit"], "must be 1KiB to 4GiB"));
        }
        if !(1..=1_000_000).contains(&self.batch_lines) {
            return Err(at.bad(["jobs", "batch_lines"], "must be 1 to 1000000 lines"));
        }
        if !(1..=256).contains(&self.batch_places) {
            return Err(at.bad(["jobs", "batch_places"], "must be 1 to 256"));
        }
        Ok(())
    }
}
