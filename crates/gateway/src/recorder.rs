//! Takes records off the request path and writes them in batches.
//!
//! The buffer is bounded (`[requests] buffer`). While the database is away records wait in it; at the bound new ones
//! are dropped, and the drops are counted in `remuda_request_records_dropped_total`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use primitives::Clock;
use store::Db;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::record::RequestRecord;
use crate::store as records;

/// Rows per insert.
const BATCH: usize = 500;
/// Longest wait of a record for its batch to fill. The writer looks by itself: waking it for every record would cost the
/// request path more than the record does. Short, because a long batch would hold up requests on the same core.
const LINGER: Duration = Duration::from_millis(20);
/// Pause after the database refused a batch.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often old records are deleted.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// Is told of every request that has ended, soon after its end and off the request path. Must not wait.
pub type EndObserver = Arc<dyn Fn(&RequestRecord) + Send + Sync>;

/// The records that wait.
struct Waiting {
    records: Mutex<VecDeque<RequestRecord>>,
    bound: usize,
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
        let mut records = self.waiting.records.lock();
        if records.len() < self.waiting.bound {
            records.push_back(record);
        } else {
            drop(records);
            self.metrics.records_dropped.inc();
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
        records: Mutex::default(),
        bound: bound.max(1),
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
    /// Writes until told that no more records come.
    pub(crate) async fn run(self, end: WriterEnd) {
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = tokio::time::sleep(LINGER) => {}
                () = end.last.cancelled() => {}
                _ = prune.tick() => self.prune().await,
            }
            // Asked before looking: whatever was submitted before the end is seen.
            let last = end.last.is_cancelled();
            while self.take(&mut batch) {
                if let Some(observer) = &self.observer {
                    for record in &batch {
                        observer(record);
                    }
                }
                if !self.write(&mut batch, &end.give_up).await {
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
        let mut records = self.waiting.records.lock();
        let count = records.len().min(BATCH);
        batch.extend(records.drain(..count));
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
            match records::insert_records(&self.db, batch).await {
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
                            let lost = batch.len() + self.waiting.records.lock().len();
                            self.metrics.records_dropped.inc_by(lost as u64);
                            tracing::error!(lost, "the database took no records before the end: request records are lost");
                            return false;
                        }
                    }
                }
                Err(error) => {
                    // A batch that the database refuses would block everything behind it.
                    tracing::error!(%error, records = batch.len(), "request records could not be written");
                    self.metrics.records_dropped.inc_by(batch.len() as u64);
                    batch.clear();
                    return true;
                }
            }
        }
    }

    async fn prune(&self) {
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
