//! One running answer: reads its prompt in pieces, then one token at a time, and tells its caller.

use std::time::Duration;

use primitives::{Clock, MonotonicTime};
use tokio::sync::mpsc;

use super::answer::{Answer, Shown};
use super::cache_pool::Remembered;
use crate::error::EngineError;
use crate::generation::{Alternative, GenerationEvent, GenerationStats, StopReason, TokenLogprob};
use crate::model::cache::KvCache;
use crate::model::decoder::Decoder;
use crate::request::SamplingParams;
use crate::sampling::{Sampler, log_probabilities};
use crate::tokenizer::Tokenizer;

/// Prompt tokens read at a time: a cancelled request computes no further than this.
pub(crate) const PROMPT_PIECE: usize = 32;
/// Events that one step may send.
const EVENTS_PER_STEP: usize = 3;

/// What a sequence starts from.
pub(crate) struct Start {
    pub(crate) prompt: Vec<u32>,
    pub(crate) events: mpsc::Sender<GenerationEvent>,
    pub(crate) context: usize,
    pub(crate) sampling: SamplingParams,
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
    cache: Option<KvCache>,
    context: usize,
    most_new: usize,
    sampler: Sampler,
    logprobs: Option<usize>,
    answer: Answer,
    load: Duration,
    began: MonotonicTime,
    prompt_read: Option<MonotonicTime>,
}

impl Sequence {
    /// Starts with a cache that may already hold the prompt's beginning.
    pub(crate) fn start(start: Start, cache: KvCache, now: MonotonicTime) -> Self {
        let Start {
            prompt,
            events,
            context,
            sampling,
            fresh_seed,
            strip_space,
            load,
        } = start;
        Self {
            events,
            prompt_length: prompt.len(),
            tokens: prompt,
            cached: cache.len(),
            cache: Some(cache),
            context,
            most_new: sampling.num_predict.map_or(usize::MAX, |most| {
                usize::try_from(most).unwrap_or(usize::MAX)
            }),
            sampler: Sampler::new(&sampling, fresh_seed),
            logprobs: sampling.logprobs.map(usize::from),
            answer: Answer::new(&sampling.stop, strip_space),
            load,
            began: now,
            prompt_read: None,
        }
    }

    /// Reads one piece of the prompt or generates one token.
    pub(crate) fn step(
        &mut self,
        model: &mut Decoder,
        tokenizer: &Tokenizer,
        clock: &dyn Clock,
    ) -> Progress {
        if self.events.is_closed() {
            return Progress::Over;
        }
        if self.events.capacity() < EVENTS_PER_STEP {
            return Progress::Stalled;
        }
        self.compute(model, tokenizer, clock)
            .unwrap_or_else(|error| {
                tracing::error!(%error, "generating failed");
                self.fail(&error.to_string())
            })
    }

    /// Ends the answer with an error.
    pub(crate) fn fail(&mut self, reason: &str) -> Progress {
        self.cache = None;
        self.send(GenerationEvent::Failed(EngineError::Failed(
            reason.to_owned(),
        )));
        Progress::Over
    }

    /// Gives up the cache with the tokens that it has read, unless the sequence failed.
    pub(crate) fn into_cache(self) -> Option<Remembered> {
        let cache = self.cache?;
        let mut tokens = self.tokens;
        tokens.truncate(cache.len());
        Some(Remembered { tokens, cache })
    }

    fn compute(
        &mut self,
        model: &mut Decoder,
        tokenizer: &Tokenizer,
        clock: &dyn Clock,
    ) -> candle_core::Result<Progress> {
        let Some(cache) = self.cache.as_mut() else {
            return Ok(Progress::Over);
        };
        let read = cache.len();
        let until = self.tokens.len().min(read + PROMPT_PIECE);
        let hidden = model.read(&self.tokens[read..until], cache)?;
        if until < self.tokens.len() {
            return Ok(Progress::Working);
        }
        self.prompt_read.get_or_insert_with(|| clock.monotonic());
        if self.most_new == 0 {
            return Ok(self.finish(StopReason::Length, clock));
        }
        let mut scores = model.scores(&hidden)?;
        let untouched = self.logprobs.map(|_| scores.clone());
        let Some(token) = self.sampler.choose(&mut scores, &self.tokens) else {
            candle_core::bail!("the model produced no usable scores");
        };
        if tokenizer.is_end(token) {
            return Ok(self.finish(StopReason::Stop, clock));
        }
        let logprob = untouched
            .map(|scores| token_logprob(&scores, token, self.logprobs.unwrap_or(0), tokenizer));
        self.tokens.push(token);
        let shown = self.answer.push(tokenizer.pieces().get(token), logprob);
        let stopped = shown.stopped;
        self.show(shown);
        if stopped {
            return Ok(self.end(StopReason::Stop, clock));
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
