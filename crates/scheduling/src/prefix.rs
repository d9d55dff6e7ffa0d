//! Which prompt prefixes a node probably has in its cache, learned from where earlier prompts went.

use std::collections::HashMap;

use primitives::NodeId;

use crate::holders::Holders;
use crate::lru::{LruSet, Touched};

/// Bytes of raw prompt in one block: about 64 tokens of English.
pub const BLOCK_BYTES: usize = 256;
/// The most blocks of one prompt that are looked at: the first 64 KiB decide affinity.
pub const MAX_BLOCKS: usize = 256;

/// Hashes the prompt's full blocks, each with everything before it, into `out`; the model is part of every hash.
///
/// Two prompts have the same hash at a position when they are equal up to the end of that block. `seed` should be secret
/// and the same for the life of the index, so that nobody can make prompts that look alike.
pub fn block_hashes(seed: u64, model: &str, prompt: &[u8], out: &mut Vec<u64>) {
    out.clear();
    let mut chain = absorb(seed, model.as_bytes());
    for block in prompt.chunks_exact(BLOCK_BYTES).take(MAX_BLOCKS) {
        chain = absorb(chain, block);
        out.push(chain);
    }
}

/// Folds `bytes` into `state`, eight at a time. Not a cryptographic hash: a wrong match costs one badly chosen node.
fn absorb(state: u64, bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(ODD);
        (product as u64 ^ (product >> 64) as u64).wrapping_add(ODD)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words
        .iter()
        .fold(state, |state, word| fold(state, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    fold(fold(state, u64::from_le_bytes(last)), bytes.len() as u64)
}

/// The most blocks remembered for all nodes together: about 50 MiB. A large fleet shares them.
const TOTAL_CAPACITY: usize = 32 * PrefixIndex::DEFAULT_CAPACITY;

/// What is remembered of one node.
#[derive(Clone, Debug)]
struct Remembered {
    blocks: LruSet,
    /// How many blocks its cache holds, where that is known.
    told: Option<usize>,
}

/// Remembers, per node, the blocks of the prompts that went there: as many as its cache holds where that is known, the default
/// otherwise. The least recently used go first, as they do in the caches of the servers.
///
/// Nodes have places, small numbers that stay the same while a node is remembered, so that all warm nodes of a prompt are found
/// in one go ([`warm_places`](Self::warm_places)).
#[derive(Clone, Debug)]
pub struct PrefixIndex {
    capacity: usize,
    places: HashMap<NodeId, u32>,
    nodes: Vec<Option<Remembered>>,
    free: Vec<u32>,
    holders: Holders,
}

impl PrefixIndex {
    /// Blocks remembered per node by default: about 2 million tokens of prompts, 1.5 MiB of memory.
    pub const DEFAULT_CAPACITY: usize = 32_768;

    /// Makes an empty index that remembers at most `capacity` blocks per node (at least one prompt's worth).
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(MAX_BLOCKS),
            places: HashMap::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            holders: Holders::default(),
        }
    }

    /// Notes how many blocks a node's cache holds, as it told.
    pub fn set_capacity(&mut self, node: NodeId, blocks: usize) {
        let place = self.place(node);
        if let Some(Some(remembered)) = self.nodes.get_mut(place as usize) {
            remembered.told = Some(blocks);
        }
        self.resize_all(self.places.len());
    }

    /// Returns a node's place, which it gets at first use and keeps until it is forgotten.
    pub fn place(&mut self, node: NodeId) -> u32 {
        if let Some(place) = self.places.get(&node) {
            return *place;
        }
        // Everybody's share gets smaller by the newcomer's.
        let count = self.places.len() + 1;
        self.resize_all(count);
        let remembered = Some(Remembered {
            blocks: LruSet::new(share(self.capacity, count)),
            told: None,
        });
        let place = if let Some(place) = self.free.pop() {
            if let Some(slot) = self.nodes.get_mut(place as usize) {
                *slot = remembered;
            }
            place
        } else {
            self.nodes.push(remembered);
            self.nodes.len() as u32 - 1
        };
        self.places.insert(node, place);
        place
    }

    /// Notes that a prompt with these blocks went to `node`.
    pub fn insert(&mut self, node: NodeId, blocks: &[u64]) {
        if blocks.is_empty() {
            return;
        }
        let place = self.place(node);
        let Some(Some(remembered)) = self.nodes.get_mut(place as usize) else {
            return;
        };
        // The beginning is touched last: the rest of a prefix is of no use without it.
        for block in blocks.iter().take(MAX_BLOCKS).rev() {
            match remembered.blocks.touch(*block) {
                Touched::Known => continue,
                Touched::Added => {}
                Touched::InPlaceOf(gone) => self.holders.remove(gone, place),
            }
            self.holders.add(*block, place);
        }
    }

    /// Returns how many leading blocks `node` probably has in its cache.
    pub fn leading_hits(&self, node: NodeId, blocks: &[u64]) -> u32 {
        let Some(remembered) = self.remembered(node) else {
            return 0;
        };
        blocks
            .iter()
            .take(MAX_BLOCKS)
            .take_while(|block| remembered.blocks.contains(**block))
            .count() as u32
    }

    /// Lists into `out` the [places](Self::place) of all nodes that probably have the beginning of a prompt in their cache, each with
    /// how many leading blocks. Costs about as much for a thousand nodes as [`leading_hits`](Self::leading_hits) for one.
    pub fn warm_places(&self, blocks: &[u64], out: &mut Vec<(u32, u32)>) {
        let looked_at = blocks.get(..MAX_BLOCKS).unwrap_or(blocks);
        self.holders.leading(looked_at, out);
    }

    /// Forgets a node: it was removed, or restarted with an empty cache.
    pub fn remove_node(&mut self, node: NodeId) {
        let Some(place) = self.places.remove(&node) else {
            return;
        };
        let remembered = self.nodes.get_mut(place as usize).and_then(Option::take);
        for block in remembered.iter().flat_map(|r| r.blocks.keys()) {
            self.holders.remove(block, place);
        }
        self.free.push(place);
    }

    /// Forgets all nodes that `keep` does not want.
    pub fn retain_nodes(&mut self, mut keep: impl FnMut(NodeId) -> bool) {
        let gone: Vec<NodeId> = self
            .places
            .keys()
            .copied()
            .filter(|node| !keep(*node))
            .collect();
        for node in gone {
            self.remove_node(node);
        }
    }

    /// Returns how many blocks are remembered for `node`.
    pub fn len(&self, node: NodeId) -> usize {
        self.remembered(node)
            .map_or(0, |remembered| remembered.blocks.len())
    }

    fn remembered(&self, node: NodeId) -> Option<&Remembered> {
        let place = *self.places.get(&node)?;
        self.nodes.get(place as usize)?.as_ref()
    }

    /// Gives every node what it may have when `count` nodes share the total.
    fn resize_all(&mut self, count: usize) {
        let most = share(usize::MAX, count);
        let usual = share(self.capacity, count);
        for (remembered, place) in self.nodes.iter_mut().zip(0..) {
            let Some(remembered) = remembered else {
                continue;
            };
            let capacity = remembered.told.map_or(usual, |told| told.min(most));
            for gone in remembered.blocks.resize(capacity) {
                self.holders.remove(gone, place);
            }
        }
    }
}

impl Default for PrefixIndex {
    fn default() -> Self {
        Self::new(Self::DEFAULT_CAPACITY)
    }
}

/// Returns how many of at most `capacity` blocks each of `nodes` nodes may have: at least one prompt's worth.
fn share(capacity: usize, nodes: usize) -> usize {
    (TOTAL_CAPACITY / nodes.max(1)).clamp(MAX_BLOCKS, capacity)
}

#[cfg(test)]
mod tests {
    use primitives::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn node(n: i64) -> NodeId {
        NodeId::generate(Timestamp::from_micros(n))
    }

    fn hashes(prompt: &[u8]) -> Vec<u64> {
        let mut out = Vec::new();
        block_hashes(1, "m", prompt, &mut out);
        out
    }

    #[test]
    fn a_longer_conversation_shares_the_blocks_of_its_beginning() {
        let first = vec![b'a'; 4 * BLOCK_BYTES + 10];
        let mut second = first.clone();
        second.extend_from_slice(&[b'b'; 3 * BLOCK_BYTES]);
        let (first, second) = (hashes(&first), hashes(&second));
        assert_eq!((first.len(), second.len()), (4, 7));
        let (a, b) = (node(1), node(2));
        let mut index = PrefixIndex::default();
        index.insert(a, &first);
        assert_eq!(index.leading_hits(a, &second), 4);
        assert_eq!(index.leading_hits(b, &second), 0);
        index.remove_node(a);
        assert_eq!(index.leading_hits(a, &second), 0);
    }

    #[test]
    fn equal_text_at_another_place_or_for_another_model_does_not_match() {
        let text = vec![b'x'; 2 * BLOCK_BYTES];
        let hashed = hashes(&text);
        assert_ne!(hashed.first(), hashed.get(1));
        let mut other = Vec::new();
        block_hashes(1, "n", &text, &mut other);
        assert_ne!(hashed.first(), other.first());
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let a = node(1);
        let mut index = PrefixIndex::new(1_024);
        let hot: Vec<u64> = (0..100).collect();
        for round in 1..100u64 {
            let cold: Vec<u64> = (0..100).map(|i| round * 1_000 + i).collect();
            index.insert(a, &hot);
            index.insert(a, &cold);
        }
        assert_eq!(index.leading_hits(a, &hot), 100);
        assert_eq!(index.leading_hits(a, &[1_000]), 0);
    }

    #[test]
    fn a_large_fleet_shares_what_a_small_one_has() {
        assert_eq!(
            share(PrefixIndex::DEFAULT_CAPACITY, 1),
            PrefixIndex::DEFAULT_CAPACITY
        );
        assert_eq!(share(PrefixIndex::DEFAULT_CAPACITY, 1_024), 1_024);
        assert_eq!(share(PrefixIndex::DEFAULT_CAPACITY, usize::MAX), MAX_BLOCKS);
    }

    proptest! {
        #[test]
        fn the_index_is_bounded(prompts in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..400), 0..40)) {
            let a = node(1);
            let mut index = PrefixIndex::new(500);
            for prompt in &prompts {
                index.insert(a, prompt);
                prop_assert!(index.len(a) <= 500);
                let known = prompt.len().min(MAX_BLOCKS) as u32;
                prop_assert_eq!(index.leading_hits(a, prompt), known, "the latest prompt is always known");
                let mut warm = Vec::new();
                index.warm_places(prompt, &mut warm);
                let place = index.place(a);
                prop_assert_eq!(warm, if known == 0 { vec![] } else { vec![(place, known)] });
            }
        }
    }
}
