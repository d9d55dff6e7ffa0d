//! The key-value cache of one sequence. It lives outside the model, so that many sequences share one set of weights.

use candle_core::{DType, Device, Result, Tensor};

use super::spec::DecoderSpec;

/// Tokens for which room is made at first.
const FIRST_CAPACITY: usize = 128;

#[derive(Debug)]
struct Layer {
    keys: Tensor,
    values: Tensor,
}

/// Keys and values of the tokens that a sequence has read.
#[derive(Debug)]
pub(crate) struct KvCache {
    layers: Vec<Layer>,
    kv_heads: usize,
    head_width: usize,
    capacity: usize,
    length: usize,
}

impl KvCache {
    /// Makes an empty cache.
    pub(crate) fn new(spec: &DecoderSpec) -> Self {
        Self {
            layers: Vec::with_capacity(spec.layers),
            kv_heads: spec.kv_heads,
            head_width: spec.head_width,
            capacity: 0,
            length: 0,
        }
    }

    /// Returns how many tokens have been read.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Returns the memory in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        2 * self.layers.len() * self.capacity * self.kv_heads * self.head_width * size_of::<f32>()
    }

    /// Forgets everything after the first `length` tokens.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Copies the first `length` tokens into a new cache.
    pub(crate) fn fork(&self, length: usize) -> Result<Self> {
        let length = length.min(self.length);
        let copy = |tensor: &Tensor| tensor.narrow(1, 0, length)?.contiguous()?.copy();
        let layers = self
            .layers
            .iter()
            .map(|layer| {
                Ok(Layer {
                    keys: copy(&layer.keys)?,
                    values: copy(&layer.values)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            layers,
            capacity: length,
            length,
            ..*self
        })
    }

    /// Makes room for `more` tokens in every one of `layers` layers.
    pub(crate) fn reserve(&mut self, layers: usize, more: usize) -> Result<()> {
        let needed = self.length + more;
        if self.layers.len() == layers && needed <= self.capacity {
            return Ok(());
        }
        let capacity = needed.max(FIRST_CAPACITY).next_power_of_two();
        let grow = |old: Option<&Tensor>| -> Result<Tensor> {
            let shape = (self.kv_heads, capacity, self.head_width);
            let new = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            if let Some(old) = old.filter(|_| self.length > 0) {
                new.slice_set(&old.narrow(1, 0, self.length)?.contiguous()?, 1, 0)?;
            }
            Ok(new)
        };
        let grown = (0..layers)
            .map(|layer| {
                let old = self.layers.get(layer);
                Ok(Layer {
                    keys: grow(old.map(|layer| &layer.keys))?,
                    values: grow(old.map(|layer| &layer.values))?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        self.layers = grown;
        self.capacity = capacity;
        Ok(())
    }

    /// Writes one layer's keys and values of the next tokens and returns those of all tokens so far.
    /// Room must have been reserved; [`KvCache::advance`] follows after the last layer.
    pub(crate) fn write(
        &self,
        layer: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let place = self
            .layers
            .get(layer)
            .ok_or_else(|| candle_core::Error::msg("no room was reserved in the cache"))?;
        let total = self.length + keys.dim(1)?;
        place.keys.slice_set(&keys.contiguous()?, 1, self.length)?;
        place
            .values
            .slice_set(&values.contiguous()?, 1, self.length)?;
        Ok((
            place.keys.narrow(1, 0, total)?,
            place.values.narrow(1, 0, total)?,
        ))
    }

    /// Counts `tokens` more as read.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }
}
