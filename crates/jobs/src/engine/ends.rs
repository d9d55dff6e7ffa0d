//! Ending: what runs came to is gathered for a moment and written in one transaction.

use std::time::Duration;

use ::store::{Durability, StoreError};
use primitives::{JobId, Timestamp};
use tokio::sync::mpsc;

use super::kind::Keep;
use crate::model::{JobState, RunId};
use crate::store::{self, Ended, Lease};
use crate::surface::Jobs;
use crate::work::patiently;

/// Ends that wait to be written; beyond it runs wait with theirs.
pub(crate) const WAITING: usize = 4_096;
/// Ends that one transaction writes.
const TOGETHER: usize = 512;
/// The pause before ends are written again that the database did not take.
const WRITE_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What becomes of a job whose run is over.
#[derive(Debug)]
pub(crate) struct WorkEnd {
    pub(crate) id: JobId,
    pub(crate) run: RunId,
    pub(crate) kind: &'static str,
    pub(crate) keep: Keep,
    pub(crate) what: What,
}

/// How it goes on.
#[derive(Debug)]
pub(crate) enum What {
    /// It has ended.
    Ended(Ended),
    /// It is tried again.
    Back {
        wait: Duration,
        attempts: u32,
        why: Ended,
    },
}

impl WorkEnd {
    /// Tells whether the job goes without a trace.
    fn leaves_nothing(&self) -> bool {
        self.keep == Keep::Nothing
            && matches!(&self.what, What::Ended(ended) if ended.state == JobState::Completed)
    }
}

impl Jobs {
    /// Writes ends until nobody sends any more.
    pub(crate) async fn write_ends(self, mut ends: mpsc::Receiver<WorkEnd>) {
        let mut gathered = Vec::with_capacity(TOGETHER);
        while ends.recv_many(&mut gathered, TOGETHER).await > 0 {
            while let Err(error) = patiently(self.write_some(&gathered)).await {
                if self.inner.closing.is_cancelled() {
                    tracing::warn!(
                        jobs = gathered.len(),
                        error = &error as &dyn std::error::Error,
                        "what some jobs came to was not written: they are due again when their leases end"
                    );
                    break;
                }
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "what some jobs came to was not written yet"
                );
                tokio::time::sleep(WRITE_AGAIN_AFTER).await;
            }
            for end in gathered.drain(..) {
                self.let_go(end.id, &end.run);
                self.book(&end);
            }
        }
    }

    fn book(&self, end: &WorkEnd) {
        let inner = &self.inner;
        match &end.what {
            What::Ended(ended) => {
                inner.metrics.work_ended(end.kind, ended.state);
                inner.counts.note(end.kind, |came| match ended.state {
                    JobState::Completed => came.completed += 1,
                    _ => came.failed += 1,
                });
            }
            What::Back { .. } => inner.counts.note(end.kind, |came| came.retried += 1),
        }
    }

    async fn write_some(&self, ends: &[WorkEnd]) -> Result<(), StoreError> {
        let inner = &self.inner;
        let done: Vec<_> = ends
            .iter()
            .filter(|end| end.leaves_nothing())
            .map(|end| (end.id, end.run.clone()))
            .collect();
        let kept = done.len() < ends.len();
        // What leaves nothing behind is done again at worst after a loss of power, as after any loss of a process.
        let durability = if kept {
            Durability::Full
        } else {
            Durability::Relaxed
        };
        let mut tx = inner.db.write_with(durability).await?;
        if !done.is_empty() {
            store::delete_done(&mut tx, &done).await?;
        }
        if kept {
            let now = store::now(&mut tx, &*inner.clock).await?;
            for end in ends.iter().filter(|end| !end.leaves_nothing()) {
                write_one(&mut tx, end, now).await?;
            }
        }
        tx.commit().await
    }
}

async fn write_one(tx: &mut ::store::Tx, end: &WorkEnd, now: Timestamp) -> Result<(), StoreError> {
    let lease = Lease {
        job: end.id,
        run: end.run.clone(),
    };
    match &end.what {
        What::Ended(ended) => store::end_work(tx, &lease, now, ended).await,
        What::Back {
            wait,
            attempts,
            why,
        } => store::work_back(tx, &lease, now.after(*wait), *attempts, why).await,
    }
}
