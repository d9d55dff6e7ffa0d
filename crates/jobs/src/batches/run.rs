//! Carrying a batch out: its states one after the other, each of which can be begun anew. Lines are answered in pages of each model, so
//! that a slow model does not hold up another, and answers are written as they come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt as _, StreamExt as _};
use identity::{Principal, PriorityClass};
use primitives::{Classify as _, ErrorKind};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::answer::{BatchAnswer, BatchExecutor, BatchRequest};
use super::line::{Came, Kept, LineState, NoAnswer, Response};
use super::model::{Batch, BatchError, BatchStatus};
use super::validate::Reading;
use crate::engine::{Handler, Task};
use crate::executor::{Outcome, Refusal};
use crate::seal::{open_named, seal_named};
use crate::store::{self, AnsweredLine, WaitingLine};
use crate::surface::Jobs;

/// How often it is looked whether the batch was called off, or its time is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Attempts at a line whose answer went wrong.
const ATTEMPTS: u32 = 5;
/// The longest pause before a line is tried again.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How much of its time is left when the lines of a batch go with live requests: one part of so many.
const RAMP: u32 = 8;

/// Carries batches out.
pub(crate) struct BatchWork {
    pub(crate) jobs: Jobs,
    pub(crate) executor: Arc<dyn BatchExecutor>,
}

impl Handler for BatchWork {
    fn run(&self, task: Task) -> BoxFuture<'static, Outcome> {
        let (jobs, executor) = (self.jobs.clone(), Arc::clone(&self.executor));
        Box::pin(async move {
            let id = task.payload.as_str().unwrap_or_default();
            match jobs.drive(id, &*executor).await {
                Ok(()) => Outcome::Done(Value::Null),
                Err(error) => {
                    let why = Refusal::new(error.kind(), error.public_message());
                    if why.kind == ErrorKind::Unavailable {
                        Outcome::Later { why, after: None }
                    } else {
                        Outcome::Again(why)
                    }
                }
            }
        })
    }
}

impl Jobs {
    /// Carries a batch through its states to its end.
    async fn drive(&self, id: &str, executor: &dyn BatchExecutor) -> Result<(), BatchError> {
        loop {
            let mut tx = self.inner.db.read().await?;
            let found = store::find_batch(&mut tx, None, id).await?;
            tx.commit().await?;
            let Some(batch) = found else {
                return Ok(());
            };
            if batch.status.has_ended() {
                // What was asked and answered stands in files now. Looked for here, so that a process that was lost after the end
                // leaves nothing.
                return self.forget_lines(&batch).await;
            }
            match batch.status {
                BatchStatus::Validating => {
                    let read = Reading::new(self, &batch).read().await?;
                    let mut tx = self.inner.db.write().await?;
                    let now = store::now(&mut tx, &*self.inner.clock).await?;
                    match read {
                        Ok(lines) => store::begin_batch(&mut tx, &batch.id, lines, now).await?,
                        Err(faults) => store::fail_batch(&mut tx, &batch.id, &faults, now).await?,
                    }
                    tx.commit().await?;
                }
                BatchStatus::InProgress => {
                    self.answer_lines(&batch, executor).await?;
                    let mut tx = self.inner.db.write().await?;
                    let now = store::now(&mut tx, &*self.inner.clock).await?;
                    store::begin_finalizing(&mut tx, &batch.id, now).await?;
                    tx.commit().await?;
                }
                _ => self.finish_batch(&batch).await?,
            }
        }
    }

    /// Answers the lines that wait, until there are none, the batch is called off, or its time is over.
    async fn answer_lines(
        &self,
        batch: &Batch,
        executor: &dyn BatchExecutor,
    ) -> Result<(), BatchError> {
        let answering = async {
            loop {
                let places = self.inner.config.batch_places.max(1);
                let mut tx = self.inner.db.read().await?;
                let models = store::waiting_models(&mut tx, &batch.id, places as u64).await?;
                tx.commit().await?;
                if models.is_empty() {
                    return Ok::<(), BatchError>(());
                }
                let each = (places / models.len()).max(1);
                let mut answered = stream::iter(models)
                    .map(|model| self.answer_model(batch, executor, model, each))
                    .buffer_unordered(places);
                while let Some(outcome) = answered.next().await {
                    outcome?;
                }
            }
        };
        tokio::select! {
            outcome = answering => outcome,
            outcome = self.until_over(batch) => outcome,
        }
    }

    /// Waits until a batch is called off, erased, or its time is over.
    async fn until_over(&self, batch: &Batch) -> Result<(), BatchError> {
        loop {
            sleep(LOOK_EVERY).await;
            let looked = async {
                let mut tx = self.inner.db.read().await?;
                let now = store::now(&mut tx, &*self.inner.clock).await?;
                let found = store::find_batch(&mut tx, None, &batch.id.0).await?;
                tx.commit().await?;
                Ok::<bool, BatchError>(found.is_some_and(|found| {
                    found.status == BatchStatus::InProgress && now < found.expires_at
                }))
            };
            // Without the database no answer can be written either: that trouble tells.
            if let Ok(false) = looked.await {
                return Ok(());
            }
        }
    }

    /// Answers the lines of one model, `places` at a time.
    async fn answer_model(
        &self,
        batch: &Batch,
        executor: &dyn BatchExecutor,
        model: String,
        places: usize,
    ) -> Result<(), BatchError> {
        let mut running = FuturesUnordered::new();
        let mut page: VecDeque<WaitingLine> = VecDeque::new();
        let mut after = 0;
        let mut more = true;
        loop {
            if page.is_empty() && more {
                let mut tx = self.inner.db.read().await?;
                let found =
                    store::waiting_lines(&mut tx, &batch.id, &model, after, places as u64).await?;
                tx.commit().await?;
                more = found.len() >= places;
                after = found.last().map_or(after, |line| line.number);
                page.extend(found);
            }
            let principal = self.inner.identity.caller_now(batch.caller).await?;
            let principal = principal.filter(|principal| principal.org == batch.owner.org);
            while running.len() < places {
                let Some(line) = page.pop_front() else { break };
                running.push(self.answer_line(batch, executor, principal.clone(), line));
            }
            let Some(first) = running.next().await else {
                return Ok(());
            };
            let mut answered = vec![first?];
            while let Some(Some(next)) = running.next().now_or_never() {
                answered.push(next?);
            }
            let mut tx = self.inner.db.write().await?;
            store::answer_lines(&mut tx, &batch.id, answered).await?;
            tx.commit().await?;
        }
    }

    /// Answers one line, however often it takes.
    async fn answer_line(
        &self,
        batch: &Batch,
        executor: &dyn BatchExecutor,
        principal: Option<Principal>,
        line: WaitingLine,
    ) -> Result<AnsweredLine, BatchError> {
        let sealer = &self.inner.sealer;
        let id = batch.id.0.as_str();
        let place = store::line_place(id, line.number, "body");
        let kept: Kept = open_named(sealer, &place, &line.body)?;
        let (state, came) = match principal {
            None => {
                let error = NoAnswer {
                    code: "not_allowed".to_owned(),
                    message: "the key or person that asked for it may not call any more".to_owned(),
                };
                let came = Came {
                    custom_id: kept.custom_id,
                    response: None,
                    error: Some(error),
                };
                (LineState::Failed, came)
            }
            Some(principal) => {
                let answer = self
                    .persist(batch, executor, &principal, kept.body.get())
                    .await;
                let state = if (200..300).contains(&answer.status) {
                    LineState::Completed
                } else {
                    LineState::Failed
                };
                let came = Came {
                    custom_id: kept.custom_id,
                    response: Some(Response {
                        status_code: answer.status,
                        request_id: answer.request_id,
                        body: raw(&answer.body),
                    }),
                    error: None,
                };
                (state, came)
            }
        };
        let place = store::line_place(id, line.number, "answer");
        Ok(AnsweredLine {
            number: line.number,
            state,
            answer: seal_named(sealer, &place, &came)?,
        })
    }

    /// Asks until there is an answer that stays the same: limits and absent nodes are waited for, other trouble a few times.
    async fn persist(
        &self,
        batch: &Batch,
        executor: &dyn BatchExecutor,
        principal: &Principal,
        body: &str,
    ) -> BatchAnswer {
        let (mut waits, mut attempts) = (0, 0);
        loop {
            let left = batch.expires_at.since(self.inner.clock.now());
            let near = left <= batch.expires_at.since(batch.created_at) / RAMP;
            let class = if near {
                PriorityClass::Default
            } else {
                PriorityClass::Batch
            };
            let answer = executor
                .answer(BatchRequest {
                    principal: principal.clone(),
                    client_address: batch.client_address,
                    endpoint: batch.endpoint.clone(),
                    class,
                    body: Bytes::copy_from_slice(body.as_bytes()),
                })
                .await;
            match answer.status {
                429 | 503 => {}
                404 | 408 | 500 | 502 | 504 => {
                    attempts += 1;
                    if attempts >= ATTEMPTS {
                        return answer;
                    }
                }
                _ => return answer,
            }
            waits += 1;
            let pause = Duration::from_secs(1 << (waits - 1).min(6));
            sleep(answer.retry_after.unwrap_or(pause).min(LONGEST_PAUSE)).await;
        }
    }
}

/// Returns a body as JSON; what is none as a text.
fn raw(body: &[u8]) -> Box<RawValue> {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(body);
        serde_json::value::to_raw_value(&text).unwrap_or_else(|_| RawValue::NULL.to_owned())
    })
}
