//! One running answer: reads its prompt in pieces, then one token at a time, and tells its caller.

use std::time::Duration;

use primitives::{Clock, MonotonicTime};
use tokio::sync::mpsc;

use super::answer::{Answer, Shown};
use super::cache_pool::Remembered;
use crate::backend::{PROMPT_PIECE, Session};
use crate::constraint::Follower;
use crate::error::EngineError;
use crate::generation::{Alternative, GenerationEvent, GenerationStats, StopReason, TokenLogprob};
use crate::request::SamplingParams;
use crate::sampling::{Sampler, log_probabilities};
use crate::tokenizer::Tokenizer;

/// Events that one step may send.
const EVENTS_PER_STEP: usize = 3;

/// What a sequence starts from.
pub(crate) struct Start {
    pub(crate) prompt: Vec<u32>,
    pub(crate) events: mpsc::Sender<GenerationEvent>,
    pub(crate) context: usize,
    pub(crate) sampling: SamplingParams,
    pub(crate) follower: Option<Follower>,
    pub(crate) fresh_seed: u64,
    pub(crate) strip_space: bool,
    pub(crate) load: Duration,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Working,
    /// The caller reads too slowly; nothing was computed.
    Stalled,
    /// Finished, failed or cancelled.
    Over,
}

/// A running answer.
pub(crate) struct Sequence {
    events: mpsc::Sender<GenerationEvent>,
    /// Prompt and answer.
    tokens: Vec<u32>,
    prompt_length: usize,
    cached: usize,
    /// `None` once the computation has failed.
    session: Option<Box<dyn Session>>,
    context: usize,
    most_new: usize,
    sampler: Sampler,
    follower: Option<Follower>,
    logprobs: Option<usize>,
    answer: Answer,
    load: Duration,
    began: MonotonicTime,
    prompt_read: Option<MonotonicTime>,
}

impl Sequence {
    /// Starts with a session that may already have read the prompt's beginning.
    pub(crate) fn start(start: Start, session: Box<dyn Session>, now: MonotonicTime) -> Self {
        let Start {
            prompt,
            events,
            context,
            sampling,
            follower,
            fresh_seed,
            strip_space,
            load,
        } = start;
        Self {
            events,
            prompt_length: prompt.len(),
            tokens: prompt,
            cached: session.len(),
            session: Some(session),
            context,
            most_new: sampling.num_predict.map_or(usize::MAX, |most| {
                usize::try_from(most).unwrap_or(usize::MAX)
            }),
            sampler: Sampler::new(&sampling, fresh_seed),
            follower,
            logprobs: sampling.logprobs.map(usize::from),
            answer: Answer::new(&sampling.stop, strip_space),
            load,
            began: now,
            prompt_read: None,
        }
    }

    /// Reads one piece of the prompt or generates one token.
    pub(crate) fn step(&mut self, tokenizer: &Tokenizer, clock: &dyn Clock) -> Progress {
        if self.events.is_closed() {
            return Progress::Over;
        }
        if self.events.capacity() < EVENTS_PER_STEP {
            return Progress::Stalled;
        }
        self.compute(tokenizer, clock).unwrap_or_else(|error| {
            tracing::error!(%error, "generating failed");
            self.fail(&error.to_string())
        })
    }

    /// Ends the answer with an error.
    pub(crate) fn fail(&mut self, reason: &str) -> Progress {
        self.session = None;
        self.send(GenerationEvent::Failed(EngineError::Failed(
            reason.to_owned(),
        )));
        Progress::Over
    }

    /// Gives up the session with the tokens that it has read, unless the sequence failed.
    pub(crate) fn into_remembered(self) -> Option<Remembered> {
        let session = self.session?;
        let mut tokens = self.tokens;
        tokens.truncate(session.len());
        Some(Remembered { tokens, session })
    }

    fn compute(
        &mut self,
        tokenizer: &Tokenizer,
        clock: &dyn Clock,
    ) -> Result<Progress, EngineError> {
        let Some(session) = self.session.as_mut() else {
            return Ok(Progress::Over);
        };
        let unread = &self.tokens[session.len()..];
        if unread.len() > PROMPT_PIECE {
            session.read(&unread[..PROMPT_PIECE])?;
            return Ok(Progress::Working);
        }
        let mut scores = session.score(unread)?;
        self.prompt_read.get_or_insert_with(|| clock.monotonic());
        if self.most_new == 0 {
            return Ok(self.finish(StopReason::Length, clock));
        }
        let untouched = self.logprobs.map(|_| scores.clone());
        if let Some(follower) = &mut self.follower {
            follower.restrict(&mut scores)?;
        }
        let Some(token) = self.sampler.choose(&mut scores, &self.tokens) else {
            return Err(EngineError::Failed(
                "the model produced no usable scores".to_owned(),
            ));
        };
        if tokenizer.is_end(token) {
            return Ok(self.finish(StopReason::Stop, clock));
        }
        let complete = match &mut self.follower {
            Some(follower) => follower.accept(token)?,
            None => false,
        };
        let logprob = untouched
            .map(|scores| token_logprob(&scores, token, self.logprobs.unwrap_or(0), tokenizer));
        self.tokens.push(token);
        let shown = self.answer.push(tokenizer.pieces().get(token), logprob);
        let stopped = shown.stopped;
        self.show(shown);
        if stopped {
            return Ok(self.end(StopReason::Stop, clock));
        }
        if complete {
            return Ok(self.finish(StopReason::Stop, clock));
        }
        if self.tokens.len() - self.prompt_length >= self.most_new
            || self.tokens.len() >= self.context
        {
            return Ok(self.finish(StopReason::Length, clock));
        }
        Ok(Progress::Working)
    }

    /// Shows what was held back and ends the answer.
    fn finish(&mut self, reason: StopReason, clock: &dyn Clock) -> Progress {
        let rest = self.answer.finish();
        let reason = if rest.stopped {
            StopReason::Stop
        } else {
            reason
        };
        self.show(rest);
        self.end(reason, clock)
    }

    fn end(&mut self, reason: StopReason, clock: &dyn Clock) -> Progress {
        let now = clock.monotonic();
        let prompt_read = self.prompt_read.unwrap_or(now);
        let stats = GenerationStats {
            prompt_tokens: self.prompt_length as u64,
            cached_tokens: self.cached as u64,
            completion_tokens: (self.tokens.len() - self.prompt_length) as u64,
            load: self.load,
            prompt_eval: prompt_read.since(self.began),
            eval: now.since(prompt_read),
        };
        self.send(GenerationEvent::Done { reason, stats });
        Progress::Over
    }

    fn show(&mut self, shown: Shown) {
        if !shown.text.is_empty() || !shown.logprobs.is_empty() {
            self.send(GenerationEvent::Text {
                text: shown.text,
                logprobs: shown.logprobs,
            });
        }
    }

    fn send(&mut self, event: GenerationEvent) {
        // Room was checked before the step; a caller who left meanwhile is noticed at the next one.
        drop(self.events.try_send(event));
    }
}

fn token_logprob(scores: &[f32], token: u32, top: usize, tokenizer: &Tokenizer) -> TokenLogprob {
    let (logprob, alternatives) = log_probabilities(scores, token, top);
    let text = |token: u32| {
        let bytes = tokenizer.pieces().get(token).to_vec();
        (String::from_utf8_lossy(&bytes).into_owned(), bytes)
    };
    let top = alternatives
        .into_iter()
        .map(|(token, logprob)| {
            let (token, bytes) = text(token);
            Alternative {
                token,
                bytes,
                logprob,
            }
        })
        .collect();
    let (token, bytes) = text(token);
    TokenLogprob {
        token,
        bytes,
        logprob,
        top,
    }
}
