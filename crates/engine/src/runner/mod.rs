//! The thread that owns one model while it is in memory: it takes jobs, lets sequences take turns token by token, and leaves when idle.

mod answer;
mod cache_pool;
mod embedding;
mod queue;
mod sequence;

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use primitives::{Clock, MonotonicTime};
use tokio::sync::mpsc;

pub(crate) use queue::{EmbedJob, GenerateJob, Job, Queue, Residence};

use crate::backend::Backend;
use crate::constraint::{Constraint, Follower, Grammars};
use crate::error::EngineError;
use crate::file::{Refusal, Source};
use crate::generation::GenerationEvent;
use crate::loaded::{Body, Loaded};
use crate::request::{GenerateRequest, KeepAlive, Prompt};
use cache_pool::CachePool;
use embedding::Embedding;
use queue::Patience;
use sequence::{Progress, Sequence, Start};

/// What every runner of an engine needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_sequences: usize,
    pub(crate) max_context: usize,
    pub(crate) backend: Backend,
    pub(crate) threads: usize,
    pub(crate) idle_unload: Option<Duration>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Starts the thread that serves `queue` with the model at `source`.
pub(crate) fn start(name: &str, source: Source, queue: &Arc<Queue>, limits: Limits) {
    let model = name.to_owned();
    let jobs = queue.clone();
    let spawned = std::thread::Builder::new()
        .name("remuda-model".to_owned())
        .spawn(move || {
            // A panic in here must not leave callers waiting for a thread that is gone.
            let served = catch_unwind(AssertUnwindSafe(|| serve(&model, &source, &jobs, &limits)));
            if served.is_err() {
                tracing::error!(%model, "the model's thread panicked");
                jobs.fail_all(&EngineError::Failed(
                    "the model's thread panicked".to_owned(),
                ));
            }
        });
    if let Err(error) = spawned {
        tracing::error!(model = name, %error, "cannot start a thread for the model");
        queue.fail_all(&EngineError::Failed(
            "cannot start a thread for the model".to_owned(),
        ));
    }
}

fn serve(name: &str, source: &Source, queue: &Queue, limits: &Limits) {
    let began = limits.clock.monotonic();
    let loaded = match Loaded::load(source, limits) {
        Ok(loaded) => loaded,
        Err(Refusal(reason)) => {
            tracing::error!(model = name, %reason, "cannot load the model");
            queue.fail_all(&EngineError::Failed(format!(
                "cannot load the model: {reason}"
            )));
            return;
        }
    };
    let ready = limits.clock.monotonic();
    tracing::info!(
        model = name,
        took_ms = ready.since(began).as_millis() as u64,
        "model loaded"
    );
    let mut runner = Runner {
        loaded,
        ready,
        limits,
        keep: limits.idle_unload,
        waiting: VecDeque::new(),
        active: Vec::new(),
        embeddings: VecDeque::new(),
        pool: CachePool::new(limits.max_sequences),
        grammars: None,
    };
    while let Some(jobs) = queue.take(runner.patience(), runner.residence()) {
        for job in jobs {
            runner.accept(job);
        }
        runner.turn();
    }
    tracing::info!(model = name, "model unloaded");
}

struct Runner<'a> {
    loaded: Loaded,
    ready: MonotonicTime,
    limits: &'a Limits,
    /// How long the model stays when nobody uses it, by the last request; `None` for as long as the engine runs.
    keep: Option<Duration>,
    waiting: VecDeque<Start>,
    active: Vec<(Sequence, Progress)>,
    embeddings: VecDeque<Embedding>,
    pool: CachePool,
    /// Made for the first constrained answer.
    grammars: Option<Grammars>,
}

impl Runner<'_> {
    /// Tells how long the queue may be waited for.
    fn patience(&self) -> Patience {
        if self.active.is_empty() && self.waiting.is_empty() && self.embeddings.is_empty() {
            Patience::Idle(self.keep)
        } else if self.embeddings.is_empty()
            && self
                .active
                .iter()
                .all(|(_, progress)| *progress == Progress::Stalled)
        {
            Patience::Stalled
        } else {
            Patience::None
        }
    }

    fn residence(&self) -> Residence {
        let now = self.limits.clock.now();
        Residence {
            expires_at: self.keep.map(|keep| now.after(keep)),
        }
    }

    fn keep(&mut self, keep_alive: KeepAlive) {
        self.keep = match keep_alive {
            KeepAlive::AsConfigured => self.limits.idle_unload,
            KeepAlive::For(time) => Some(time),
            KeepAlive::Forever => None,
        };
    }

    fn accept(&mut self, job: Job) {
        match job {
            Job::Generate(job) => {
                self.keep(job.request.keep_alive);
                self.accept_generation(*job);
            }
            Job::Embed(job) => {
                self.keep(job.request.keep_alive);
                self.accept_embedding(job);
            }
            Job::Tokenize { text, reply } => answer(
                reply,
                self.loaded.tokenizer.encode(&text).map(|ids| ids.len()),
            ),
            Job::Load { reply, keep_alive } => {
                self.keep(keep_alive);
                answer(reply, Ok(()));
            }
        }
    }

    fn accept_generation(&mut self, job: GenerateJob) {
        let GenerateJob {
            request,
            constraint,
            events,
            accepted,
            submitted,
        } = job;
        let follower = constraint.map(|constraint| self.follow(&request, &constraint));
        let start = follower
            .transpose()
            .and_then(|follower| self.prepare(&request, follower, events, submitted));
        match start {
            Ok(start) => {
                if accepted.send(Ok(())).is_ok() {
                    self.waiting.push_back(start);
                }
            }
            Err(error) => answer(accepted, Err(error)),
        }
    }

    fn follow(
        &mut self,
        request: &GenerateRequest,
        constraint: &Constraint,
    ) -> Result<Follower, EngineError> {
        if matches!(&request.prompt, Prompt::Chat(chat) if chat.continue_last) {
            return Err(EngineError::Unsupported(
                "a constrained answer cannot continue an unfinished one".to_owned(),
            ));
        }
        let grammars = match self.grammars.take() {
            Some(grammars) => grammars,
            None => Grammars::new(&self.loaded.tokenizer)?,
        };
        self.grammars.insert(grammars).follow(constraint)
    }

    fn prepare(
        &self,
        request: &GenerateRequest,
        follower: Option<Follower>,
        events: mpsc::Sender<GenerationEvent>,
        submitted: MonotonicTime,
    ) -> Result<Start, EngineError> {
        let Body::Decoder { model, template } = &self.loaded.body else {
            return Err(EngineError::Unsupported(
                "this model makes embeddings and cannot generate text".to_owned(),
            ));
        };
        let tokenizer = &self.loaded.tokenizer;
        let (text, opens) = match &request.prompt {
            Prompt::Chat(chat) => (template.render(chat)?, !chat.continue_last),
            Prompt::Raw(text) => (text.clone(), false),
        };
        let prompt = tokenizer.encode(&text)?;
        if prompt.is_empty() {
            return Err(EngineError::Invalid("the prompt is empty".to_owned()));
        }
        let most = model.context().min(self.limits.max_context);
        let context = request
            .num_ctx
            .map_or(most, |context| context.clamp(1, most));
        if prompt.len() >= context {
            return Err(EngineError::ContextOverflow {
                prompt: prompt.len(),
                context,
            });
        }
        Ok(Start {
            prompt,
            events,
            context,
            sampling: request.sampling.clone(),
            follower,
            fresh_seed: fresh_seed(),
            strip_space: opens && tokenizer.leads_with_space(),
            load: self.ready.since(submitted),
        })
    }

    fn accept_embedding(&mut self, job: EmbedJob) {
        let most = match &self.loaded.body {
            Body::Decoder { model, .. } => model.context(),
            Body::Encoder(model) => model.spec().context,
        };
        let context = most.min(self.limits.max_context);
        let load = self.ready.since(job.submitted);
        let now = self.limits.clock.monotonic();
        match Embedding::prepare(&job.request, &self.loaded.tokenizer, context, load, now) {
            Ok(work) => self.embeddings.push_back(work.replying_to(job.reply)),
            Err(error) => answer(job.reply, Err(error)),
        }
    }

    /// Gives every sequence one turn, and one embedding text a turn.
    fn turn(&mut self) {
        self.admit();
        let clock = self.limits.clock.as_ref();
        for (sequence, progress) in &mut self.active {
            let step = catch_unwind(AssertUnwindSafe(|| {
                sequence.step(&self.loaded.tokenizer, clock)
            }));
            *progress = step.unwrap_or_else(|_| sequence.fail("the computation panicked"));
        }
        for place in (0..self.active.len()).rev() {
            if self.active[place].1 == Progress::Over {
                let (sequence, _) = self.active.swap_remove(place);
                self.pool.put(sequence.into_remembered());
            }
        }
        if let Some(mut work) = self.embeddings.pop_front() {
            let done = catch_unwind(AssertUnwindSafe(|| work.step(&self.loaded.body, clock)));
            match done {
                Ok(true) => {}
                Ok(false) => self.embeddings.push_back(work),
                Err(_) => work.fail("the computation panicked"),
            }
        }
    }

    fn admit(&mut self) {
        let Body::Decoder { model, .. } = &self.loaded.body else {
            return;
        };
        while self.active.len() < self.limits.max_sequences {
            let Some(start) = self.waiting.pop_front() else {
                return;
            };
            if start.events.is_closed() {
                continue;
            }
            match self.pool.take(&start.prompt, model.as_ref()) {
                Ok(session) => {
                    let now = self.limits.clock.monotonic();
                    let sequence = Sequence::start(start, session, now);
                    self.active.push((sequence, Progress::Working));
                }
                // The stream is new: there is room for its only event.
                Err(error) => drop(start.events.try_send(GenerationEvent::Failed(error))),
            }
        }
    }
}

/// Answers a caller who may have gone away meanwhile.
fn answer<T>(reply: tokio::sync::oneshot::Sender<T>, value: T) {
    drop(reply.send(value));
}

fn fresh_seed() -> u64 {
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}
