//! Sessions of finished sequences, kept for prompts that begin the same way.

use crate::backend::{Session, TextModel};
use crate::error::EngineError;

/// The most memory that idle sessions may hold together, in bytes.
const MOST_BYTES: usize = 512 << 20;

/// A session and the tokens that it has read.
pub(crate) struct Remembered {
    pub(crate) tokens: Vec<u32>,
    pub(crate) session: Box<dyn Session>,
}

/// Idle sessions, least recently used first.
pub(crate) struct CachePool {
    idle: Vec<Remembered>,
    most: usize,
}

impl CachePool {
    /// Makes an empty pool for at most `most` sessions.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            idle: Vec::new(),
            most,
        }
    }

    /// Returns a session that has read as much of the prompt's beginning as any here, but never its last token.
    pub(crate) fn take(
        &mut self,
        prompt: &[u32],
        model: &dyn TextModel,
    ) -> Result<Box<dyn Session>, EngineError> {
        let usable = prompt.len().saturating_sub(1);
        let shared = |remembered: &Remembered| {
            remembered
                .tokens
                .iter()
                .zip(&prompt[..usable])
                .take_while(|(a, b)| a == b)
                .count()
        };
        let best = self
            .idle
            .iter()
            .map(shared)
            .enumerate()
            .max_by_key(|(_, shared)| *shared);
        let Some((place, shared)) = best.filter(|(_, shared)| *shared > 0) else {
            return model.start();
        };
        // A session of which little is shared belongs to another conversation: that keeps it, and this one gets a copy of the start.
        if shared * 2 < self.idle[place].tokens.len() {
            let copy = self.idle[place].session.fork(shared);
            return copy.or_else(|_| model.start());
        }
        let mut session = self.idle.remove(place).session;
        session.truncate(shared);
        Ok(session)
    }

    /// Keeps the session of a finished sequence.
    pub(crate) fn put(&mut self, remembered: Option<Remembered>) {
        self.idle
            .extend(remembered.filter(|remembered| !remembered.tokens.is_empty()));
        let mut bytes: usize = self
            .idle
            .iter()
            .map(|remembered| remembered.session.size_bytes())
            .sum();
        while self.idle.len() > self.most || bytes > MOST_BYTES {
            bytes -= self.idle.remove(0).session.size_bytes();
        }
    }
}
