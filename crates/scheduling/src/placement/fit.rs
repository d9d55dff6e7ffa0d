//! What a model takes in memory, from the metadata of its GGUF file.

/// What the metadata of a GGUF file says of a model's layers: keys `block_count`, `attention.head_count_kv`, `attention.key_length`,
/// `attention.value_length`, `embedding_length` under the architecture's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelShape {
    /// Layers.
    pub block_count: u32,
    /// Heads of keys and values, added up over all layers.
    pub kv_heads: u64,
    /// Numbers in a key of one head.
    pub key_length: u32,
    /// Numbers in a value of one head.
    pub value_length: u32,
    /// Numbers in the embedding of a token.
    pub embedding_length: u32,
}

/// Bytes of a number in the cache of keys and values: half precision.
const CACHE_NUMBER: u64 = 2;
/// Tokens of a prompt that are computed together.
const BATCH: u64 = 512;
/// Bytes of a number in computing.
const NUMBER: u64 = 4;
/// Buffers of this many embeddings stand beside each other while a batch goes through a layer.
const BUFFERS: u64 = 16;
/// What the runtime takes for itself: its context on a GPU, its libraries.
const RUNTIME_BYTES: u64 = 400 << 20;
/// Without metadata: the cache's part of the weights, in percent, for each 4,096 tokens of context.
const UNKNOWN_CACHE_PERCENT: u64 = 8;

/// Estimates the bytes that a model takes in memory with a context: its weights, its cache of keys and values, and what computing takes.
/// An estimate: what a node tells of a loaded model is better.
pub fn memory_bytes(weights_bytes: u64, shape: Option<&ModelShape>, context: u32) -> u64 {
    let tokens = u64::from(context);
    let beside = match shape {
        Some(shape) => {
            let of_head = u64::from(shape.key_length) + u64::from(shape.value_length);
            let cache = tokens
                .saturating_mul(shape.kv_heads)
                .saturating_mul(of_head)
                .saturating_mul(CACHE_NUMBER);
            let computing = BATCH * NUMBER * BUFFERS * u64::from(shape.embedding_length);
            cache.saturating_add(computing)
        }
        None => (weights_bytes / 100)
            .saturating_mul(UNKNOWN_CACHE_PERCENT)
            .saturating_mul(tokens.div_ceil(4_096)),
    };
    weights_bytes
        .saturating_add(beside)
        .saturating_add(RUNTIME_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_grows_with_the_context_as_the_metadata_says() {
        // Llama 3.1 8B: 32 layers of 8 heads of keys and values, 128 numbers each: 128 KiB for a token.
        let shape = ModelShape {
            block_count: 32,
            kv_heads: 32 * 8,
            key_length: 128,
            value_length: 128,
            embedding_length: 4_096,
        };
        let short = memory_bytes(4_900_000_000, Some(&shape), 4_096);
        let long = memory_bytes(4_900_000_000, Some(&shape), 8_192);
        assert_eq!(long - short, 4_096 * 128 * 1_024);
        assert_eq!(
            short,
            4_900_000_000 + 4_096 * 131_072 + 512 * 4 * 16 * 4_096 + (400 << 20)
        );
    }

    #[test]
    fn without_metadata_a_part_of_the_weights_stands_for_the_cache() {
        assert_eq!(
            memory_bytes(1_000, None, 4_097),
            1_000 + 160 + (400 << 20),
            "each begun 4,096 tokens count"
        );
        assert_eq!(memory_bytes(u64::MAX, None, u32::MAX), u64::MAX);
    }
}
