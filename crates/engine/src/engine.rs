//! The async front: finds the model, takes a place in its queue, hands the work to its thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use primitives::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::card::{LoadReport, ModelCard};
use crate::catalogue::{inspect_all, normalised_name};
use crate::config::EngineConfig;
use crate::constraint::Constraint;
use crate::error::EngineError;
use crate::file::Source;
use crate::generation::Generation;
use crate::request::{EmbedRequest, Embeddings, GenerateRequest, KeepAlive};
use crate::runner::{EmbedJob, GenerateJob, Job, Limits, Queue, start};
use crate::threads::compute_threads;

/// Events that wait for a slow reader before its sequence pauses.
const EVENT_BUFFER: usize = 32;

/// The embedded engine. Clones share the same models; the last one to go stops the threads.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    models: BTreeMap<String, Model>,
    limits: Limits,
}

#[derive(Debug)]
struct Model {
    card: ModelCard,
    source: Source,
    queue: Arc<Queue>,
    places: Arc<Semaphore>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        for model in self.models.values() {
            model.queue.close();
        }
    }
}

impl Engine {
    /// Checks the configured files and starts serving the sound ones. Reads headers only, so it may block for a moment per file.
    pub fn start(config: &EngineConfig) -> (Self, Vec<LoadReport>) {
        let (catalogue, reports) = inspect_all(config);
        let max_sequences = config.max_sequences.max(1);
        let places = max_sequences
            .saturating_add(config.max_waiting)
            .min(Semaphore::MAX_PERMITS);
        let models = catalogue
            .into_iter()
            .map(|(name, (card, source))| {
                let places = Arc::new(Semaphore::new(places));
                (
                    name,
                    Model {
                        card,
                        source,
                        queue: Arc::default(),
                        places,
                    },
                )
            })
            .collect();
        let limits = Limits {
            max_sequences,
            max_context: config.max_context.max(1),
            backend: config.backend,
            threads: compute_threads(config.threads),
            idle_unload: config.idle_unload,
            clock: config.clock.clone(),
        };
        (
            Self {
                shared: Arc::new(Shared { models, limits }),
            },
            reports,
        )
    }

    /// Lists the served models, sorted by name.
    pub fn models(&self) -> Vec<ModelCard> {
        let card = |model: &Model| {
            let residence = model.queue.residence();
            ModelCard {
                loaded: residence.is_some(),
                expires_at: residence.and_then(|residence| residence.expires_at),
                ..model.card.clone()
            }
        };
        self.shared.models.values().map(card).collect()
    }

    /// Starts generating. Returns once the prompt is read into tokens, which may include loading the model.
    pub async fn generate(&self, request: GenerateRequest) -> Result<Generation, EngineError> {
        self.generate_constrained(request, None).await
    }

    /// Starts generating an answer that must have a form. A schema that cannot be followed is [`EngineError::Invalid`], with the reason;
    /// an answer that ends by its length may be cut short of the form.
    pub async fn generate_constrained(
        &self,
        request: GenerateRequest,
        constraint: Option<Constraint>,
    ) -> Result<Generation, EngineError> {
        let model = self.find(&request.model)?;
        request.sampling.check()?;
        let place = model.take_place()?;
        let (events, receiver) = mpsc::channel(EVENT_BUFFER);
        let (accepted, outcome) = oneshot::channel();
        let submitted = self.clock().monotonic();
        self.submit(
            model,
            Job::Generate(Box::new(GenerateJob {
                request,
                constraint,
                events,
                accepted,
                submitted,
            })),
        );
        outcome.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Generation::new(receiver, place))
    }

    /// Embeds texts. A generating model embeds as well, with the mean of its last hidden states.
    pub async fn embed(&self, request: EmbedRequest) -> Result<Embeddings, EngineError> {
        let model = self.find(&request.model)?;
        if request.inputs.len() > EmbedRequest::MAX_INPUTS {
            return Err(EngineError::Invalid(format!(
                "one request may embed at most {} texts, not {}",
                EmbedRequest::MAX_INPUTS,
                request.inputs.len()
            )));
        }
        let place = model.take_place()?;
        let (reply, outcome) = oneshot::channel();
        let submitted = self.clock().monotonic();
        self.submit(
            model,
            Job::Embed(EmbedJob {
                request,
                reply,
                submitted,
            }),
        );
        let embeddings = outcome.await.unwrap_or_else(|_| Err(gone()));
        drop(place);
        embeddings
    }

    /// Counts the tokens of a text. Loads the model if needed.
    pub async fn tokenize(&self, model: &str, text: String) -> Result<usize, EngineError> {
        self.ask(model, |reply| Job::Tokenize { text, reply }).await
    }

    /// Loads a model into memory unless it is there, and says how long it stays.
    pub async fn load(&self, model: &str, keep_alive: KeepAlive) -> Result<(), EngineError> {
        self.ask(model, |reply| Job::Load { reply, keep_alive })
            .await
    }

    /// Takes a model out of memory once its accepted requests are finished.
    pub fn unload(&self, model: &str) -> Result<(), EngineError> {
        self.find(model)?.queue.unload();
        Ok(())
    }

    async fn ask<T>(
        &self,
        model: &str,
        job: impl FnOnce(oneshot::Sender<Result<T, EngineError>>) -> Job,
    ) -> Result<T, EngineError> {
        let model = self.find(model)?;
        let place = model.take_place()?;
        let (reply, outcome) = oneshot::channel();
        self.submit(model, job(reply));
        let answer = outcome.await.unwrap_or_else(|_| Err(gone()));
        drop(place);
        answer
    }

    fn find(&self, name: &str) -> Result<&Model, EngineError> {
        self.shared
            .models
            .get(&normalised_name(name))
            .ok_or_else(|| EngineError::UnknownModel(name.to_owned()))
    }

    fn submit(&self, model: &Model, job: Job) {
        if model.queue.push(job) {
            start(
                &model.card.name,
                model.source.clone(),
                &model.queue,
                self.shared.limits.clone(),
            );
        }
    }

    fn clock(&self) -> &dyn Clock {
        self.shared.limits.clock.as_ref()
    }
}

impl Model {
    fn take_place(&self) -> Result<OwnedSemaphorePermit, EngineError> {
        self.places
            .clone()
            .try_acquire_owned()
            .map_err(|_| EngineError::Busy(self.card.name.clone()))
    }
}

fn gone() -> EngineError {
    EngineError::Failed("the model's thread ended".to_owned())
}
