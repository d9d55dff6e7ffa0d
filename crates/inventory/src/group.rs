//! The line of waiting calls, and the transactions that take them along.
//!
//! A call that comes while nothing is under way goes at once, alone. While a transaction is under way others gather, and go together in
//! the next one: the commit under way is the only timer. A second transaction goes beside the first when enough wait for it to be worth
//! while.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use primitives::MonotonicTime;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::batch::{self, Outcome};
use crate::config::ALWAYS_LET_IN;
use crate::model::Operation;
use crate::refusal::CallError;
use crate::surface::{Inner, Inventory};

/// A call that waits.
#[derive(Debug)]
struct Waiting {
    operation: Operation,
    since: MonotonicTime,
    answer: oneshot::Sender<Outcome>,
}

/// The line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    waiting: Mutex<Places>,
    /// Rings when there is something to look at.
    bell: Notify,
}

#[derive(Debug, Default)]
struct Places {
    calls: VecDeque<Waiting>,
    closed: bool,
}

impl Inventory {
    /// Carries one call out: durably, when this returns without an error.
    ///
    /// # Errors
    /// When it would break a rule, too many calls wait, or the database fails.
    pub async fn call(&self, operation: Operation) -> Result<(), CallError> {
        let inner = &self.inner;
        let kind = operation.kind();
        let (answer, answered) = oneshot::channel();
        let since = inner.clock.monotonic();
        let outcome = match inner.stand_in_line(Waiting {
            operation,
            since,
            answer,
        }) {
            Ok(()) => {
                inner.line.bell.notify_one();
                answered.await.unwrap_or(Err(CallError::Stopping))
            }
            Err(error) => Err(error),
        };
        let took = inner.clock.monotonic().since(since);
        inner.metrics.called(kind, &outcome, took);
        outcome
    }

    /// Carries out what waits, until `stop`; then what is under way comes to its end, and the rest is refused.
    pub async fn work(self, stop: CancellationToken) {
        let inner = self.inner;
        let most = match inner.db.engine() {
            ::store::Engine::Sqlite => 1,
            ::store::Engine::Postgres => inner.config.writers.max(1),
        };
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < most {
                let least = if under_way.is_empty() {
                    1
                } else {
                    inner.config.batch_beside.max(1)
                };
                let Some(calls) = inner.next(least) else {
                    break;
                };
                let inner = Arc::clone(&inner);
                under_way.spawn(async move { inner.go(calls).await });
            }
            tokio::select! {
                () = inner.line.bell.notified() => {}
                Some(ended) = under_way.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a transaction of the inventory ended abnormally");
                    }
                }
                () = stop.cancelled() => break,
            }
        }
        inner.line.waiting.lock().closed = true;
        while under_way.join_next().await.is_some() {}
        let rest = std::mem::take(&mut inner.line.waiting.lock().calls);
        for call in rest {
            drop(call.answer.send(Err(CallError::Stopping)));
        }
    }
}

impl Inner {
    fn stand_in_line(&self, call: Waiting) -> Result<(), CallError> {
        let mut places = self.line.waiting.lock();
        if places.closed {
            return Err(CallError::Stopping);
        }
        let waiting = places.calls.len();
        let oldest = places.calls.front().map(|first| first.since);
        let crowded = waiting >= ALWAYS_LET_IN
            && oldest.is_some_and(|oldest| call.since.since(oldest) > self.config.max_wait);
        if waiting >= self.config.max_waiting || crowded {
            return Err(CallError::Overloaded);
        }
        places.calls.push_back(call);
        self.metrics.waiting(places.calls.len());
        Ok(())
    }

    /// Takes the calls of the next transaction, if at least so many wait.
    fn next(&self, least: usize) -> Option<Vec<Waiting>> {
        let mut places = self.line.waiting.lock();
        if places.calls.len() < least {
            return None;
        }
        let count = places.calls.len().min(self.config.max_batch.max(1));
        // Who went away before their turn is not served.
        let calls: Vec<Waiting> = places
            .calls
            .drain(..count)
            .filter(|call| !call.answer.is_closed())
            .collect();
        self.metrics.waiting(places.calls.len());
        Some(calls)
    }

    /// Carries calls out and answers them.
    async fn go(&self, calls: Vec<Waiting>) {
        if calls.is_empty() {
            return;
        }
        let began = self.clock.monotonic();
        let operations: Vec<&Operation> = calls.iter().map(|call| &call.operation).collect();
        let outcomes = batch::carry_out(self, &operations).await;
        self.metrics
            .batch(calls.len(), self.clock.monotonic().since(began));
        let mut later = Vec::new();
        for (call, outcome) in calls.into_iter().zip(outcomes) {
            match outcome {
                // Nobody may be there any more.
                Some(outcome) => drop(call.answer.send(outcome)),
                None => later.push(call),
            }
        }
        if !later.is_empty() {
            self.metrics.left_for_later(later.len());
            let mut places = self.line.waiting.lock();
            for call in later.into_iter().rev() {
                places.calls.push_front(call);
            }
        }
    }
}
