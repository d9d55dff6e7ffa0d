//! Enqueueing: in the caller's transaction, so that the work is there when what it belongs to is, and not else.

use ::store::{StoreError, Tx};
use identity::PriorityClass;
use primitives::{JobId, Timestamp};
use serde_json::Value;

use crate::model::JobError;
use crate::seal::{SealedPlace, seal};
use crate::store::{self, WorkRow};
use crate::surface::Jobs;

/// Where there is no key to hold jobs apart.
pub(crate) const NO_LANE: &str = "-";

/// Which of those that are due go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Before all others.
    Urgent,
    /// Somebody waits for it.
    Soon,
    /// Nothing is said about it.
    #[default]
    Normal,
    /// After all others.
    Idle,
}

impl Priority {
    /// Every priority, the first first.
    pub const ALL: [Self; 4] = [Self::Urgent, Self::Soon, Self::Normal, Self::Idle];

    pub(crate) const fn number(self) -> i64 {
        self as i64
    }
}

impl From<PriorityClass> for Priority {
    fn from(class: PriorityClass) -> Self {
        match class {
            PriorityClass::Interactive => Self::Soon,
            PriorityClass::Default => Self::Normal,
            PriorityClass::Batch => Self::Idle,
        }
    }
}

/// Work to be enqueued.
#[derive(Clone, Debug)]
pub struct NewWork {
    /// Its kind, which the program has registered.
    pub kind: &'static str,
    /// What its handler gets; sealed in the database. Null: nothing.
    pub payload: Value,
    /// What holds it apart from others of its kind.
    pub lane: Option<String>,
    /// Which go first.
    pub priority: Priority,
    /// At most one job of the kind with this key has not ended.
    pub unique_key: Option<String>,
    /// Before when it is not carried out; at once when absent.
    pub run_at: Option<Timestamp>,
}

impl NewWork {
    /// Makes work that is due at once, with nothing to tell it from others.
    pub const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            payload: Value::Null,
            lane: None,
            priority: Priority::Normal,
            unique_key: None,
            run_at: None,
        }
    }
}

/// What became of work that was enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is this job.
    New(JobId),
    /// There is a job with its unique key that has not ended.
    There(JobId),
}

impl Jobs {
    /// Enqueues work in the caller's transaction. After its commit [`poke`](Self::poke) has it looked at at once.
    ///
    /// # Errors
    /// When the kind is not registered, or the database fails.
    pub async fn enqueue(&self, tx: &mut Tx, work: NewWork) -> Result<Enqueued, JobError> {
        let now = store::now(tx, &*self.inner.clock).await?;
        let row = self.work_row(now, &work)?;
        let id = row.id;
        if store::insert_work(tx, &row).await? {
            return Ok(Enqueued::New(id));
        }
        let key = work.unique_key.unwrap_or_default();
        match store::find_unique(tx, work.kind, &key).await? {
            Some(there) => Ok(Enqueued::There(there)),
            // It ended between both statements: another try has room.
            None => Err(JobError::Store(StoreError::Unavailable(
                "the job with the same key ended this moment".into(),
            ))),
        }
    }

    /// Enqueues much work with few statements; what has the unique key of a job that has not ended is left out. Returns how many are new.
    ///
    /// # Errors
    /// When a kind is not registered, or the database fails.
    pub async fn enqueue_many(&self, tx: &mut Tx, work: &[NewWork]) -> Result<u64, JobError> {
        let now = store::now(tx, &*self.inner.clock).await?;
        let mut rows = Vec::with_capacity(work.len());
        for work in work {
            rows.push(self.work_row(now, work)?);
        }
        Ok(store::insert_many(tx, &rows).await?)
    }

    /// Has the loops of all processes look for work at once. A hint: without it they look every second.
    pub fn poke(&self) {
        self.inner.due.notify_one();
        self.inner.wake_others.notify_one();
    }

    fn work_row(&self, now: Timestamp, work: &NewWork) -> Result<WorkRow, JobError> {
        let Some(registered) = self.registered(work.kind) else {
            return Err(JobError::UnknownKind(work.kind.to_owned()));
        };
        let id = JobId::generate(now);
        let payload = match &work.payload {
            Value::Null => None,
            value => Some(seal(&self.inner.sealer, SealedPlace::Payload(id), value)?),
        };
        Ok(WorkRow {
            id,
            kind: work.kind,
            lane: work
                .lane
                .clone()
                .filter(|lane| !lane.is_empty())
                .unwrap_or_else(|| NO_LANE.to_owned()),
            priority: work.priority,
            unique_key: work.unique_key.clone(),
            payload,
            created_at: now,
            run_at: work.run_at.unwrap_or(now),
            most_attempts: registered.spec.most_attempts,
        })
    }
}
