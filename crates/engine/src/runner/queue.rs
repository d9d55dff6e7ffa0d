//! Jobs on their way to a model's thread. Callers hold a permit each, which bounds the queue.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use primitives::{MonotonicTime, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::constraint::Constraint;
use crate::error::EngineError;
use crate::generation::GenerationEvent;
use crate::request::{EmbedRequest, Embeddings, GenerateRequest, KeepAlive};

/// How long a thread sleeps between looks at sequences whose readers are slow.
const STALLED_NAP: Duration = Duration::from_millis(2);

/// Something for a model's thread to do.
pub(crate) enum Job {
    Generate(Box<GenerateJob>),
    Embed(EmbedJob),
    Tokenize {
        text: String,
        reply: oneshot::Sender<Result<usize, EngineError>>,
    },
    Load {
        reply: oneshot::Sender<Result<(), EngineError>>,
        keep_alive: KeepAlive,
    },
}

/// A text to generate, with where its events go.
pub(crate) struct GenerateJob {
    pub(crate) request: GenerateRequest,
    pub(crate) constraint: Option<Constraint>,
    pub(crate) events: mpsc::Sender<GenerationEvent>,
    /// Told once the prompt is known to fit.
    pub(crate) accepted: oneshot::Sender<Result<(), EngineError>>,
    pub(crate) submitted: MonotonicTime,
}

/// Texts to embed.
pub(crate) struct EmbedJob {
    pub(crate) request: EmbedRequest,
    pub(crate) reply: oneshot::Sender<Result<Embeddings, EngineError>>,
    pub(crate) submitted: MonotonicTime,
}

impl Job {
    fn fail(self, error: EngineError) {
        match self {
            Self::Generate(job) => drop(job.accepted.send(Err(error))),
            Self::Embed(job) => drop(job.reply.send(Err(error))),
            Self::Tokenize { reply, .. } => drop(reply.send(Err(error))),
            Self::Load { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// How long a thread is willing to wait for jobs.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    /// It has other work.
    None,
    /// It waits for slow readers.
    Stalled,
    /// It has nothing to do, and leaves after this time.
    Idle(Option<Duration>),
}

/// The queue between callers and a model's thread.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    service: Service,
    wish: Wish,
}

/// What the model's thread is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Service {
    /// There is none.
    #[default]
    Absent,
    /// It reads the model into memory.
    Loading,
    /// It serves the queue.
    Ready(Residence),
}

/// How a model is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Residence {
    /// When it leaves if nobody uses it; `None` when it stays.
    pub(crate) expires_at: Option<Timestamp>,
}

/// What the engine wants of the model's thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wish {
    #[default]
    Stay,
    /// Leave as soon as there is nothing to do.
    Unload,
    /// The engine is gone: leave at once.
    Close,
}

impl State {
    fn leave(&mut self) {
        self.service = Service::Absent;
        if self.wish == Wish::Unload {
            self.wish = Wish::Stay;
        }
    }
}

impl Queue {
    /// Adds a job. Returns whether the caller must start a thread.
    #[must_use]
    pub(crate) fn push(&self, job: Job) -> bool {
        let mut state = self.lock();
        state.jobs.push_back(job);
        self.changed.notify_one();
        let absent = state.service == Service::Absent;
        if absent {
            state.service = Service::Loading;
        }
        absent
    }

    /// Takes all jobs, waiting as long as the thread has patience. `None` means that the thread must leave. Callers of the engine see
    /// `residence` meanwhile.
    pub(crate) fn take(&self, patience: Patience, residence: Residence) -> Option<VecDeque<Job>> {
        let mut state = self.lock();
        state.service = Service::Ready(residence);
        let nothing = |state: &mut State| state.jobs.is_empty() && state.wish == Wish::Stay;
        let mut expired = false;
        let idle = matches!(patience, Patience::Idle(_));
        match patience {
            Patience::None => {}
            Patience::Stalled => {
                state = self
                    .changed
                    .wait_timeout_while(state, STALLED_NAP, |state| {
                        state.jobs.is_empty() && state.wish != Wish::Close
                    })
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            Patience::Idle(Some(limit)) => {
                let (after, timeout) = self
                    .changed
                    .wait_timeout_while(state, limit, nothing)
                    .unwrap_or_else(PoisonError::into_inner);
                state = after;
                expired = timeout.timed_out();
            }
            Patience::Idle(None) => {
                state = self
                    .changed
                    .wait_while(state, nothing)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        let unwanted = state.jobs.is_empty() && (state.wish == Wish::Unload || expired);
        if state.wish == Wish::Close || (idle && unwanted) {
            state.leave();
            return None;
        }
        Some(std::mem::take(&mut state.jobs))
    }

    /// Tells how the model is in memory, if it is.
    pub(crate) fn residence(&self) -> Option<Residence> {
        match self.lock().service {
            Service::Ready(residence) => Some(residence),
            Service::Absent | Service::Loading => None,
        }
    }

    /// Asks the thread to leave once it has nothing to do.
    pub(crate) fn unload(&self) {
        let mut state = self.lock();
        if state.service != Service::Absent && state.wish == Wish::Stay {
            state.wish = Wish::Unload;
        }
        self.changed.notify_one();
    }

    /// Makes the thread leave at once and fails what waits.
    pub(crate) fn close(&self) {
        self.lock().wish = Wish::Close;
        self.changed.notify_one();
    }

    /// Fails every waiting job; the thread leaves.
    pub(crate) fn fail_all(&self, error: &EngineError) {
        let jobs = {
            let mut state = self.lock();
            state.leave();
            std::mem::take(&mut state.jobs)
        };
        for job in jobs {
            job.fail(error.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}
