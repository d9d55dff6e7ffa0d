//! The most that prefix caches could have saved: two caches that every request of the fleet shares.

use super::trace::BLOCK_TOKENS;
use crate::lru::LruSet;

/// Blocks that the boundless cache remembers: enough for 8 billion tokens, about half a gibibyte of memory.
const BOUNDLESS: usize = 1 << 24;

/// Counts the tokens that a cache without bound and one with the memory of the whole fleet would have had.
#[derive(Debug)]
pub(super) struct Oracle {
    boundless: LruSet,
    bounded: LruSet,
    pub(super) boundless_tokens: u64,
    pub(super) bounded_tokens: u64,
}

impl Oracle {
    /// Makes the oracle of a fleet whose caches hold `blocks` together.
    pub(super) fn new(blocks: u64) -> Self {
        Self {
            boundless: LruSet::new(BOUNDLESS),
            bounded: LruSet::new(usize::try_from(blocks).unwrap_or(usize::MAX)),
            boundless_tokens: 0,
            bounded_tokens: 0,
        }
    }

    pub(super) fn observe(&mut self, blocks: &[u64], prompt_tokens: u32) {
        self.boundless_tokens +=
            u64::from(read_through(&mut self.boundless, blocks, prompt_tokens));
        self.bounded_tokens += u64::from(read_through(&mut self.bounded, blocks, prompt_tokens));
    }
}

/// Reads a prompt through a cache: returns the tokens that it had, and leaves all blocks in it.
///
/// The beginning is touched last: it is what others share, and the rest is of no use without it.
pub(super) fn read_through(cache: &mut LruSet, blocks: &[u64], prompt_tokens: u32) -> u32 {
    let hits = blocks.iter().take_while(|b| cache.contains(**b)).count() as u32;
    for block in blocks.iter().rev() {
        cache.touch(*block);
    }
    // The last token is always read: it begins the answer.
    (hits * BLOCK_TOKENS).min(prompt_tokens.saturating_sub(1))
}
