//! The stream of an answer: its events, and the handle whose drop cancels it.

use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::error::EngineError;

/// What a running generation reports.
#[derive(Clone, Debug, PartialEq)]
pub enum GenerationEvent {
    /// More text: whole characters only, never part of a stop text.
    Text {
        /// The text since the last event. May be empty when only log probabilities are reported.
        text: String,
        /// The tokens behind the text, when asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// The answer is complete; the last event.
    Done {
        /// Why it ended.
        reason: StopReason,
        /// What it took.
        stats: GenerationStats,
    },
    /// The answer cannot be completed; the last event.
    Failed(EngineError),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model ended it, or a stop text appeared.
    Stop,
    /// `num_predict` or the context was reached.
    Length,
}

/// What a finished generation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerationStats {
    /// Tokens in the prompt.
    pub prompt_tokens: u64,
    /// How many of them were still in memory from an earlier request.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Loading the model for this request; zero when it was loaded.
    pub load: Duration,
    /// Reading the prompt.
    pub prompt_eval: Duration,
    /// Generating the answer.
    pub eval: Duration,
}

/// A token's log probability and those of its likeliest alternatives.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token's text; bytes that are no character on their own appear as U+FFFD.
    pub token: String,
    /// The token's bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of the probability, before temperature and filters.
    pub logprob: f32,
    /// The likeliest tokens at this place, likeliest first.
    pub top: Vec<Alternative>,
}

/// A token that could have stood in a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// The token's text.
    pub token: String,
    /// The token's bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// A running answer. Dropping it cancels the computation within one token and frees its place in the queue.
#[derive(Debug)]
pub struct Generation {
    events: mpsc::Receiver<GenerationEvent>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Generation {
    pub(crate) fn new(
        events: mpsc::Receiver<GenerationEvent>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            events,
            permit: Some(permit),
        }
    }

    /// Waits for the next event. Returns `None` after the last one. Cancel-safe.
    pub async fn next(&mut self) -> Option<GenerationEvent> {
        self.permit.as_ref()?;
        let event = self.events.recv().await.unwrap_or_else(|| {
            GenerationEvent::Failed(EngineError::Failed(
                "the model was unloaded or its thread ended".to_owned(),
            ))
        });
        if !matches!(event, GenerationEvent::Text { .. }) {
            self.permit = None;
        }
        Some(event)
    }
}
