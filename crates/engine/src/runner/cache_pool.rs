//! Caches of finished sequences, kept for prompts that begin the same way.

use candle_core::Result;

use crate::model::cache::KvCache;
use crate::model::spec::DecoderSpec;

/// The most memory that idle caches may hold together, in bytes.
const MOST_BYTES: usize = 512 << 20;

/// A cache and the tokens that it has read.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) tokens: Vec<u32>,
    pub(crate) cache: KvCache,
}

/// Idle caches, least recently used first.
#[derive(Debug)]
pub(crate) struct CachePool {
    idle: Vec<Remembered>,
    most: usize,
}

impl CachePool {
    /// Makes an empty pool for at most `most` caches.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            idle: Vec::new(),
            most,
        }
    }

    /// Returns a cache that has read as much of the prompt's beginning as any here, but never its last token.
    pub(crate) fn take(&mut self, prompt: &[u32], spec: &DecoderSpec) -> KvCache {
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
            return KvCache::new(spec);
        };
        // A cache of which little is shared belongs to another conversation: that keeps it, and this one gets a copy of the start.
        if shared * 2 < self.idle[place].tokens.len() {
            let copy: Result<KvCache> = self.idle[place].cache.fork(shared);
            return copy.unwrap_or_else(|_| KvCache::new(spec));
        }
        let mut cache = self.idle.remove(place).cache;
        cache.truncate(shared);
        cache
    }

    /// Keeps the cache of a finished sequence.
    pub(crate) fn put(&mut self, remembered: Option<Remembered>) {
        self.idle
            .extend(remembered.filter(|remembered| !remembered.tokens.is_empty()));
        let mut bytes: usize = self
            .idle
            .iter()
            .map(|remembered| remembered.cache.size_bytes())
            .sum();
        while self.idle.len() > self.most || bytes > MOST_BYTES {
            bytes -= self.idle.remove(0).cache.size_bytes();
        }
    }
}
