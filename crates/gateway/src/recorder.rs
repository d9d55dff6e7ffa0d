//! Takes records off the request path and writes them in batches.
//!
//! The buffer is bounded (`[requests] buffer`). While the database is away records wait in it; at the bound new ones
//! are dropped, and the drops are counted in `remuda_request_records_dropped_total`.

use std::sync::Arc;
use std::time::Duration;

use primitives::Clock;
use store::Db;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::record::RequestRecord;
use crate::store as records;

/// Rows per insert.
const BATCH: usize = 500;
/// Longest wait of a record for its batch to fill.
const LINGER: Duration = Duration::from_millis(200);
/// Pause after the database refused a batch.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often old records are deleted.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// The request path's end of the buffer.
#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<RequestRecord>,
    metrics: Arc<Metrics>,
}

impl Recorder {
    /// Hands a record over. Never waits: when the buffer is full the record is dropped and counted.
    pub(crate) fn submit(&self, record: RequestRecord) {
        if self.sender.try_send(record).is_err() {
            self.metrics.records_dropped.inc();
        }
    }
}

/// The writing end.
pub(crate) struct RecordWriter {
    receiver: mpsc::Receiver<RequestRecord>,
    db: Db,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    retention: Option<Duration>,
}

/// Makes both ends of a buffer of `bound` records.
pub(crate) fn recorder(
    bound: usize,
    db: Db,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    retention: Option<Duration>,
) -> (Recorder, RecordWriter) {
    let (sender, receiver) = mpsc::channel(bound.max(1));
    let recorder = Recorder {
        sender,
        metrics: metrics.clone(),
    };
    let writer = RecordWriter {
        receiver,
        db,
        clock,
        metrics,
        retention,
    };
    (recorder, writer)
}

impl RecordWriter {
    /// Writes until every sender is gone, then writes what is left; `give_up` ends the waiting for a database that
    /// is away.
    pub(crate) async fn run(mut self, give_up: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        loop {
            tokio::select! {
                received = self.receiver.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                }
                _ = prune.tick() => {
                    self.prune().await;
                    continue;
                }
            }
            self.fill(&mut batch).await;
            if !self.write(&mut batch, &give_up).await {
                return;
            }
        }
    }

    /// Waits a little for more records, so that a busy gateway writes full batches.
    async fn fill(&mut self, batch: &mut Vec<RequestRecord>) {
        let linger = tokio::time::sleep(LINGER);
        tokio::pin!(linger);
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                received = self.receiver.recv_many(batch, room) => {
                    if received == 0 {
                        return;
                    }
                }
                () = &mut linger => return,
            }
        }
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
                Err(store::StoreError::Unavailable(reason)) => {
                    if !reported {
                        tracing::warn!(%reason, "the database is away: request records wait in memory");
                        reported = true;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(RETRY_AFTER) => {}
                        () = give_up.cancelled() => {
                            self.metrics.records_dropped.inc_by(batch.len() as u64);
                            tracing::error!(lost = batch.len() + self.receiver.len(), "the database did not come back before the end: request records are lost");
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
