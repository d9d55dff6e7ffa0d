//! One sequence in a llama.cpp context.

use std::num::NonZeroU32;
use std::rc::Rc;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{LlamaContextParams, LlamaPoolingType};
use llama_cpp_2::context::session::LlamaStateSeqFlags;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use super::{Weights, runtime};
use crate::backend::{PROMPT_PIECE, Session};
use crate::error::EngineError;

/// Tokens for which room is made at first; llama.cpp rounds up to multiples of this.
const FIRST_CAPACITY: usize = 256;
/// The only sequence of a context.
const SEQUENCE: i32 = 0;

/// A context with the weights that it computes with.
///
/// `context` borrows from `weights`: it stands first, so that it is dropped first.
struct Bound {
    context: LlamaContext<'static>,
    weights: Rc<Weights>,
}

impl Bound {
    fn new(
        weights: Rc<Weights>,
        capacity: usize,
        params: LlamaContextParams,
    ) -> Result<Self, EngineError> {
        let piece = PROMPT_PIECE as u32;
        let params = params
            .with_n_ctx(u32::try_from(capacity).ok().and_then(NonZeroU32::new))
            .with_n_batch(piece)
            .with_n_ubatch(piece)
            .with_n_seq_max(1)
            .with_n_threads(weights.threads)
            .with_n_threads_batch(weights.threads)
            // Layers with a window keep all tokens too, so that a sequence can be cut anywhere.
            .with_swa_full(true)
            .with_flash_attention_policy(0)
            .with_no_perf(true);
        let runtime = runtime().map_err(|refusal| EngineError::Failed(refusal.to_string()))?;
        #[expect(
            unsafe_code,
            reason = "a context borrows from weights that its owner shares"
        )]
        // SAFETY: the weights stay where they are as long as a count on them is held, and `Self` holds one until after the context is
        // dropped. The context never leaves `Self`.
        let borrowed: &'static Weights = unsafe { &*Rc::as_ptr(&weights) };
        let context = borrowed
            .inner
            .new_context(runtime, params)
            .map_err(|error| failed(&error))?;
        Ok(Self { context, weights })
    }

    /// Computes tokens that stand from `position` on; `wanted` tells which of them give output.
    fn decode(
        &mut self,
        tokens: &[u32],
        position: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<(), EngineError> {
        let mut batch = LlamaBatch::new(tokens.len(), 1);
        for (place, token) in tokens.iter().enumerate() {
            let token = LlamaToken(token.cast_signed());
            let position = i32::try_from(position + place).map_err(|error| failed(&error))?;
            batch
                .add(token, position, &[SEQUENCE], wanted(place))
                .map_err(|error| failed(&error))?;
        }
        self.context
            .decode(&mut batch)
            .map_err(|error| failed(&error))
    }
}

/// What a sequence has read.
pub(super) struct Sequence {
    bound: Bound,
    capacity: usize,
    length: usize,
}

impl Sequence {
    /// Makes an empty sequence with room for at least `capacity` tokens.
    pub(super) fn new(weights: Rc<Weights>, capacity: usize) -> Result<Self, EngineError> {
        let capacity = capacity.max(FIRST_CAPACITY).next_power_of_two();
        Ok(Self {
            bound: Bound::new(weights, capacity, LlamaContextParams::default())?,
            capacity,
            length: 0,
        })
    }

    /// Copies everything into a sequence with room for `capacity` tokens.
    fn copy(&self, capacity: usize) -> Result<Self, EngineError> {
        let mut copy = Self::new(self.bound.weights.clone(), capacity)?;
        if self.length > 0 {
            let state = self
                .bound
                .context
                .state_seq_get(SEQUENCE, LlamaStateSeqFlags::empty())
                .map_err(|error| failed(&error))?;
            copy.bound
                .context
                .state_seq_set(&state, SEQUENCE)
                .map_err(|error| failed(&error))?;
            copy.length = self.length;
        }
        Ok(copy)
    }

    fn reserve(&mut self, more: usize) -> Result<(), EngineError> {
        let needed = self.length + more;
        if needed > self.capacity {
            *self = self.copy(needed)?;
        }
        Ok(())
    }
}

impl Session for Sequence {
    fn len(&self) -> usize {
        self.length
    }

    fn size_bytes(&self) -> usize {
        self.capacity * self.bound.weights.token_bytes
    }

    fn truncate(&mut self, length: usize) {
        if length >= self.length {
            return;
        }
        let from = u32::try_from(length).ok();
        let cut = self
            .bound
            .context
            .clear_kv_cache_seq(Some(SEQUENCE.unsigned_abs()), from, None);
        if matches!(cut, Ok(true)) {
            self.length = length;
        } else {
            // Recurrent models cannot go back.
            self.bound.context.clear_kv_cache();
            self.length = 0;
        }
    }

    fn fork(&self, length: usize) -> Result<Box<dyn Session>, EngineError> {
        let mut copy = self.copy(self.length)?;
        copy.truncate(length);
        Ok(Box::new(copy))
    }

    fn read(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
        self.reserve(tokens.len())?;
        self.bound.decode(tokens, self.length, |_| false)?;
        self.length += tokens.len();
        Ok(())
    }

    fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        let last = tokens.len().saturating_sub(1);
        self.reserve(tokens.len())?;
        self.bound
            .decode(tokens, self.length, |place| place == last)?;
        self.length += tokens.len();
        let place = i32::try_from(last).map_err(|error| failed(&error))?;
        Ok(self.bound.context.get_logits_ith(place).to_vec())
    }
}

/// Embeds with a generating model: the mean of its last hidden states.
pub(super) fn mean_of_states(
    weights: Rc<Weights>,
    tokens: &[u32],
) -> Result<Vec<f32>, EngineError> {
    let params = LlamaContextParams::default()
        .with_embeddings(true)
        .with_pooling_type(LlamaPoolingType::None);
    let mut bound = Bound::new(weights, tokens.len().max(FIRST_CAPACITY), params)?;
    let mut sum: Vec<f32> = Vec::new();
    for (piece, position) in tokens.chunks(PROMPT_PIECE).zip((0..).step_by(PROMPT_PIECE)) {
        bound.decode(piece, position, |_| true)?;
        for place in (0..).take(piece.len()) {
            let state = bound
                .context
                .embeddings_ith(place)
                .map_err(|error| failed(&error))?;
            sum.resize(state.len(), 0.0);
            for (sum, value) in sum.iter_mut().zip(state) {
                *sum += value;
            }
        }
    }
    let count = tokens.len().max(1) as f32;
    Ok(sum.into_iter().map(|sum| sum / count).collect())
}

fn failed(error: &impl std::fmt::Display) -> EngineError {
    EngineError::Failed(format!("llama.cpp: {error}"))
}
