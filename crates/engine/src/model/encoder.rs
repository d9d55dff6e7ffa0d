//! A BERT-family encoder: every token sees every other, and the text becomes one vector.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};

use super::attention::attend_freely;
use super::encoder_spec::{EncoderSpec, Pooling};
use super::weights::{Linear, load_plain};
use crate::file::{GgufFile, Refusal};

/// A layer norm with bias.
#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::layer_norm(&x.contiguous()?, &self.weight, &self.bias, self.epsilon)
    }
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

/// The weights of an embedding model.
#[derive(Debug)]
pub(crate) struct Encoder {
    spec: EncoderSpec,
    tokens: Tensor,
    positions: Tensor,
    /// The vector that marks the first segment, added to every token.
    segment: Option<Tensor>,
    norm: Norm,
    layers: Vec<Layer>,
}

impl Encoder {
    /// Loads the weights from a GGUF file.
    pub(crate) fn load(
        spec: EncoderSpec,
        file: &mut GgufFile,
    ) -> std::result::Result<Self, Refusal> {
        let epsilon = spec.norm_epsilon;
        let norm = |file: &mut GgufFile, name: &str| -> std::result::Result<Norm, Refusal> {
            Ok(Norm {
                weight: load_plain(file, &format!("{name}.weight"))?,
                bias: load_plain(file, &format!("{name}.bias"))?,
                epsilon,
            })
        };
        let segment = match file.find("token_types.weight") {
            Some(_) => Some(load_plain(file, "token_types.weight")?.narrow(0, 0, 1)?),
            None => None,
        };
        let mut layers = Vec::with_capacity(spec.layers);
        for layer in 0..spec.layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            layers.push(Layer {
                query: Linear::load(file, &name("attn_q"))?,
                key: Linear::load(file, &name("attn_k"))?,
                value: Linear::load(file, &name("attn_v"))?,
                attention_output: Linear::load(file, &name("attn_output"))?,
                attention_norm: norm(file, &name("attn_output_norm"))?,
                up: Linear::load(file, &name("ffn_up"))?,
                down: Linear::load(file, &name("ffn_down"))?,
                output_norm: norm(file, &name("layer_output_norm"))?,
            });
        }
        Ok(Self {
            tokens: load_plain(file, "token_embd.weight")?,
            positions: load_plain(file, "position_embd.weight")?,
            segment,
            norm: norm(file, "token_embd_norm")?,
            layers,
            spec,
        })
    }

    /// Loads the weights from `model.safetensors` in a directory.
    pub(crate) fn load_directory(
        spec: EncoderSpec,
        directory: &Path,
    ) -> std::result::Result<Self, Refusal> {
        let bytes = std::fs::read(directory.join("model.safetensors"))
            .map_err(|error| Refusal(format!("cannot read model.safetensors: {error}")))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|error| Refusal(format!("model.safetensors is corrupt: {error}")))?;
        drop(bytes);
        let tensors = NamedTensors(tensors);
        let (width, inner) = (spec.width, spec.feed_forward);
        let mut layers = Vec::with_capacity(spec.layers);
        for layer in 0..spec.layers {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            let linear = |part: &str, rows: usize, columns: usize| {
                tensors.linear(&name(part), rows, columns)
            };
            layers.push(Layer {
                query: linear("attention.self.query", width, width)?,
                key: linear("attention.self.key", width, width)?,
                value: linear("attention.self.value", width, width)?,
                attention_output: linear("attention.output.dense", width, width)?,
                attention_norm: tensors.norm(&name("attention.output.LayerNorm"), &spec)?,
                up: linear("intermediate.dense", inner, width)?,
                down: linear("output.dense", width, inner)?,
                output_norm: tensors.norm(&name("output.LayerNorm"), &spec)?,
            });
        }
        let segments = tensors.plain("embeddings.token_type_embeddings.weight", None)?;
        Ok(Self {
            tokens: tensors.plain(
                "embeddings.word_embeddings.weight",
                Some(&[spec.vocabulary, width]),
            )?,
            positions: tensors.plain(
                "embeddings.position_embeddings.weight",
                Some(&[spec.context, width]),
            )?,
            segment: Some(segments.narrow(0, 0, 1)?),
            norm: tensors.norm("embeddings.LayerNorm", &spec)?,
            layers,
            spec,
        })
    }

    /// Returns the description.
    pub(crate) fn spec(&self) -> &EncoderSpec {
        &self.spec
    }

    /// Embeds one text given as tokens, which must fit the context. The vector is not yet normalised.
    pub(crate) fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let count = tokens.len();
        if count == 0
            || tokens
                .iter()
                .any(|token| *token as usize >= self.spec.vocabulary)
        {
            candle_core::bail!(
                "tokens must be given and lie in the vocabulary of {}",
                self.spec.vocabulary
            );
        }
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let mut x = (self.tokens.index_select(&ids, 0)? + self.positions.narrow(0, 0, count)?)?;
        if let Some(segment) = &self.segment {
            x = x.broadcast_add(segment)?;
        }
        x = self.norm.forward(&x)?;
        for layer in &self.layers {
            x = layer.forward(&x, self.spec.heads)?;
        }
        let pooled = match self.spec.pooling {
            Pooling::Mean => x.mean(0)?,
            Pooling::First => x.get(0)?,
        };
        pooled.to_vec1()
    }
}

impl Layer {
    fn forward(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (tokens, width) = x.dims2()?;
        let head = width / heads;
        let split = |x: Tensor| {
            x.reshape((tokens, heads, head))?
                .transpose(0, 1)?
                .contiguous()
        };
        let mixed = attend_freely(
            &split(self.query.forward(x)?)?,
            &split(self.key.forward(x)?)?,
            &split(self.value.forward(x)?)?,
            1.0 / (head as f64).sqrt(),
        )?;
        let x = self
            .attention_norm
            .forward(&(x + self.attention_output.forward(&mixed)?)?)?;
        let fed = self.down.forward(&self.up.forward(&x)?.gelu_erf()?)?;
        self.output_norm.forward(&(x + fed)?)
    }
}

/// Tensors of a safetensors file. Some writers put `bert.` before every name.
struct NamedTensors(HashMap<String, Tensor>);

impl NamedTensors {
    fn plain(&self, name: &str, dims: Option<&[usize]>) -> std::result::Result<Tensor, Refusal> {
        let tensor = self
            .0
            .get(name)
            .or_else(|| self.0.get(&format!("bert.{name}")))
            .ok_or_else(|| Refusal(format!("the tensor '{name}' is missing")))?;
        if dims.is_some_and(|dims| dims != tensor.dims()) {
            return Err(Refusal(format!(
                "the tensor '{name}' has the shape {:?}",
                tensor.dims()
            )));
        }
        Ok(tensor.to_dtype(DType::F32)?)
    }

    fn linear(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> std::result::Result<Linear, Refusal> {
        let weight = self.plain(&format!("{name}.weight"), Some(&[rows, columns]))?;
        let bias = self.plain(&format!("{name}.bias"), Some(&[rows]))?;
        Ok(Linear::from_plain(&weight, Some(bias))?)
    }

    fn norm(&self, name: &str, spec: &EncoderSpec) -> std::result::Result<Norm, Refusal> {
        // Old files call them gamma and beta.
        let either = |new: &str, old: &str| {
            self.plain(&format!("{name}.{new}"), Some(&[spec.width]))
                .or_else(|_| self.plain(&format!("{name}.{old}"), Some(&[spec.width])))
        };
        Ok(Norm {
            weight: either("weight", "gamma")?,
            bias: either("bias", "beta")?,
            epsilon: spec.norm_epsilon,
        })
    }
}
