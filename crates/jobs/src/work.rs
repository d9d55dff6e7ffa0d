//! The loop of a process that carries jobs out: each kind as many at once as it has places, its lanes in turns, in each the first priority
//! and the oldest first.

use std::sync::Arc;
use std::time::Duration;

use ::store::StoreError;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::engine::ends::WAITING;
use crate::engine::kind::{Backoff, Doer, Handler, Keep, KindSpec, Registered};
use crate::executor::Executor;
use crate::model::JobKind;
use crate::places::Places;
use crate::store;
use crate::surface::Jobs;

/// How often it is looked whether something is due that nobody here has told of.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one call of the database may take.
pub(crate) const DATABASE_PATIENCE: Duration = Duration::from_secs(5);
/// How long runs may take to give their jobs back when the program ends.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// Why the loop looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// Somebody said that there is work, or it is time.
    Told,
    /// A run has ended.
    ByEnd,
}

/// Bounds a call of the database, so that a silent one holds nothing up.
pub(crate) async fn patiently<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(DATABASE_PATIENCE, call).await {
        Ok(outcome) => outcome,
        Err(late) => Err(StoreError::Unavailable(Box::new(late))),
    }
}

impl Jobs {
    /// Registers a kind of work. Before [`work`](Self::work): what is registered later is not carried out here.
    pub fn register(&self, spec: KindSpec, handler: Arc<dyn Handler>) {
        let registered = Registered {
            spec,
            doer: Doer::Handler(handler),
        };
        self.inner.kinds.lock().insert(spec.name, registered);
    }

    pub(crate) fn registered(&self, kind: &str) -> Option<Registered> {
        self.inner.kinds.lock().get(kind).cloned()
    }

    /// Registers answers that are promised: their kinds share the places of the configuration.
    fn register_inference(&self, executor: &Arc<dyn Executor>) {
        let config = &self.inner.config;
        for kind in JobKind::ALL {
            let spec = KindSpec {
                places: config.concurrency,
                most_attempts: config.most_attempts,
                backoff: Backoff {
                    first: Duration::from_secs(2),
                    longest: Duration::from_mins(5),
                },
                keep: Keep::Result,
                ..KindSpec::new(kind.as_str())
            };
            let doer = Doer::Inference(Arc::clone(executor));
            let registered = Registered { spec, doer };
            self.inner.kinds.lock().insert(spec.name, registered);
        }
    }

    /// Has jobs accepted, and carries out those that are due, until `stop`; then gives back those that are not done, attempt included.
    pub async fn work(self, executor: Arc<dyn Executor>, stop: CancellationToken) {
        // Once only: a second caller would carry out jobs by another's rules.
        if self.inner.executor.set(Arc::clone(&executor)).is_err() {
            tracing::error!("jobs are carried out already");
            return;
        }
        self.register_inference(&executor);
        let (sender, ends) = mpsc::channel(WAITING);
        drop(self.inner.ends.set(sender));
        let beside = CancellationToken::new();
        let mut helpers = JoinSet::new();
        let writing = tokio::spawn(self.clone().write_ends(ends));
        helpers.spawn(self.clone().hold(beside.clone()));
        helpers.spawn(self.clone().hear_others(beside.clone()));
        let mut runs: JoinSet<()> = JoinSet::new();
        let mut places = Places::new(self.inner.config.most_of_one());
        self.look_until(&mut runs, &mut places, &stop).await;
        self.inner.closing.cancel();
        let given_back = async {
            while runs.join_next().await.is_some() {}
            // What was handed on is written before the last word.
            while !self.inner.running.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(LAST_MOMENTS, given_back).await.is_err() {
            tracing::warn!("some jobs could not be given back: they are due when their leases end");
        }
        writing.abort();
        beside.cancel();
        helpers.join_all().await;
    }

    async fn look_until(
        &self,
        runs: &mut JoinSet<()>,
        places: &mut Places,
        stop: &CancellationToken,
    ) {
        let mut failing = false;
        let mut announced = false;
        let mut woken = Woken::Told;
        let mut look_at = Instant::now() + LOOK_EVERY;
        while !stop.is_cancelled() {
            let outcome = async {
                if !announced {
                    patiently(self.announce()).await?;
                    announced = true;
                }
                self.fill(runs, places, woken, stop).await
            };
            match outcome.await {
                Ok(()) => failing = false,
                // Said once: the loop would repeat it every second.
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "jobs cannot be claimed now: it is tried again every second"
                    );
                }
                Err(_) => {}
            }
            tokio::select! {
                // One free place is looked after by itself only now and then, where a kind claims many together.
                Some(ended) = runs.join_next_with_id() => {
                    self.release(places, ended);
                    woken = Woken::ByEnd;
                }
                () = self.inner.due.notified() => woken = Woken::Told,
                () = tokio::time::sleep_until(look_at) => woken = Woken::Told,
                () = stop.cancelled() => {}
            }
            if woken == Woken::Told {
                look_at = Instant::now() + LOOK_EVERY;
            }
        }
    }

    /// Frees the place of a run that is over.
    fn release(&self, places: &mut Places, ended: Result<(Id, ()), JoinError>) {
        if let Some((id, run)) = places.release(ended) {
            self.let_go(id, &run);
        }
    }

    /// Makes the kinds and schedules of this program known.
    async fn announce(&self) -> Result<(), StoreError> {
        let kinds: Vec<&'static str> = self.inner.kinds.lock().keys().copied().collect();
        let mut tx = self.inner.db.write().await?;
        for kind in kinds {
            store::announce_kind(&mut tx, kind).await?;
        }
        tx.commit().await?;
        self.announce_schedules().await
    }

    /// Claims jobs while there are places and jobs that are due.
    async fn fill(
        &self,
        runs: &mut JoinSet<()>,
        places: &mut Places,
        woken: Woken,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        while let Some(ended) = runs.try_join_next_with_id() {
            self.release(places, ended);
        }
        let kinds: Vec<Registered> = self.inner.kinds.lock().values().cloned().collect();
        for registered in kinds {
            if stop.is_cancelled() {
                return Ok(());
            }
            let wanted = match woken {
                Woken::Told => 1,
                Woken::ByEnd => Places::wanted(&registered),
            };
            if places.free(&registered) >= wanted {
                self.claim_kind(&registered, runs, places, stop).await?;
            }
        }
        Ok(())
    }

    /// Makes those due again whose holder gave no sign of life, and fails those that were so in their last attempt.
    pub(crate) async fn take_lapsed(&self, kind: &'static str) -> Result<(), StoreError> {
        let mut tx = self.inner.db.write().await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        let lapsed = store::requeue_lapsed(&mut tx, kind, now).await?;
        let message = "the server that carried it out was lost each time";
        let failed = store::fail_exhausted(&mut tx, kind, now, message).await?;
        tx.commit().await?;
        for lapsed in lapsed.iter().chain(&failed) {
            self.inner.metrics.leases_lost.inc();
            tracing::warn!(job = %lapsed.id, kind = lapsed.kind, attempt = lapsed.attempt, "the lease of a job ran out");
            if let Some(job) = &lapsed.job {
                self.tell_state(job);
            }
        }
        self.inner.counts.note(kind, |came| {
            came.retried += lapsed.len() as u64;
            came.failed += failed.len() as u64;
        });
        Ok(())
    }
}
