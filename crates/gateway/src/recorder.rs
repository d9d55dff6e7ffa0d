//! Takes records off the request path, writes their lines into the log and themselves into the database, in batches.
//!
//! The buffer is bounded (`[requests] buffer`). While the database is away records wait in it; at the bound new ones
//! are dropped, and the drops are counted in `remuda_request_records_dropped_total`. Lines do not wait for the database.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use primitives::Clock;
use store::Db;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::record::RequestRecord;
use crate::store as records;

/// Rows per insert.
const BATCH: usize = 500;
/// Longest wait of a record for its line in the log; those that come meanwhile are one batch. The writer looks by itself: waking it
/// for every record would cost the request path more than the record does. Short, because a long batch would hold up requests
/// on the same core.
const LINGER: Duration = Duration::from_millis(20);
/// Records that are seen to in one go. Between two of these pieces a request that came meanwhile on the same core has it, and so waits
/// for a few of them, not for all that came in [`LINGER`].
const PIECE: usize = 5;
/// After so many looks in vain the writer sleeps until it is woken by the next record.
const LOOKS_IN_VAIN: u32 = 50;
/// Pause after the database refused a batch.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often old records are deleted.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// Is told of every request that has ended, soon after its end and off the request path. Must not wait.
pub type EndObserver = Arc<dyn Fn(&RequestRecord) + Send + Sync>;

/// The records that wait.
struct Waiting {
    /// Without a line in the log so far. Emptied every [`LINGER`].
    arrived: Mutex<Vec<RequestRecord>>,
    /// With a line, but not in the database.
    logged: Mutex<VecDeque<RequestRecord>>,
    /// How many both hold.
    count: AtomicUsize,
    bound: usize,
    /// Whether the writer does not look by itself at present. Set before it looks for the last time, so that whoever comes after
    /// that look (under the lock of `arrived`) sees it.
    asleep: AtomicBool,
    /// Wakes the writer.
    wake: Notify,
    /// Tells that records were passed on to be written.
    filled: Notify,
}

/// The request path's end of the buffer.
#[derive(Clone)]
pub(crate) struct Recorder {
    waiting: Arc<Waiting>,
    metrics: Arc<Metrics>,
}

impl Recorder {
    /// Hands a record over. Never waits: when the buffer is full the record is dropped and counted.
    pub(crate) fn submit(&self, record: RequestRecord) {
        let waiting = &self.waiting;
        if waiting.count.fetch_add(1, Ordering::Relaxed) < waiting.bound {
            waiting.arrived.lock().push(record);
            if waiting.asleep.load(Ordering::Relaxed) {
                waiting.wake.notify_one();
            }
        } else {
            waiting.count.fetch_sub(1, Ordering::Relaxed);
            self.metrics.records_dropped.inc();
            log_line(&record);
        }
    }
}

/// The writing end.
pub(crate) struct RecordWriter {
    waiting: Arc<Waiting>,
    db: Db,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    retention: Option<Duration>,
    observer: Option<EndObserver>,
}

/// When the writer is to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriterEnd {
    /// No more records come: write what waits, then end.
    pub(crate) last: CancellationToken,
    /// Do not wait for a database that is away.
    pub(crate) give_up: CancellationToken,
}

/// Makes both ends of a buffer of `bound` records.
pub(crate) fn recorder(
    bound: usize,
    db: Db,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    retention: Option<Duration>,
    observer: Option<EndObserver>,
) -> (Recorder, RecordWriter) {
    let waiting = Arc::new(Waiting {
        arrived: Mutex::default(),
        logged: Mutex::default(),
        count: AtomicUsize::new(0),
        bound: bound.max(1),
        asleep: AtomicBool::new(false),
        wake: Notify::new(),
        filled: Notify::new(),
    });
    let recorder = Recorder {
        waiting: waiting.clone(),
        metrics: metrics.clone(),
    };
    let writer = RecordWriter {
        waiting,
        db,
        clock,
        metrics,
        retention,
        observer,
    };
    (recorder, writer)
}

impl RecordWriter {
    /// Logs and writes until told that no more records come.
    pub(crate) async fn run(self, end: WriterEnd) {
        let all_logged = CancellationToken::new();
        tokio::join!(
            self.log_all(&end.last, &all_logged),
            self.write_all(&all_logged, &end.give_up),
        );
    }

    /// Writes a line for every record, and passes the records on to those that are written.
    async fn log_all(&self, last: &CancellationToken, all_logged: &CancellationToken) {
        let mut taken = Vec::new();
        let mut in_vain = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LINGER) => {}
                () = last.cancelled() => {}
            }
            // Asked before looking: whatever was submitted before the end is seen.
            let ending = last.is_cancelled();
            let found = self.log_arrived(&mut taken);
            if ending {
                all_logged.cancel();
                return;
            }
            in_vain = if found { 0 } else { in_vain + 1 };
            if in_vain == LOOKS_IN_VAIN {
                in_vain = 0;
                self.sleep_until_woken(last).await;
            }
        }
    }

    async fn sleep_until_woken(&self, last: &CancellationToken) {
        let waiting = &self.waiting;
        waiting.asleep.store(true, Ordering::Relaxed);
        let nothing = waiting.arrived.lock().is_empty();
        if nothing {
            tokio::select! {
                () = waiting.wake.notified() => {}
                () = last.cancelled() => {}
            }
        }
        waiting.asleep.store(false, Ordering::Relaxed);
    }

    /// Takes what has arrived by way of an empty vector, which stays empty. Tells whether there was any.
    fn log_arrived(&self, taken: &mut Vec<RequestRecord>) -> bool {
        std::mem::swap(&mut *self.waiting.arrived.lock(), taken);
        if taken.is_empty() {
            return false;
        }
        for piece in taken.chunks(PIECE) {
            for record in piece {
                log_line(record);
                if let Some(observer) = &self.observer {
                    observer(record);
                }
            }
            self.let_requests_go_first();
        }
        self.waiting.logged.lock().extend(taken.drain(..));
        self.waiting.filled.notify_one();
        // After a rush the room is not needed any more.
        taken.shrink_to(BATCH);
        true
    }

    fn let_requests_go_first(&self) {
        if self.is_unhurried() {
            std::thread::yield_now();
        }
    }

    /// Tells whether few wait. Where more than a batch does, the processors are busy, and what counts is how little each record costs.
    fn is_unhurried(&self) -> bool {
        self.waiting.count.load(Ordering::Relaxed) < BATCH
    }

    /// Writes until all records are logged and written, or until told not to wait for the database.
    async fn write_all(&self, all_logged: &CancellationToken, give_up: &CancellationToken) {
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = self.waiting.filled.notified() => {}
                () = all_logged.cancelled() => {}
                _ = prune.tick() => self.prune().await,
            }
            let last = all_logged.is_cancelled();
            while self.take(&mut batch) {
                if !self.write(&mut batch, give_up).await {
                    return;
                }
            }
            if last {
                return;
            }
        }
    }

    /// Takes the next records into an empty batch; tells whether there were any.
    fn take(&self, batch: &mut Vec<RequestRecord>) -> bool {
        let mut records = self.waiting.logged.lock();
        let count = records.len().min(BATCH);
        batch.extend(records.drain(..count));
        self.waiting.count.fetch_sub(count, Ordering::Relaxed);
        if records.is_empty() && records.capacity() > 4 * BATCH {
            // After a long wait for the database the room is not needed any more.
            records.shrink_to(BATCH);
        }
        !batch.is_empty()
    }

    /// Writes a batch, waiting for the database as long as it takes. Returns `false` when told to give up.
    async fn write(&self, batch: &mut Vec<RequestRecord>, give_up: &CancellationToken) -> bool {
        let mut reported = false;
        loop {
            let piece = if self.is_unhurried() { PIECE } else { BATCH };
            match records::insert_records(&self.db, batch, piece).await {
                Ok(()) => {
                    if reported {
                        tracing::info!("request records are written again");
                    }
                    self.metrics.records_written.inc_by(batch.len() as u64);
                    batch.clear();
                    return true;
                }
                Err(error) if error.is_passing() => {
                    if !reported {
                        tracing::warn!(%error, "the database cannot take request records now: they wait in memory");
                        reported = true;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(RETRY_AFTER) => {}
                        () = give_up.cancelled() => {
                            let lost = batch.len() + self.waiting.logged.lock().len();
                            self.metrics.records_dropped.inc_by(lost as u64);
                            tracing::error!(lost, "the database took no records before the end: request records are lost");
                            return false;
                        }
                    }
                }
                Err(error) => {
                    // What the database refuses would block everything behind it, but one bad record is not the others' fault.
                    if let [record] = batch.as_slice() {
                        tracing::error!(%error, id = %record.id, "a request record could not be written");
                        self.metrics.records_dropped.inc();
                        batch.clear();
                        return true;
                    }
                    return self.write_halves(batch, give_up).await;
                }
            }
        }
    }

    async fn write_halves(
        &self,
        batch: &mut Vec<RequestRecord>,
        give_up: &CancellationToken,
    ) -> bool {
        let mut second = batch.split_off(batch.len() / 2);
        if Box::pin(self.write(batch, give_up)).await {
            return Box::pin(self.write(&mut second, give_up)).await;
        }
        self.metrics.records_dropped.inc_by(second.len() as u64);
        false
    }

    async fn prune(&self) {
        if let Err(error) = records::erase_late_names(&self.db, self.clock.now()).await {
            tracing::warn!(%error, "records of people who were erased could not be looked for: they are in an hour");
        }
        let Some(retention) = self.retention else {
            return;
        };
        let before = self.clock.now().before(retention);
        match records::delete_records_before(&self.db, before).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "old request records deleted"),
            Err(error) => tracing::warn!(%error, "old request records could not be deleted"),
        }
    }
}

/// Writes the one line that a request has in the log.
fn log_line(record: &RequestRecord) {
    let node = record.node.as_ref().map_or("-", |(_, name)| name.as_ref());
    tracing::info!(
        target: "remuda::request",
        id = %record.id,
        caller = &*record.caller_name,
        client = %record.client_address,
        operation = record.operation,
        model = &*record.requested_model,
        node,
        status = record.status,
        outcome = record.outcome.as_str(),
        stream = record.stream,
        retries = record.retries,
        continued = record.continued,
        first_token_ms = record.first_token_us.map(|us| us as f64 / 1e3),
        total_ms = record.total_us as f64 / 1e3,
        prompt_tokens = record.prompt_tokens,
        completion_tokens = record.completion_tokens,
        error = record.error.as_deref(),
        "request"
    );
}
