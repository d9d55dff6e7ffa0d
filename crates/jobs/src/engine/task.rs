//! One attempt at a job of a kind that has a handler.

use std::sync::Arc;
use std::time::Duration;

use ::store::{Row, StoreError};
use primitives::{Classify as _, ErrorKind, JobId};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::ends::{What, WorkEnd};
use super::kind::{Handler, KindSpec, Task, jittered};
use crate::executor::{Outcome, Refusal};
use crate::model::{JobState, RunId};
use crate::run::{because, nothing};
use crate::seal::{SealedPlace, open, seal};
use crate::surface::Jobs;

/// The longest wait of a job that could not be tried.
const LATER: Duration = Duration::from_mins(1);

/// A job that was claimed for its handler.
pub(crate) struct Attempt {
    id: JobId,
    run: RunId,
    lane: Arc<str>,
    /// Which one it is, from 1.
    number: u32,
    most_attempts: u32,
    payload_sealed: Option<Vec<u8>>,
    cancelled: CancellationToken,
    jitter: u8,
}

impl Attempt {
    pub(crate) fn read(
        row: &Row,
        run: &RunId,
        lane: &Arc<str>,
        cancelled: CancellationToken,
    ) -> Result<Self, StoreError> {
        let id: JobId = row.get("id")?;
        Ok(Self {
            id,
            run: run.clone(),
            lane: Arc::clone(lane),
            number: row.get("attempt")?,
            most_attempts: row.get("most_attempts")?,
            payload_sealed: row.get("payload_sealed")?,
            cancelled,
            // The last bytes of an id are chance.
            jitter: id.as_uuid().as_bytes()[15],
        })
    }

    /// Carries the job out and hands on what it came to.
    pub(crate) async fn carry_out(
        mut self,
        jobs: &Jobs,
        spec: &KindSpec,
        handler: &dyn Handler,
        drained: &CancellationToken,
    ) {
        let what = match self.open(jobs) {
            Ok(payload) => {
                let running = handler.run(Task {
                    id: self.id,
                    lane: Arc::clone(&self.lane),
                    attempt: self.number,
                    payload,
                    stop: self.cancelled.clone(),
                });
                tokio::select! {
                    biased;
                    // Nobody may write any more; the place is free.
                    () = self.cancelled.cancelled() => return jobs.let_go(self.id, &self.run),
                    outcome = running => self.verdict(jobs, spec, outcome),
                    () = drained.cancelled() => self.given_back(),
                }
            }
            Err(refusal) => What::Ended(because(JobState::Failed, &refusal)),
        };
        let end = WorkEnd {
            id: self.id,
            run: self.run.clone(),
            kind: spec.name,
            keep: spec.keep,
            what,
        };
        if let Some(ends) = jobs.inner.ends.get() {
            // Whoever reads goes last: it cannot be gone.
            drop(ends.send(end).await);
        }
    }

    fn open(&mut self, jobs: &Jobs) -> Result<Value, Refusal> {
        let Some(sealed) = self.payload_sealed.take() else {
            return Ok(Value::Null);
        };
        open(&jobs.inner.sealer, SealedPlace::Payload(self.id), &sealed).map_err(|_| {
            Refusal::new(
                ErrorKind::Bug,
                "what it holds cannot be read any more: it was sealed with a key that is gone",
            )
        })
    }

    fn given_back(&self) -> What {
        What::Back {
            wait: Duration::ZERO,
            attempts: self.number.saturating_sub(1),
            why: nothing(JobState::Queued),
        }
    }

    fn verdict(&self, jobs: &Jobs, spec: &KindSpec, outcome: Outcome) -> What {
        match outcome {
            Outcome::Done(Value::Null) => What::Ended(nothing(JobState::Completed)),
            Outcome::Done(result) => {
                let place = SealedPlace::Result(self.id);
                match seal(&jobs.inner.sealer, place, &result) {
                    Ok(sealed) => What::Ended(crate::store::Ended {
                        result_sealed: Some(sealed),
                        ..nothing(JobState::Completed)
                    }),
                    Err(error) => {
                        let refusal = Refusal::new(error.kind(), error.public_message());
                        What::Ended(because(JobState::Failed, &refusal))
                    }
                }
            }
            Outcome::Failed(why) => What::Ended(because(JobState::Failed, &why)),
            Outcome::Again(why) if self.number >= self.most_attempts => {
                let message = format!("after {} attempts: {}", self.number, why.message);
                What::Ended(because(JobState::Failed, &Refusal::new(why.kind, message)))
            }
            Outcome::Again(why) => What::Back {
                wait: jittered(spec.backoff.after(self.number), self.jitter),
                attempts: self.number,
                why: because(JobState::Queued, &why),
            },
            Outcome::Later { why, after } => What::Back {
                wait: after.unwrap_or_else(|| jittered(LATER / 2, self.jitter)),
                attempts: self.number.saturating_sub(1),
                why: because(JobState::Queued, &why),
            },
        }
    }
}
