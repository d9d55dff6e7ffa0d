//! The domain's entrance: what it works with, and what others see of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use ::store::{Db, Sealer};
use identity::Identity;
use parking_lot::Mutex;
use primitives::{Clock, JobId};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::batches::BatchExecutor;
use crate::config::JobsConfig;
use crate::engine::counts::Counts;
use crate::engine::ends::WorkEnd;
use crate::engine::hold::Held;
use crate::engine::kind::Registered;
use crate::engine::schedule::ScheduleSpec;
use crate::executor::Executor;
use crate::follow::{Bells, MAX_FOLLOWERS};
use crate::metrics::Metrics;
use crate::model::{Job, JobState};
use crate::room::Room;

/// What the domain works with.
pub struct JobsDeps {
    /// Where jobs are kept.
    pub db: Db,
    /// Seals what they hold.
    pub sealer: Arc<Sealer>,
    /// Tells the time, where the database does not.
    pub clock: Arc<dyn Clock>,
    /// Who may.
    pub identity: Identity,
    /// Bounds and patience.
    pub config: JobsConfig,
    /// Who is told of steps.
    pub observer: Option<Observer>,
}

/// Something that happened to a job, told to who watches.
#[derive(Clone, Debug)]
pub struct JobStep<'a> {
    /// The job as it is now.
    pub job: &'a Job,
    /// What happened: a state, or `progress`.
    pub status: &'static str,
}

/// Who is told of steps. Must not wait.
pub type Observer = Arc<dyn Fn(&JobStep<'_>) + Send + Sync>;

/// Durable work. Clones share everything.
#[derive(Clone)]
pub struct Jobs {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identity: Identity,
    pub(crate) config: JobsConfig,
    pub(crate) observer: Option<Observer>,
    pub(crate) executor: OnceLock<Arc<dyn Executor>>,
    pub(crate) metrics: Metrics,
    /// Whether more may be accepted.
    pub(crate) room: Room,
    /// Those who follow a job here.
    pub(crate) bells: Bells,
    pub(crate) followers: Arc<Semaphore>,
    /// Rings when there may be something to claim.
    pub(crate) due: Notify,
    /// Ends runs of this process.
    pub(crate) running: Mutex<HashMap<JobId, Held>>,
    /// This process, as others know it.
    pub(crate) process: String,
    /// What can be carried out.
    pub(crate) kinds: Mutex<BTreeMap<&'static str, Registered>>,
    /// What is enqueued again and again.
    pub(crate) schedules: Mutex<Vec<ScheduleSpec>>,
    /// Who answers the lines of batches.
    pub(crate) batches: OnceLock<Arc<dyn BatchExecutor>>,
    /// Where runs tell what they came to.
    pub(crate) ends: OnceLock<mpsc::Sender<WorkEnd>>,
    /// What came of jobs here, not added up yet.
    pub(crate) counts: Counts,
    /// Rings when other processes are to be told that there may be something to claim.
    pub(crate) wake_others: Notify,
    /// Ends everything that follows.
    pub(crate) closing: CancellationToken,
}

impl Jobs {
    /// Makes the domain; [`work`](Self::work) has it carry jobs out.
    pub fn new(deps: JobsDeps) -> Self {
        Self {
            inner: Arc::new(Inner {
                db: deps.db,
                sealer: deps.sealer,
                clock: deps.clock,
                identity: deps.identity,
                config: deps.config,
                observer: deps.observer,
                executor: OnceLock::new(),
                metrics: Metrics::new(),
                room: Room::default(),
                bells: Bells::default(),
                followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
                due: Notify::new(),
                running: Mutex::default(),
                process: Uuid::new_v4().to_string(),
                kinds: Mutex::default(),
                schedules: Mutex::default(),
                batches: OnceLock::new(),
                ends: OnceLock::new(),
                counts: Counts::default(),
                wake_others: Notify::new(),
                closing: CancellationToken::new(),
            }),
        }
    }

    /// Returns the metrics in the text format, with its end mark.
    pub fn render_metrics(&self) -> String {
        self.inner.metrics.render()
    }

    /// Tells who watches.
    pub(crate) fn tell(&self, job: &Job, status: &'static str) {
        if let Some(observer) = &self.inner.observer {
            observer(&JobStep { job, status });
        }
        self.inner.bells.ring(job.id);
    }

    /// Tells of the state that a job is in now, and counts it where it has ended.
    pub(crate) fn tell_state(&self, job: &Job) {
        if job.state.has_ended() {
            self.inner.metrics.ended(job.state);
            let kind = job.kind.as_str();
            self.inner.counts.note(kind, |came| match job.state {
                JobState::Completed => came.completed += 1,
                _ => came.failed += 1,
            });
        }
        let status = match job.state {
            JobState::Running => "started",
            other => other.as_str(),
        };
        self.tell(job, status);
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}
