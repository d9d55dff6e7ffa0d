//! The line of waiting calls, and the transactions that take them along.
//!
//! A call that comes while nothing is under way goes at once, alone. While a transaction is under way others gather, and go together in
//! the next one: the commit under way is the only timer. Another transaction goes beside those under way when as many wait as each carries,
//! and enough for it to be worth while.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use primitives::MonotonicTime;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admission::{Crowd, Pace, Patience, is_far};
use crate::batch::{self, Outcome};
use crate::model::{Operation, OperationKind};
use crate::refusal::CallError;
use crate::surface::{Inner, Inventory};
use crate::tray::{Caller, Decided, Tray, tell_all};

/// A call that waits.
#[derive(Debug)]
struct Waiting {
    operation: Operation,
    since: MonotonicTime,
    caller: Caller,
}

/// The line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    places: Mutex<Places>,
    /// Rings when a transaction can begin.
    bell: Notify,
}

#[derive(Debug, Default)]
struct Places {
    calls: VecDeque<Waiting>,
    /// Transactions that are under way, and their calls.
    transactions: usize,
    carried: usize,
    pace: Pace,
    patience: Patience,
    /// How long the call may wait that came last.
    wait: Duration,
    /// How far the thread was behind that looked last.
    behind: Duration,
    /// Whether calls were refused for want of a place since the last transaction began.
    refused: bool,
    closed: bool,
}

impl Places {
    /// Tells whether a transaction can begin for the calls that wait.
    fn can_begin(&self, inner: &Inner) -> bool {
        let waiting = self.calls.len();
        if self.transactions == 0 {
            return waiting > 0;
        }
        // As many as the others carry, so that all stay alike.
        let alike = self.carried / self.transactions;
        let least = inner.config.batch_beside.max(1).max(alike);
        // Threads that are behind need the processors that a second transaction would take.
        let writers = if is_far(self.wait, self.behind) {
            1
        } else {
            inner.writers()
        };
        self.transactions < writers && waiting >= least.min(inner.config.max_batch)
    }

    /// Tells why a call that comes now cannot wait, to a thread that is so far behind.
    fn refusal(
        &mut self,
        inner: &Inner,
        now: MonotonicTime,
        behind: Duration,
    ) -> Option<CallError> {
        if self.closed {
            return Some(CallError::Stopping);
        }
        let (config, waiting) = (&inner.config, self.calls.len());
        let wait = self.patience.now(config, now);
        self.wait = wait;
        let first = self.calls.front().map(|first| first.since);
        let full = waiting >= self.pace.most_waiting(config, wait, self.carried, behind)
            || first.is_some_and(|first| self.pace.stands_still(wait, waiting, first, now));
        if full {
            self.refused = true;
            self.patience.refuses(now);
        }
        full.then_some(CallError::Overloaded)
    }
}

impl Inventory {
    /// Carries one call out: durably, when this returns without an error.
    ///
    /// # Errors
    /// When it would break a rule, too many calls wait, or the database fails.
    pub async fn call(&self, operation: Operation) -> Result<(), CallError> {
        self.call_from(operation, None).await
    }

    /// The same for a caller whose thread has a tray.
    pub(crate) async fn call_from(
        &self,
        operation: Operation,
        tray: Option<Arc<Tray>>,
    ) -> Result<(), CallError> {
        let inner = &self.inner;
        let kind = operation.kind();
        let (answer, answered) = oneshot::channel();
        let since = inner.clock.monotonic();
        let stood = inner.stand_in_line(Waiting {
            operation,
            since,
            caller: Caller { answer, tray },
        });
        let outcome = match stood {
            Err(error) => Err(error),
            Ok(()) => match answered.await {
                Ok(Decided { outcome, at }) => {
                    let delay = inner.clock.monotonic().since(at);
                    inner.metrics.answer_was_delayed(delay);
                    outcome
                }
                Err(_) => Err(CallError::Stopping),
            },
        };
        let took = inner.clock.monotonic().since(since);
        inner.metrics.called(kind, &outcome, took);
        outcome
    }

    /// Refuses a call at once when there is no place for it, before anything is done for it.
    ///
    /// # Errors
    /// When too many calls wait, or the program stops.
    pub(crate) fn look_for_room(
        &self,
        kind: OperationKind,
        tray: Option<&Arc<Tray>>,
    ) -> Result<(), CallError> {
        let inner = &self.inner;
        let now = inner.clock.monotonic();
        let behind = tray.map_or(Duration::ZERO, |tray| tray.behind(now));
        let mut places = inner.line.places.lock();
        places.behind = behind;
        let refusal = places.refusal(inner, now, behind);
        drop(places);
        let Some(error) = refusal else {
            return Ok(());
        };
        let outcome = Err(error);
        let took = inner.clock.monotonic().since(now);
        inner.metrics.called(kind, &outcome, took);
        outcome
    }

    /// Carries out what waits, until `stop`; then what is under way comes to its end, and the rest is refused.
    pub async fn work(self, stop: CancellationToken) {
        let inner = self.inner;
        let mut under_way = JoinSet::new();
        loop {
            while let Some(calls) = inner.next() {
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
        inner.line.places.lock().closed = true;
        while under_way.join_next().await.is_some() {}
        let rest = std::mem::take(&mut inner.line.places.lock().calls);
        tell_all(
            rest.into_iter()
                .map(|call| (call.caller, Err(CallError::Stopping))),
            inner.clock.monotonic(),
        );
    }
}

/// A transaction that is under way until dropped.
struct UnderWay<'a> {
    inner: &'a Inner,
    calls: usize,
    /// How many of them have an outcome.
    answered: usize,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let now = self.inner.clock.monotonic();
        let mut places = self.inner.line.places.lock();
        places.transactions -= 1;
        places.carried -= self.calls;
        places.pace.ends(self.answered, now);
    }
}

impl Inner {
    /// Returns how many transactions run at the same time at most.
    fn writers(&self) -> usize {
        match self.db.engine() {
            ::store::Engine::Sqlite => 1,
            ::store::Engine::Postgres => self.config.writers.max(1),
        }
    }

    fn stand_in_line(&self, call: Waiting) -> Result<(), CallError> {
        let mut places = self.line.places.lock();
        if let Some(error) = places.refusal(self, call.since, Duration::ZERO) {
            return Err(error);
        }
        places.calls.push_back(call);
        self.metrics.waiting(places.calls.len());
        let can_begin = places.can_begin(self);
        drop(places);
        if can_begin {
            self.line.bell.notify_one();
        }
        Ok(())
    }

    /// Takes the calls of the next transaction, if it can begin.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut places = self.line.places.lock();
        if !places.can_begin(self) {
            return None;
        }
        let most = self.config.max_batch.max(1);
        let count = places.calls.len().min(most);
        let crowd = match (count == most, places.refused) {
            (true, _) => Crowd::Full,
            (false, true) => Crowd::KeptSmall,
            (false, false) => Crowd::None,
        };
        places.refused = false;
        places.pace.begins(crowd, self.clock.monotonic());
        // Who went away before their turn is not served.
        let calls: Vec<Waiting> = places
            .calls
            .drain(..count)
            .filter(|call| !call.caller.answer.is_closed())
            .collect();
        places.transactions += 1;
        places.carried += calls.len();
        self.metrics.waiting(places.calls.len());
        Some(calls)
    }

    /// Carries calls out and answers them.
    async fn go(&self, calls: Vec<Waiting>) {
        let began = self.clock.monotonic();
        let mut under_way = UnderWay {
            inner: self,
            calls: calls.len(),
            answered: 0,
        };
        if calls.is_empty() {
            return;
        }
        let operations: Vec<&Operation> = calls.iter().map(|call| &call.operation).collect();
        let outcomes = batch::carry_out(self, &operations).await;
        self.metrics
            .batch(calls.len(), self.clock.monotonic().since(began));
        let mut told: Vec<(Caller, Outcome)> = Vec::with_capacity(calls.len());
        let mut later = Vec::new();
        for (call, outcome) in calls.into_iter().zip(outcomes) {
            match outcome {
                Some(outcome) => told.push((call.caller, outcome)),
                None => later.push(call),
            }
        }
        if !later.is_empty() {
            self.metrics.left_for_later(later.len());
            let mut places = self.line.places.lock();
            for call in later.into_iter().rev() {
                places.calls.push_front(call);
            }
        }
        under_way.answered = told.len();
        // The next one can begin before the answers go out.
        drop(under_way);
        tell_all(told, self.clock.monotonic());
    }
}
