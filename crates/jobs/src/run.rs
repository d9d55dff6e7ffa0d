//! One attempt at a job, from the claim to its end: the executor works, its output is stored in pieces, the lease is renewed.

use std::sync::Arc;
use std::time::Duration;

use ::store::{Durability, StoreError};
use futures_util::StreamExt as _;
use identity::PriorityClass;
use primitives::{Classify as _, ErrorKind, RequestId};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::kind::jittered;
use crate::executor::{Executor, Outcome, Refusal, Step, Work};
use crate::model::{Job, JobState};
use crate::output::Output;
use crate::seal::{SealedPlace, open, seal};
use crate::store::{self, Chunk, Ended, Lease};
use crate::surface::Jobs;
use crate::work::patiently;

/// The longest wait between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// The longest wait of a job that could not be tried.
const LONGEST_DELAY: Duration = Duration::from_mins(1);
/// How often who watches hears of progress.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// The pause before the end of a run is written again that the database did not take.
const WRITE_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What ends a run from outside.
pub(crate) struct Stops {
    /// Its job was called off.
    pub(crate) cancelled: CancellationToken,
    /// The program ends.
    pub(crate) drained: CancellationToken,
}

/// One attempt at a job.
pub(crate) struct Run {
    jobs: Jobs,
    job: Job,
    payload_sealed: Option<Vec<u8>>,
    lease: Lease,
    stops: Stops,
    jitter: u8,
    output: Output,
    request: Option<RequestId>,
    told_at: Option<Instant>,
}

/// How a run ends.
enum End {
    /// With this.
    With(Outcome),
    /// The program ends: the attempt is given back.
    GivenBack,
    /// The job is somebody else's now, or nobody's: nothing may be written.
    Silent,
}

/// The run does not hold its job any more.
struct Lost;

impl Run {
    pub(crate) fn new(
        jobs: Jobs,
        job: Job,
        payload_sealed: Option<Vec<u8>>,
        lease: Lease,
        stops: Stops,
        jitter: u8,
    ) -> Self {
        Self {
            output: Output::new(job.attempt),
            jobs,
            job,
            payload_sealed,
            lease,
            stops,
            jitter,
            request: None,
            told_at: None,
        }
    }

    /// Carries the job out and writes what it came to.
    pub(crate) async fn carry_out(mut self, executor: Arc<dyn Executor>) {
        let end = match self.prepare().await {
            Ok(work) => self.attend(&*executor, work).await,
            Err(end) => end,
        };
        self.settle(end).await;
    }

    /// Finds out what is to be done, and whether its caller still may.
    async fn prepare(&mut self) -> Result<Work, End> {
        let inner = Arc::clone(&self.jobs.inner);
        let failed = |kind, message: String| End::With(Outcome::Failed(Refusal { kind, message }));
        let principal = match patiently(inner.identity.caller_now(self.job.caller)).await {
            Ok(Some(principal)) if principal.org == self.job.owner.org => principal,
            Ok(_) => {
                let message = "the key or person that asked for it may not call any more";
                return Err(failed(ErrorKind::Forbidden, message.to_owned()));
            }
            Err(error) => return Err(later(&error)),
        };
        let place = SealedPlace::Payload(self.job.id);
        let sealed = self.payload_sealed.take().unwrap_or_default();
        let payload = open(&inner.sealer, place, &sealed).map_err(|_| {
            let message =
                "what was asked for cannot be read any more: it was sealed with a key that is gone";
            failed(ErrorKind::Bug, message.to_owned())
        })?;
        if self.job.chunks > 0 {
            match patiently(self.begin_anew()).await {
                Ok(true) => self.jobs.tell(&self.job, "progress"),
                Ok(false) => return Err(End::Silent),
                Err(error) => return Err(later(&error)),
            }
        }
        let waited = inner.clock.now().since(self.job.created_at);
        Ok(Work {
            kind: self.job.kind,
            principal,
            client_address: self.job.client_address,
            class: ramped(self.job.class, waited, inner.config.give_up_after),
            payload,
        })
    }

    /// Takes back what an earlier attempt has put out, and tells followers so.
    async fn begin_anew(&mut self) -> Result<bool, StoreError> {
        let number = self.job.chunks + 1;
        let chunk = self.sealed_chunk(number, &self.output.restart())?;
        let mut tx = self.jobs.inner.db.write_with(Durability::Relaxed).await?;
        store::restart_output(&mut tx, &self.lease).await?;
        let held = store::put_chunk(&mut tx, &self.lease, chunk, self.request).await?;
        if held {
            tx.commit().await?;
            self.job.chunks = number;
        }
        Ok(held)
    }

    fn sealed_chunk(&self, number: i64, piece: &Value) -> Result<Chunk, StoreError> {
        let place = SealedPlace::Output(self.job.id, number);
        let sealed = seal(&self.jobs.inner.sealer, place, piece)
            .map_err(|error| StoreError::Backend(error.into()))?;
        Ok(Chunk { number, sealed })
    }

    /// Lets the executor work.
    async fn attend(&mut self, executor: &dyn Executor, work: Work) -> End {
        let config = self.jobs.inner.config;
        let mut steps = executor.run(work);
        let (cancelled, drained) = (self.stops.cancelled.clone(), self.stops.drained.clone());
        loop {
            let step = tokio::select! {
                biased;
                () = cancelled.cancelled() => return End::Silent,
                () = drained.cancelled() => return End::GivenBack,
                () = self.output.due() => {
                    if let Err(Lost) = self.store_output().await {
                        return End::Silent;
                    }
                    continue;
                }
                step = steps.next() => step,
            };
            match step {
                Some(Step::Request(id)) => self.request = Some(id),
                Some(Step::Output { channel, text }) => {
                    self.output.push(channel, &text);
                    if self.output.total() > config.output_limit {
                        let message = format!(
                            "the answer is larger than {} bytes, which is the limit ([jobs] output_limit)",
                            config.output_limit
                        );
                        let refusal = Refusal::new(ErrorKind::TooLarge, message);
                        return End::With(Outcome::Failed(refusal));
                    }
                }
                Some(Step::Ended(outcome)) => return End::With(outcome),
                None => {
                    let message = "the work ended without a word: please report this";
                    return End::With(Outcome::Again(Refusal::new(ErrorKind::Bug, message)));
                }
            }
        }
    }

    fn lost(&self) -> Lost {
        tracing::info!(job = %self.job.id, attempt = self.job.attempt, "a job was called off or taken over: its run here stops");
        Lost
    }

    /// Stores what was put out and waits. What the database does not take goes on waiting.
    async fn store_output(&mut self) -> Result<(), Lost> {
        let number = self.job.chunks + 1;
        let stored = patiently(async {
            let chunk = self.sealed_chunk(number, &self.output.piece())?;
            let db = &self.jobs.inner.db;
            let mut tx = db.write_with(Durability::Relaxed).await?;
            let held = store::put_chunk(&mut tx, &self.lease, chunk, self.request).await?;
            tx.commit().await?;
            Ok(held)
        });
        match stored.await {
            Ok(true) => {}
            Ok(false) => return Err(self.lost()),
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a piece of output was not stored"
                );
                self.output.refused();
                return Ok(());
            }
        }
        self.output.stored();
        self.job.chunks = number;
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.told_at = Some(Instant::now());
            self.jobs.tell(&self.job, "progress");
        } else {
            self.jobs.inner.bells.ring(self.job.id);
        }
        Ok(())
    }

    /// Writes what the run came to, until the database takes it or the program ends.
    async fn settle(mut self, end: End) {
        let id = self.job.id;
        if !matches!(end, End::Silent) {
            loop {
                match patiently(self.write_end(&end)).await {
                    Ok(Some(job)) => {
                        self.jobs.tell_state(&job);
                        // Whoever has a place free looks at once.
                        self.jobs.inner.due.notify_one();
                        break;
                    }
                    Ok(None) => {
                        self.lost();
                        break;
                    }
                    Err(error) if self.stops.drained.is_cancelled() => {
                        tracing::warn!(
                            job = %id,
                            error = &error as &dyn std::error::Error,
                            "what a job came to was not written: it is due again when its lease ends"
                        );
                        break;
                    }
                    Err(error) => {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "what a job came to was not written yet"
                        );
                        tokio::time::sleep(WRITE_AGAIN_AFTER).await;
                    }
                }
            }
        }
        self.jobs.let_go(id, &self.lease.run);
    }

    async fn write_end(&mut self, end: &End) -> Result<Option<Job>, StoreError> {
        let inner = Arc::clone(&self.jobs.inner);
        let mut tx = inner.db.write().await?;
        let now = store::now(&mut tx, &*inner.clock).await?;
        if !self.output.is_empty() {
            let number = self.job.chunks + 1;
            let chunk = self.sealed_chunk(number, &self.output.piece())?;
            if !store::put_chunk(&mut tx, &self.lease, chunk, self.request).await? {
                return Ok(None);
            }
        }
        let attempt = self.job.attempt;
        let verdict = match end {
            End::With(outcome) => self.verdict(outcome, now.since(self.job.created_at))?,
            End::GivenBack | End::Silent => Verdict::Back {
                wait: Duration::ZERO,
                attempts: attempt.saturating_sub(1),
                why: nothing(JobState::Queued),
            },
        };
        let job = match &verdict {
            Verdict::End(ended) => {
                store::finish_job(&mut tx, &self.lease, now, ended, self.request).await?
            }
            Verdict::Back {
                wait,
                attempts,
                why,
            } => {
                let run_at = now.after(*wait);
                store::put_back(&mut tx, &self.lease, run_at, *attempts, why, self.request).await?
            }
        };
        tx.commit().await?;
        Ok(job)
    }

    fn verdict(&self, outcome: &Outcome, age: Duration) -> Result<Verdict, StoreError> {
        let attempt = self.job.attempt;
        Ok(match outcome {
            Outcome::Done(result) => {
                let place = SealedPlace::Result(self.job.id);
                let sealed = seal(&self.jobs.inner.sealer, place, result)
                    .map_err(|error| StoreError::Backend(error.into()))?;
                Verdict::End(Ended {
                    result_sealed: Some(sealed),
                    ..nothing(JobState::Completed)
                })
            }
            Outcome::Failed(why) => Verdict::End(because(JobState::Failed, why)),
            Outcome::Again(why) if attempt >= self.job.most_attempts => {
                let message = format!("after {attempt} attempts: {}", why.message);
                Verdict::End(because(JobState::Failed, &Refusal::new(why.kind, message)))
            }
            Outcome::Again(why) => Verdict::Back {
                wait: jittered(pause(attempt), self.jitter),
                attempts: attempt,
                why: because(JobState::Queued, why),
            },
            Outcome::Later { why, after } => Verdict::Back {
                wait: after.unwrap_or_else(|| jittered(delay(age), self.jitter)),
                attempts: attempt.saturating_sub(1),
                why: because(JobState::Queued, why),
            },
        })
    }
}

/// What becomes of a job.
enum Verdict {
    End(Ended),
    Back {
        wait: Duration,
        attempts: u32,
        why: Ended,
    },
}

pub(crate) fn nothing(state: JobState) -> Ended {
    Ended {
        state,
        result_sealed: None,
        error: None,
        error_kind: None,
    }
}

pub(crate) fn because(state: JobState, why: &Refusal) -> Ended {
    Ended {
        error: Some(why.message.chars().take(500).collect()),
        error_kind: Some(why.kind.as_str()),
        ..nothing(state)
    }
}

fn later(error: &StoreError) -> End {
    End::With(Outcome::Later {
        why: Refusal::new(error.kind(), error.public_message()),
        after: None,
    })
}

/// Lets a job that has waited for three quarters of its time go with live requests.
fn ramped(class: PriorityClass, waited: Duration, patience: Duration) -> PriorityClass {
    if class == PriorityClass::Batch && waited >= patience / 4 * 3 {
        PriorityClass::Default
    } else {
        class
    }
}

/// The wait after an attempt that went wrong: twice as long each time.
fn pause(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.min(16)).min(LONGEST_PAUSE)
}

/// The wait of a job that could not be tried: the longer it has waited, the less a little more matters.
fn delay(age: Duration) -> Duration {
    (age / 4).clamp(Duration::from_secs(1), LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_long_goes_with_live_requests() {
        let day = Duration::from_hours(24);
        let class = |hours| ramped(PriorityClass::Batch, Duration::from_hours(hours), day);
        assert_eq!(class(17), PriorityClass::Batch);
        assert_eq!(class(18), PriorityClass::Default);
        let interactive = PriorityClass::Interactive;
        assert_eq!(ramped(interactive, day, day), interactive);
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        assert_eq!(pause(1), Duration::from_secs(2));
        assert_eq!(pause(4), Duration::from_secs(16));
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
        assert_eq!(delay(Duration::ZERO), Duration::from_secs(1));
        assert_eq!(delay(Duration::from_hours(9)), LONGEST_DELAY);
    }
}
