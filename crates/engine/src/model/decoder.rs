//! A decoder-only transformer over quantised weights. One code path serves every architecture; the description says what differs.

use candle_core::{Result, Tensor};

use super::attention::{Limits, attend};
use super::cache::KvCache;
use super::matrix::Matrix;
use super::rope::{Rope, Rotation};
use super::spec::{Activation, DecoderSpec};
use super::weights::{Linear, Norm};
use crate::file::{GgufFile, Refusal};

/// Queries, keys and values: three matrices, or one that makes all of them.
#[derive(Debug)]
enum Projection {
    Apart {
        query: Linear,
        key: Linear,
        value: Linear,
    },
    Fused(Linear),
}

/// The feed-forward part's gate and input: two matrices, or one that makes both.
#[derive(Debug)]
enum Gate {
    Apart { gate: Linear, up: Linear },
    Fused(Linear),
}

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    projection: Projection,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    attention_output: Linear,
    after_attention_norm: Option<Norm>,
    feed_forward_norm: Norm,
    gate: Gate,
    down: Linear,
    after_feed_forward_norm: Option<Norm>,
}

/// The weights of a generating model.
#[derive(Debug)]
pub(crate) struct Decoder {
    spec: DecoderSpec,
    embedding: Matrix,
    layers: Vec<Layer>,
    output_norm: Norm,
    output: Linear,
    rope: Rope,
}

impl Decoder {
    /// Loads the weights; `context` is the largest context that will be asked for.
    pub(crate) fn load(
        spec: DecoderSpec,
        file: &mut GgufFile,
        context: usize,
    ) -> std::result::Result<Self, Refusal> {
        let embedding = Matrix::load(file, "token_embd.weight")?;
        let layers = (0..spec.layers)
            .map(|layer| Layer::load(&spec, file, &format!("blk.{layer}")))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let output = match file.find("output.weight") {
            Some(_) => Linear::load(file, "output")?,
            None => Linear::shared(embedding.clone()),
        };
        Ok(Self {
            output_norm: Norm::load(file, "output_norm", spec.norm_epsilon)?,
            rope: Rope::load(&spec, file, context)?,
            embedding,
            layers,
            output,
            spec,
        })
    }

    /// Returns the description.
    pub(crate) fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// Reads `tokens` into the cache and returns their last hidden states, before the final norm: (tokens, width).
    pub(crate) fn read(&self, tokens: &[u32], cache: &mut KvCache) -> Result<Tensor> {
        let vocabulary = self.spec.vocabulary;
        if tokens.is_empty() || tokens.iter().any(|token| *token as usize >= vocabulary) {
            candle_core::bail!("tokens must be given and lie in the vocabulary of {vocabulary}");
        }
        let rotation = self.rope.at(cache.len(), tokens.len())?;
        cache.reserve(self.layers.len(), tokens.len())?;
        let mut x = self.embedding.pick(tokens)?;
        if let Some(scale) = self.spec.embedding_scale {
            x = (x * scale)?;
        }
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, index, &self.spec, &rotation, cache)?;
        }
        cache.advance(tokens.len());
        Ok(x)
    }

    /// Computes the scores of all tokens to follow the last of the given hidden states.
    pub(crate) fn scores(&self, hidden: &Tensor) -> Result<Vec<f32>> {
        let last = hidden.narrow(0, hidden.dim(0)? - 1, 1)?;
        let mut scores = self.output.forward(&self.output_norm.forward(&last)?)?;
        if let Some(cap) = self.spec.output_cap {
            scores = ((scores / cap)?.tanh()? * cap)?;
        }
        scores.flatten_all()?.to_vec1()
    }

    /// Applies the final norm to hidden states, for embeddings.
    pub(crate) fn normed(&self, hidden: &Tensor) -> Result<Tensor> {
        self.output_norm.forward(hidden)
    }
}

impl Layer {
    fn load(
        spec: &DecoderSpec,
        file: &mut GgufFile,
        at: &str,
    ) -> std::result::Result<Self, Refusal> {
        let epsilon = spec.norm_epsilon;
        let name = |part: &str| format!("{at}.{part}");
        let projection = match file.find(&name("attn_qkv.weight")) {
            Some(_) => Projection::Fused(Linear::load(file, &name("attn_qkv"))?),
            None => Projection::Apart {
                query: Linear::load(file, &name("attn_q"))?,
                key: Linear::load(file, &name("attn_k"))?,
                value: Linear::load(file, &name("attn_v"))?,
            },
        };
        let gate = match file.find(&name("ffn_gate.weight")) {
            Some(_) => Gate::Apart {
                gate: Linear::load(file, &name("ffn_gate"))?,
                up: Linear::load(file, &name("ffn_up"))?,
            },
            None => Gate::Fused(Linear::load(file, &name("ffn_up"))?),
        };
        Ok(Self {
            attention_norm: Norm::load(file, &name("attn_norm"), epsilon)?,
            projection,
            query_norm: Norm::find(file, &name("attn_q_norm"), epsilon)?,
            key_norm: Norm::find(file, &name("attn_k_norm"), epsilon)?,
            attention_output: Linear::load(file, &name("attn_output"))?,
            after_attention_norm: Norm::find(file, &name("post_attention_norm"), epsilon)?,
            feed_forward_norm: Norm::load(file, &name("ffn_norm"), epsilon)?,
            gate,
            down: Linear::load(file, &name("ffn_down"))?,
            after_feed_forward_norm: Norm::find(file, &name("post_ffw_norm"), epsilon)?,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        index: usize,
        spec: &DecoderSpec,
        rotation: &Rotation,
        cache: &KvCache,
    ) -> Result<Tensor> {
        let attended = self.attention(
            &self.attention_norm.forward(x)?,
            index,
            spec,
            rotation,
            cache,
        )?;
        let x = (x + optional(self.after_attention_norm.as_ref(), attended)?)?;
        let fed = self.feed_forward(&self.feed_forward_norm.forward(&x)?, spec)?;
        &x + optional(self.after_feed_forward_norm.as_ref(), fed)?
    }

    fn attention(
        &self,
        x: &Tensor,
        index: usize,
        spec: &DecoderSpec,
        rotation: &Rotation,
        cache: &KvCache,
    ) -> Result<Tensor> {
        let (query_width, key_width) = (
            spec.heads * spec.head_width,
            spec.kv_heads * spec.head_width,
        );
        let (query, key, value) = match &self.projection {
            Projection::Apart { query, key, value } => {
                (query.forward(x)?, key.forward(x)?, value.forward(x)?)
            }
            Projection::Fused(all) => {
                let all = all.forward(x)?;
                (
                    all.narrow(1, 0, query_width)?,
                    all.narrow(1, query_width, key_width)?,
                    all.narrow(1, query_width + key_width, key_width)?,
                )
            }
        };
        let tokens = x.dim(0)?;
        let split = |x: Tensor, heads: usize| {
            x.contiguous()?
                .reshape((tokens, heads, spec.head_width))?
                .transpose(0, 1)
        };
        let query = optional(self.query_norm.as_ref(), split(query, spec.heads)?)?;
        let key = optional(self.key_norm.as_ref(), split(key, spec.kv_heads)?)?;
        let value = split(value, spec.kv_heads)?;
        let window = spec.layer_window(index);
        let query = rotation.rotate(&query, window.is_some())?;
        let key = rotation.rotate(&key, window.is_some())?;
        let (keys, values) = cache.write(index, &key, &value)?;
        let limits = Limits {
            scale: spec.attention_scale,
            cap: spec.attention_cap,
            window,
        };
        self.attention_output
            .forward(&attend(&query, &keys, &values, limits)?)
    }

    fn feed_forward(&self, x: &Tensor, spec: &DecoderSpec) -> Result<Tensor> {
        let (gate, up) = match &self.gate {
            Gate::Apart { gate, up } => (gate.forward(x)?, up.forward(x)?),
            Gate::Fused(both) => {
                let both = both.forward(x)?;
                let inner = spec.feed_forward;
                (
                    both.narrow(1, 0, inner)?.contiguous()?,
                    both.narrow(1, inner, inner)?.contiguous()?,
                )
            }
        };
        let gate = match spec.activation {
            Activation::Silu => gate.silu()?,
            Activation::Gelu => gate.gelu()?,
        };
        self.down.forward(&(gate * up)?)
    }
}

fn optional(norm: Option<&Norm>, x: Tensor) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(&x),
        None => Ok(x),
    }
}
