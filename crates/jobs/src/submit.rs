//! Accepting a job: looked at, within the bounds, written before it is promised.

use identity::{Caller, PriorityClass};
use primitives::{ErrorKind, JobId};
use serde_json::Value;

use crate::executor::{Refusal, Work};
use crate::model::{Job, JobError, JobKind, JobState, Owner};
use crate::room::Bounds;
use crate::seal::{SealedPlace, seal};
use crate::store;
use crate::surface::Jobs;

impl Jobs {
    /// Accepts a job. When this returns it is in the database and will be carried out.
    pub(crate) async fn submit(
        &self,
        caller: &Caller,
        kind: JobKind,
        class: PriorityClass,
        payload: Value,
    ) -> Result<Job, JobError> {
        let inner = &self.inner;
        let principal = caller.principal();
        let client_address = caller.origin().ip;
        let work = Work {
            kind,
            principal: principal.clone(),
            client_address,
            class,
            payload,
        };
        let subject = match inner.executor.get() {
            Some(executor) => executor.check(&work),
            None => Err(Refusal::new(
                ErrorKind::Unavailable,
                "the server is still starting: try again in a moment",
            )),
        }
        .map_err(|Refusal { kind, message }| JobError::Refused { kind, message })?;
        let mut tx = inner.db.write().await?;
        let now = store::now(&mut tx, &*inner.clock).await?;
        let owner = Owner::of(principal);
        let bounds = Bounds {
            all: inner.config.max_live,
            own: inner.config.max_live_of_organisation,
        };
        let at = inner.clock.monotonic();
        if !inner.room.accept(owner.org, bounds, at) {
            let live = store::count_live(&mut tx, owner.org).await?;
            if let Err(error) = self.room(live) {
                inner.metrics.refused.inc();
                return Err(error);
            }
            inner.room.counted(owner.org, live, at);
        }
        let job = Job {
            id: JobId::generate(now),
            kind,
            owner,
            caller: principal.kind,
            client_address,
            subject,
            class: principal.priority_of(class),
            state: JobState::Queued,
            error: None,
            error_kind: None,
            request_id: None,
            created_at: now,
            run_at: now,
            started_at: None,
            ended_at: None,
            attempt: 0,
            most_attempts: inner.config.most_attempts,
            chunks: 0,
        };
        let sealed = seal(&inner.sealer, SealedPlace::Payload(job.id), &work.payload)?;
        store::insert_job(&mut tx, &job, sealed).await?;
        tx.commit().await?;
        inner.metrics.accepted.inc();
        self.tell_state(&job);
        self.poke();
        Ok(job)
    }

    fn room(&self, (all, own): (u64, u64)) -> Result<(), JobError> {
        let config = &self.inner.config;
        if own >= config.max_live_of_organisation {
            return Err(JobError::TooMany {
                waiting: own,
                of: "of your organisation",
                setting: "[jobs] max_queued_of_organisation",
            });
        }
        if all >= config.max_live {
            return Err(JobError::TooMany {
                waiting: all,
                of: "in all",
                setting: "[jobs] max_queued",
            });
        }
        Ok(())
    }
}
