//! Calling a job off, and deleting one that has ended.

use primitives::JobId;

use crate::model::{Job, JobError, Owner};
use crate::store;
use crate::surface::Jobs;

impl Jobs {
    /// Calls a job off, at once: whoever carries it out may not write any more, and stops.
    pub async fn cancel(&self, owner: Owner, id: JobId) -> Result<Job, JobError> {
        let mut tx = self.inner.db.write().await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        let cancelled = store::cancel_job(&mut tx, owner, id, now).await?;
        let found = match cancelled {
            Some(job) => Ok(job),
            None => match store::find_job(&mut tx, owner, id).await? {
                Some(_) => Err(JobError::HasEnded(id)),
                None => Err(JobError::Unknown(id.to_string())),
            },
        };
        tx.commit().await?;
        let job = found?;
        if let Some(run) = self.inner.running.lock().get(&id) {
            run.cancelled.cancel();
        }
        self.tell_state(&job);
        Ok(job)
    }

    /// Deletes a job that has ended, with all that it holds.
    pub(crate) async fn delete(&self, owner: Owner, id: JobId) -> Result<(), JobError> {
        let mut tx = self.inner.db.write().await?;
        let deleted = store::delete_job(&mut tx, owner, id).await?;
        let outcome = if deleted {
            Ok(())
        } else if store::find_job(&mut tx, owner, id).await?.is_some() {
            Err(JobError::NotEnded(id))
        } else {
            Err(JobError::Unknown(id.to_string()))
        };
        tx.commit().await?;
        self.inner.bells.ring(id);
        outcome
    }
}
