//! Following a job: what it puts out, from any point on, over interruptions and restarts. The table is read; a bell only says that there
//! is more to read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use primitives::{Classify as _, JobId};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::model::{ChunkNumber, Job, JobError, Owner};
use crate::seal::{SealedPlace, open};
use crate::store;
use crate::surface::Jobs;
use crate::work::patiently;

/// The most that follow jobs of this process at once.
pub(crate) const MAX_FOLLOWERS: usize = 1_000;
/// How often a job is looked at that is carried out elsewhere.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one answer may go on: then the client asks again, and its credential is looked at again.
const LONGEST: Duration = Duration::from_mins(5);
/// Pieces that are read at once.
const PIECES: u32 = 64;

/// Who is woken when something happens to a job here.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    by_job: Mutex<HashMap<JobId, watch::Sender<()>>>,
}

impl Bells {
    /// Wakes those who follow a job.
    pub(crate) fn ring(&self, id: JobId) {
        if let Some(bell) = self.by_job.lock().get(&id) {
            bell.send_replace(());
        }
    }

    fn hear(&self, id: JobId) -> watch::Receiver<()> {
        let mut by_job = self.by_job.lock();
        by_job
            .entry(id)
            .or_insert_with(|| watch::Sender::new(()))
            .subscribe()
    }

    /// Lets go of the bell that nobody hears any more.
    fn leave(&self, id: JobId) {
        let mut by_job = self.by_job.lock();
        if by_job
            .get(&id)
            .is_some_and(|bell| bell.receiver_count() == 0)
        {
            by_job.remove(&id);
        }
    }
}

/// Something that a follower gets.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The piece of output of this number.
    Piece(ChunkNumber, Value),
    /// The job has ended, with its result where it has one.
    End(Box<Job>, Option<Value>),
}

impl Happening {
    /// Returns the number after which a client goes on that has got this.
    pub(crate) const fn number(&self) -> ChunkNumber {
        match self {
            Self::Piece(number, _) => *number,
            Self::End(job, _) => job.chunks + 1,
        }
    }
}

/// One client that follows a job.
pub(crate) struct Following {
    jobs: Jobs,
    owner: Owner,
    id: JobId,
    after: ChunkNumber,
    ready: VecDeque<Happening>,
    /// Kept in an `Option` so that it is gone before the bell is let go of.
    bell: Option<watch::Receiver<()>>,
    ended: bool,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.bell = None;
        let inner = &self.jobs.inner;
        inner.bells.leave(self.id);
        inner.metrics.followers.dec();
    }
}

impl Jobs {
    /// Begins to follow a job after the piece of number `after`. `None`: it has ended, and the client has got all of it.
    pub(crate) async fn follow(
        &self,
        owner: Owner,
        id: JobId,
        after: ChunkNumber,
    ) -> Result<Option<Following>, JobError> {
        let (job, _) = self.load(owner, id).await?;
        if after > job.chunks {
            if job.state.has_ended() {
                return Ok(None);
            }
            return Err(JobError::Filter(
                "Last-Event-ID is not one of this job's: leave it out".to_owned(),
            ));
        }
        let place = Arc::clone(&self.inner.followers)
            .try_acquire_owned()
            .map_err(|_| JobError::TooManyFollowers(MAX_FOLLOWERS))?;
        self.inner.metrics.followers.inc();
        Ok(Some(Following {
            bell: Some(self.inner.bells.hear(id)),
            jobs: self.clone(),
            owner,
            id,
            after,
            ready: VecDeque::new(),
            ended: false,
            until: Instant::now() + LONGEST,
            _place: place,
        }))
    }
}

impl Following {
    /// Waits for what happens next. `None`: the answer is over; a client that has not got the end asks again.
    pub(crate) async fn next(&mut self) -> Option<Happening> {
        loop {
            if let Some(happening) = self.ready.pop_front() {
                self.after = happening.number();
                return Some(happening);
            }
            if self.ended {
                return None;
            }
            if let Some(bell) = &mut self.bell {
                // What rings from here on is heard after the look.
                bell.mark_unchanged();
            }
            match self.look().await {
                Ok(()) => {}
                Err(JobError::Store(error)) if error.kind().status() == 503 => {}
                Err(error) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "a job is followed no longer"
                    );
                    return None;
                }
            }
            if self.ready.is_empty() && !self.wait().await {
                return None;
            }
        }
    }

    /// Waits until there may be more. `false`: the answer is over.
    async fn wait(&mut self) -> bool {
        let Some(bell) = &mut self.bell else {
            return false;
        };
        let closing = &self.jobs.inner.closing;
        tokio::select! {
            rung = bell.changed() => rung.is_ok(),
            () = sleep(LOOK_EVERY) => true,
            () = sleep_until(self.until) => false,
            () = closing.cancelled() => false,
        }
    }

    /// Reads what there is.
    async fn look(&mut self) -> Result<(), JobError> {
        let inner = &self.jobs.inner;
        let (owner, id, after) = (self.owner, self.id, self.after);
        let found = patiently(async {
            let mut tx = inner.db.read().await?;
            let job = store::find_job(&mut tx, owner, id).await?;
            let pieces = store::chunks_after(&mut tx, id, after, PIECES).await?;
            tx.commit().await?;
            Ok((job, pieces))
        });
        let (job, pieces) = found.await?;
        let Some((job, result)) = job else {
            return Err(JobError::Unknown(id.to_string()));
        };
        let all = pieces.len() < PIECES as usize;
        for (number, sealed) in pieces {
            let piece = open(&inner.sealer, SealedPlace::Output(id, number), &sealed)?;
            self.ready.push_back(Happening::Piece(number, piece));
        }
        if all && job.state.has_ended() {
            let result = result
                .map(|sealed| open(&inner.sealer, SealedPlace::Result(id), &sealed))
                .transpose()?;
            self.ready.push_back(Happening::End(Box::new(job), result));
            self.ended = true;
        }
        Ok(())
    }
}
