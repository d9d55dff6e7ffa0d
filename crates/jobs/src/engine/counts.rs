//! What came of jobs: counted in memory and added up by the minute in the database, a few times a minute.

use std::collections::BTreeMap;

use ::store::{Durability, StoreError};
use parking_lot::Mutex;

use crate::store;
use crate::surface::Jobs;

/// Microseconds of a minute.
const MINUTE: i64 = 60_000_000;

/// What came of the jobs of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
}

/// What is not added up yet, by kind.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<&'static str, Came>>);

impl Counts {
    pub(crate) fn note(&self, kind: &'static str, note: impl FnOnce(&mut Came)) {
        note(self.0.lock().entry(kind).or_default());
    }

    fn take(&self) -> BTreeMap<&'static str, Came> {
        std::mem::take(&mut *self.0.lock())
    }

    fn put_back(&self, counts: BTreeMap<&'static str, Came>) {
        let mut held = self.0.lock();
        for (kind, came) in counts {
            let sum = held.entry(kind).or_default();
            sum.completed += came.completed;
            sum.failed += came.failed;
            sum.retried += came.retried;
        }
    }
}

impl Jobs {
    /// Adds up what was counted since the last time.
    pub(crate) async fn add_up(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let counts = inner.counts.take();
        if counts.is_empty() {
            return Ok(());
        }
        let added = async {
            let mut tx = inner.db.write_with(Durability::Relaxed).await?;
            let now = store::now(&mut tx, &*inner.clock).await?;
            let minute = now.as_micros() / MINUTE * MINUTE;
            for (kind, came) in &counts {
                store::add_counts(&mut tx, kind, minute, *came).await?;
            }
            tx.commit().await
        };
        let outcome = added.await;
        if outcome.is_err() {
            inner.counts.put_back(counts);
        }
        outcome
    }
}
