//! Looking after batches and files: what is over is deleted, and a batch whose job was lost gets another.

use std::time::Duration;

use futures_util::future::BoxFuture;
use primitives::Classify as _;
use serde_json::Value;

use super::accept::work_of;
use super::model::BatchError;
use crate::engine::{Handler, Task};
use crate::executor::{Outcome, Refusal};
use crate::store;
use crate::surface::Jobs;

/// Rows that are deleted together.
const STEP: u32 = 50;
/// The most batches that are looked at.
const LOOKED: u64 = 1_000;
/// How long a file may take to be uploaded or written.
const UPLOAD: Duration = Duration::from_hours(6);

/// Looks after batches and files.
pub(crate) struct Sweep {
    pub(crate) jobs: Jobs,
}

impl Handler for Sweep {
    fn run(&self, _task: Task) -> BoxFuture<'static, Outcome> {
        let jobs = self.jobs.clone();
        Box::pin(async move {
            match jobs.sweep_batches().await {
                Ok(()) => Outcome::Done(Value::Null),
                Err(error) => Outcome::Again(Refusal::new(error.kind(), error.public_message())),
            }
        })
    }
}

impl Jobs {
    async fn sweep_batches(&self) -> Result<(), BatchError> {
        let inner = &self.inner;
        let mut tx = inner.db.write().await?;
        for batch in store::live_batches(&mut tx, LOOKED).await? {
            // One that has its job keeps it.
            self.enqueue(&mut tx, work_of(&batch)).await?;
        }
        tx.commit().await?;
        self.poke();
        loop {
            let mut tx = inner.db.write().await?;
            let now = store::now(&mut tx, &*inner.clock).await?;
            let begun_before = now.before(UPLOAD);
            let files = store::delete_expired_files(&mut tx, now, begun_before, STEP).await?;
            let over = now.before(inner.config.file_retention);
            let batches = store::delete_ended_batches(&mut tx, over, STEP).await?;
            tx.commit().await?;
            if files.max(batches) < u64::from(STEP) {
                return Ok(());
            }
        }
    }
}
