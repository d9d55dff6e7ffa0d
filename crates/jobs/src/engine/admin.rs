//! What administrators see of the engine and do to it: figures, pauses, dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use ::store::{StoreError, Tx};
use identity::journal::{self, Action, Actor, Change};
use primitives::{JobId, Timestamp};
use serde_json::{Value, json};

use super::counts::Came;
use crate::model::JobError;
use crate::store;
use crate::surface::Jobs;

/// A kind of work as it stands.
#[derive(Clone, Debug, Default)]
pub struct KindState {
    /// Its name.
    pub kind: String,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// How many wait, those included that are not due yet.
    pub queued: u64,
    /// For how long the one that has been due for longest has waited.
    pub oldest: Duration,
    /// How many are carried out, by all processes.
    pub running: u64,
    /// How many have failed and are kept.
    pub dead: u64,
    /// What came of jobs within the last five minutes, hour and day: completed, failed, tried again.
    pub came: [[u64; 3]; 3],
}

/// A job that has failed and can be replayed.
#[derive(Clone, Debug)]
pub struct DeadJob {
    /// Its id.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// What held it apart.
    pub lane: String,
    /// Attempts made.
    pub attempt: u32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it failed.
    pub ended_at: Timestamp,
    /// The kind of error.
    pub error_kind: String,
    /// Why it failed.
    pub error: String,
}

/// The times over which it is told what came of jobs.
const WINDOWS: [Duration; 3] = [
    Duration::from_mins(5),
    Duration::from_hours(1),
    Duration::from_hours(24),
];

/// Jobs of a kind that are replayed at once.
const REPLAYED: u32 = 500;

impl Jobs {
    /// Lists the kinds of work with their figures.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_kinds(&self) -> Result<Vec<KindState>, StoreError> {
        let mut tx = self.inner.db.read().await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        let mut kinds: BTreeMap<String, KindState> = BTreeMap::new();
        for (kind, paused_at) in store::list_kinds(&mut tx).await? {
            of(&mut kinds, kind).paused_at = paused_at;
        }
        for (kind, waits) in store::count_queued(&mut tx).await? {
            let state = of(&mut kinds, kind);
            state.queued = waits.queued;
            state.oldest = waits
                .oldest
                .map_or(Duration::ZERO, |oldest| now.since(oldest));
        }
        for (kind, running) in store::count_all_running(&mut tx).await? {
            of(&mut kinds, kind).running = running;
        }
        for (kind, dead) in store::count_dead(&mut tx).await? {
            of(&mut kinds, kind).dead = dead;
        }
        for (place, window) in WINDOWS.into_iter().enumerate() {
            for (kind, came) in store::sum_counts(&mut tx, now.before(window)).await? {
                let Came {
                    completed,
                    failed,
                    retried,
                } = came;
                if let Some(sums) = of(&mut kinds, kind).came.get_mut(place) {
                    *sums = [completed, failed, retried];
                }
            }
        }
        tx.commit().await?;
        Ok(kinds.into_values().collect())
    }

    /// Pauses a kind everywhere: what runs goes on, nothing more begins.
    ///
    /// # Errors
    /// When there is no such kind, or the database fails.
    pub async fn pause_kind(&self, kind: &str, by: &Actor) -> Result<(), JobError> {
        self.set_pause(kind, true, by).await
    }

    /// Lets a kind go on everywhere.
    ///
    /// # Errors
    /// When there is no such kind, or the database fails.
    pub async fn resume_kind(&self, kind: &str, by: &Actor) -> Result<(), JobError> {
        self.set_pause(kind, false, by).await?;
        self.poke();
        Ok(())
    }

    async fn set_pause(&self, kind: &str, pause: bool, by: &Actor) -> Result<(), JobError> {
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        if !store::pause_kind(&mut tx, kind, pause.then_some(now)).await? {
            return Err(JobError::UnknownKind(kind.chars().take(64).collect()));
        }
        let action = if pause {
            Action::JobKindPause
        } else {
            Action::JobKindResume
        };
        let subject = ("job_kind", kind.to_owned());
        self.note(&mut tx, action, subject, None, by).await?;
        Ok(tx.commit().await?)
    }

    /// Adds what was done to the journal, within its transaction.
    async fn note(
        &self,
        tx: &mut Tx,
        action: Action,
        (kind, id): (&'static str, String),
        new: Option<Value>,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let change = Change {
            action,
            org: None,
            subject: (kind, Some(id)),
            old: None,
            new,
        };
        journal::record(tx, self.inner.clock.now(), by, change).await
    }

    /// Lists jobs of a kind that have failed, the newest first, from before an id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_dead(
        &self,
        kind: &str,
        before: Option<JobId>,
        most: u32,
    ) -> Result<Vec<DeadJob>, StoreError> {
        let before = before.map_or_else(|| "\u{10ffff}".to_owned(), |id| id.to_string());
        let mut tx = self.inner.db.read().await?;
        let found = store::list_dead(&mut tx, kind, &before, most).await?;
        tx.commit().await?;
        Ok(found
            .into_iter()
            .map(|dead| DeadJob {
                id: dead.id,
                kind: dead.kind,
                lane: dead.lane,
                attempt: dead.attempt,
                created_at: dead.created_at,
                ended_at: dead.ended_at,
                error_kind: dead.error_kind.unwrap_or_else(|| "bug".to_owned()),
                error: dead.error.unwrap_or_default(),
            })
            .collect())
    }

    /// Makes a job due again that has failed, with all its attempts before it.
    ///
    /// # Errors
    /// When it has not failed, what it was asked for is gone, or the database fails.
    pub async fn replay(&self, id: JobId, by: &Actor) -> Result<(), JobError> {
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        if !store::replay(&mut tx, id, now).await? {
            return Err(JobError::NotDead(id));
        }
        let subject = ("job", id.to_string());
        self.note(&mut tx, Action::JobReplay, subject, None, by)
            .await?;
        tx.commit().await?;
        self.poke();
        Ok(())
    }

    /// Makes the newest jobs of a kind due again that have failed, at most 500; returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replay_kind(&self, kind: &str, by: &Actor) -> Result<u64, JobError> {
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        let mut replayed = 0;
        for dead in store::list_dead(&mut tx, kind, "\u{10ffff}", REPLAYED).await? {
            replayed += u64::from(store::replay(&mut tx, dead.id, now).await?);
        }
        if replayed > 0 {
            let subject = ("job_kind", kind.to_owned());
            let new = Some(json!({"replayed": replayed}));
            self.note(&mut tx, Action::JobReplay, subject, new, by)
                .await?;
        }
        tx.commit().await?;
        self.poke();
        Ok(replayed)
    }

    /// Calls a job of the program's own off, at once.
    ///
    /// # Errors
    /// When there is none that has not ended, or the database fails.
    pub async fn cancel_work(&self, id: JobId) -> Result<(), JobError> {
        let mut tx = self.inner.db.write().await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        let cancelled = store::cancel_work(&mut tx, id, now).await?;
        tx.commit().await?;
        if !cancelled {
            return Err(JobError::HasEnded(id));
        }
        if let Some(held) = self.inner.running.lock().get(&id) {
            held.cancelled.cancel();
        }
        Ok(())
    }
}

fn of(kinds: &mut BTreeMap<String, KindState>, kind: String) -> &mut KindState {
    kinds.entry(kind.clone()).or_insert_with(|| KindState {
        kind,
        ..KindState::default()
    })
}
