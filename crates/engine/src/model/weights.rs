//! The tensors of a decoder: which ones there must be, and their building blocks once loaded.

use candle_core::{Device, Result, Tensor};

use super::matrix::Matrix;
use super::spec::{Architecture, DecoderSpec};
use crate::file::{GgufFile, Refusal};

/// Checks that every tensor the description needs is in the file with the right shape.
pub(crate) fn check(spec: &DecoderSpec, file: &GgufFile) -> std::result::Result<(), Refusal> {
    check_shape(file, "token_embd.weight", &[spec.vocabulary, spec.width])?;
    check_shape(file, "output_norm.weight", &[spec.width])?;
    if file.find("output.weight").is_some() {
        check_shape(file, "output.weight", &[spec.vocabulary, spec.width])?;
    }
    for layer in 0..spec.layers {
        for (name, dims) in layer_tensors(spec) {
            check_shape(file, &format!("blk.{layer}.{name}.weight"), &dims)?;
        }
    }
    Ok(())
}

/// Checks one tensor's shape.
pub(crate) fn check_shape(
    file: &GgufFile,
    name: &str,
    dims: &[usize],
) -> std::result::Result<(), Refusal> {
    let found = file
        .find(name)
        .ok_or_else(|| Refusal(format!("the tensor '{name}' is missing")))?;
    if found == dims {
        Ok(())
    } else {
        Err(Refusal(format!(
            "the tensor '{name}' has the shape {found:?} where {dims:?} is needed"
        )))
    }
}

fn layer_tensors(spec: &DecoderSpec) -> Vec<(&'static str, Vec<usize>)> {
    let (width, inner) = (spec.width, spec.feed_forward);
    let (queries, keys) = (
        spec.heads * spec.head_width,
        spec.kv_heads * spec.head_width,
    );
    let mut tensors = vec![
        ("attn_norm", vec![width]),
        ("attn_output", vec![width, queries]),
        ("ffn_norm", vec![width]),
        ("ffn_down", vec![width, inner]),
    ];
    if spec.architecture == Architecture::Phi3 {
        tensors.push(("attn_qkv", vec![queries + 2 * keys, width]));
        tensors.push(("ffn_up", vec![2 * inner, width]));
    } else {
        tensors.push(("attn_q", vec![queries, width]));
        tensors.push(("attn_k", vec![keys, width]));
        tensors.push(("attn_v", vec![keys, width]));
        tensors.push(("ffn_gate", vec![inner, width]));
        tensors.push(("ffn_up", vec![inner, width]));
    }
    if matches!(
        spec.architecture,
        Architecture::Qwen3 | Architecture::Gemma3
    ) {
        tensors.push(("attn_q_norm", vec![spec.head_width]));
        tensors.push(("attn_k_norm", vec![spec.head_width]));
    }
    if matches!(
        spec.architecture,
        Architecture::Gemma2 | Architecture::Gemma3
    ) {
        tensors.push(("post_attention_norm", vec![width]));
        tensors.push(("post_ffw_norm", vec![width]));
    }
    tensors
}

/// A matrix with an optional bias.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

#[derive(Debug)]
enum Weight {
    /// From a GGUF file.
    Matrix(Matrix),
    /// From a safetensors file, transposed.
    Plain(Tensor),
}

impl Linear {
    pub(crate) fn load(file: &mut GgufFile, name: &str) -> std::result::Result<Self, Refusal> {
        let bias = format!("{name}.bias");
        let bias = match file.find(&bias) {
            Some(_) => Some(load_plain(file, &bias)?),
            None => None,
        };
        let weight = Weight::Matrix(Matrix::load(file, &format!("{name}.weight"))?);
        Ok(Self { weight, bias })
    }

    pub(crate) fn from_plain(weight: &Tensor, bias: Option<Tensor>) -> Result<Self> {
        Ok(Self {
            weight: Weight::Plain(weight.t()?),
            bias,
        })
    }

    pub(crate) fn shared(weight: Matrix) -> Self {
        Self {
            weight: Weight::Matrix(weight),
            bias: None,
        }
    }

    /// Multiplies rows of `x`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.weight {
            Weight::Matrix(matrix) => matrix.multiply(x)?,
            Weight::Plain(weight) => x.matmul(weight)?,
        };
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// A root-mean-square norm.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Tensor,
    epsilon: f32,
}

impl Norm {
    pub(crate) fn load(
        file: &mut GgufFile,
        name: &str,
        epsilon: f32,
    ) -> std::result::Result<Self, Refusal> {
        Ok(Self {
            weight: load_plain(file, &format!("{name}.weight"))?,
            epsilon,
        })
    }

    /// Loads the norm if the file has it.
    pub(crate) fn find(
        file: &mut GgufFile,
        name: &str,
        epsilon: f32,
    ) -> std::result::Result<Option<Self>, Refusal> {
        match file.find(&format!("{name}.weight")) {
            Some(_) => Self::load(file, name, epsilon).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::rms_norm(&x.contiguous()?, &self.weight, self.epsilon)
    }
}

/// Loads a tensor as plain 32-bit numbers.
pub(crate) fn load_plain(file: &mut GgufFile, name: &str) -> std::result::Result<Tensor, Refusal> {
    Ok(file.load(name)?.dequantize(&Device::Cpu)?)
}
