//! Rotary position encoding.

use candle_core::{Device, Result, Tensor};
use candle_nn::rotary_emb::{rope, rope_i};

use super::spec::{DecoderSpec, RopeSpec, RopeStyle};
use crate::file::{GgufFile, Refusal};

use super::weights::load_plain;

/// Angles per position, one for each rotated pair.
#[derive(Debug)]
struct Steps {
    angles: Vec<f64>,
    magnitude: f64,
}

impl Steps {
    fn rows(&self, position: usize, count: usize) -> Result<Rows> {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for place in position..position + count {
            for step in &self.angles {
                let angle = place as f64 * step;
                cos.push((angle.cos() * self.magnitude) as f32);
                sin.push((angle.sin() * self.magnitude) as f32);
            }
        }
        let shape = (count, self.angles.len());
        Ok(Rows {
            cos: Tensor::from_vec(cos, shape, &Device::Cpu)?,
            sin: Tensor::from_vec(sin, shape, &Device::Cpu)?,
        })
    }
}

/// Cosines and sines: (tokens, rotated pairs).
#[derive(Debug)]
struct Rows {
    cos: Tensor,
    sin: Tensor,
}

/// The rotations of a decoder: one kind for layers that see everything, one for layers with a window.
#[derive(Debug)]
pub(crate) struct Rope {
    spec: RopeSpec,
    global: Steps,
    local: Option<Steps>,
}

impl Rope {
    /// Reads the frequencies of a model that will be used with contexts up to `context`.
    pub(crate) fn load(
        spec: &DecoderSpec,
        file: &mut GgufFile,
        context: usize,
    ) -> std::result::Result<Self, Refusal> {
        let rope = &spec.rope;
        let factors = match rope.original_context {
            Some(original) if context > original => "rope_factors_long.weight",
            _ => "rope_factors_short.weight",
        };
        let mut divisors = vec![1.0; rope.width / 2];
        for name in ["rope_freqs.weight", factors] {
            if file.find(name).is_some() {
                let values = load_plain(file, name)?.flatten_all()?.to_vec1::<f32>()?;
                if values.len() != divisors.len() || values.iter().any(|value| *value <= 0.0) {
                    return Err(Refusal(format!(
                        "the tensor '{name}' does not fit the position encoding"
                    )));
                }
                divisors = values.into_iter().map(f64::from).collect();
            }
        }
        let frequencies = |base: f64, stretch: f64| -> Vec<f64> {
            let pairs = divisors.len() as f64;
            divisors
                .iter()
                .enumerate()
                .map(|(pair, divisor)| base.powf(-(pair as f64) / pairs) / divisor / stretch)
                .collect()
        };
        let steps = |base: f64, stretch: f64| Steps {
            angles: frequencies(base, stretch),
            magnitude: rope.magnitude,
        };
        Ok(Self {
            global: steps(rope.base, rope.stretch),
            local: spec.window.map(|_| steps(rope.local_base, 1.0)),
            spec: rope.clone(),
        })
    }

    /// Computes the rotations of `count` tokens of which the first stands at `position`.
    pub(crate) fn at(&self, position: usize, count: usize) -> Result<Rotation> {
        let local = self.local.as_ref();
        Ok(Rotation {
            style: self.spec.style,
            width: self.spec.width,
            global: self.global.rows(position, count)?,
            local: local.map(|steps| steps.rows(position, count)).transpose()?,
        })
    }
}

/// The rotations of the tokens that are being read.
#[derive(Debug)]
pub(crate) struct Rotation {
    style: RopeStyle,
    width: usize,
    global: Rows,
    local: Option<Rows>,
}

impl Rotation {
    /// Rotates `x` of shape (heads, tokens, head width) for a layer that sees everything or one that is `windowed`.
    pub(crate) fn rotate(&self, x: &Tensor, windowed: bool) -> Result<Tensor> {
        let rows = match &self.local {
            Some(local) if windowed => local,
            _ => &self.global,
        };
        let turn = |x: &Tensor| {
            let x = x.unsqueeze(0)?.contiguous()?;
            let turned = match self.style {
                RopeStyle::Neighbours => rope_i(&x, &rows.cos, &rows.sin)?,
                RopeStyle::Halves => rope(&x, &rows.cos, &rows.sin)?,
            };
            turned.squeeze(0)
        };
        let head_width = x.dim(2)?;
        if self.width == head_width {
            return turn(x);
        }
        let turned = turn(&x.narrow(2, 0, self.width)?)?;
        let rest = x.narrow(2, self.width, head_width - self.width)?;
        Tensor::cat(&[turned, rest.contiguous()?], 2)
    }
}
