//! What the engine is told of batches.

use std::sync::Arc;

use super::answer::BatchExecutor;
use super::run::BatchWork;
use super::sweep::Sweep;
use super::{KIND, SWEEP};
use crate::engine::{Cron, CronError, KindSpec, ScheduleSpec};
use crate::surface::Jobs;

/// Batches that a process carries out at once.
const AT_ONCE: usize = 8;
/// Those of one organisation, over all processes.
const OF_ORGANISATION: u32 = 4;

impl Jobs {
    /// Has batches accepted and carried out. Before [`work`](Self::work).
    ///
    /// # Errors
    /// Never, as long as the schedule of this file can be read.
    pub fn carry_out_batches(&self, executor: Arc<dyn BatchExecutor>) -> Result<(), CronError> {
        let cron = Cron::parse("* * * * *", "UTC")?;
        if self.inner.batches.set(Arc::clone(&executor)).is_err() {
            return Ok(());
        }
        let places = if self.inner.config.concurrency == 0 {
            0
        } else {
            AT_ONCE
        };
        let jobs = self.clone();
        let batch = KindSpec {
            places,
            most_of_lane: Some(OF_ORGANISATION),
            most_attempts: 20,
            ..KindSpec::new(KIND)
        };
        self.register(batch, Arc::new(BatchWork { jobs, executor }));
        let sweep = KindSpec {
            places: places.min(1),
            ..KindSpec::new(SWEEP)
        };
        self.register(sweep, Arc::new(Sweep { jobs: self.clone() }));
        self.schedule(ScheduleSpec {
            name: "batches",
            kind: SWEEP,
            cron,
        });
        Ok(())
    }
}
