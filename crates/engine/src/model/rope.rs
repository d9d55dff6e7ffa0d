//! Rotary position encoding: tables of sines and cosines that grow with the context in use.

use candle_core::{Device, Result, Tensor};
use candle_nn::rotary_emb::{rope, rope_i};

use super::spec::{DecoderSpec, RopeSpec, RopeStyle};
use crate::file::{GgufFile, Refusal};

use super::weights::load_plain;

/// Positions per table growth.
const STEP: usize = 512;

/// One table of rotations.
#[derive(Debug)]
struct Table {
    /// Angle per position, one for each rotated pair.
    steps: Vec<f64>,
    magnitude: f64,
    rows: usize,
    cos: Tensor,
    sin: Tensor,
}

impl Table {
    fn new(steps: Vec<f64>, magnitude: f64) -> Result<Self> {
        let empty = Tensor::zeros((0, steps.len()), candle_core::DType::F32, &Device::Cpu);
        // Zero-sized tensors are fine as placeholders: `grow` replaces them before the first use.
        let empty = empty?;
        Ok(Self {
            steps,
            magnitude,
            rows: 0,
            cos: empty.clone(),
            sin: empty,
        })
    }

    fn grow(&mut self, rows: usize) -> Result<()> {
        if rows <= self.rows {
            return Ok(());
        }
        let rows = rows.div_ceil(STEP) * STEP;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in 0..rows {
            for step in &self.steps {
                let angle = position as f64 * step;
                cos.push((angle.cos() * self.magnitude) as f32);
                sin.push((angle.sin() * self.magnitude) as f32);
            }
        }
        let shape = (rows, self.steps.len());
        self.cos = Tensor::from_vec(cos, shape, &Device::Cpu)?;
        self.sin = Tensor::from_vec(sin, shape, &Device::Cpu)?;
        self.rows = rows;
        Ok(())
    }
}

/// The rotations of a decoder: one table for layers that see everything, one for layers with a window.
#[derive(Debug)]
pub(crate) struct Rope {
    spec: RopeSpec,
    global: Table,
    local: Option<Table>,
}

impl Rope {
    /// Makes the tables for a model that will be used with contexts up to `context`.
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
        let local = match spec.window {
            Some(_) => Some(Table::new(
                frequencies(rope.local_base, 1.0),
                rope.magnitude,
            )?),
            None => None,
        };
        Ok(Self {
            global: Table::new(frequencies(rope.base, rope.stretch), rope.magnitude)?,
            local,
            spec: rope.clone(),
        })
    }

    /// Makes sure that positions below `rows` can be rotated.
    pub(crate) fn grow(&mut self, rows: usize) -> Result<()> {
        self.global.grow(rows)?;
        self.local.as_mut().map_or(Ok(()), |table| table.grow(rows))
    }

    /// Rotates `x` of shape (heads, tokens, head width), whose first token stands at `position`.
    pub(crate) fn rotate(&self, x: &Tensor, position: usize, windowed: bool) -> Result<Tensor> {
        let table = if windowed {
            self.local.as_ref().unwrap_or(&self.global)
        } else {
            &self.global
        };
        let (_, tokens, head_width) = x.dims3()?;
        let cos = table.cos.narrow(0, position, tokens)?;
        let sin = table.sin.narrow(0, position, tokens)?;
        let turn = |x: &Tensor| {
            let x = x.unsqueeze(0)?.contiguous()?;
            let turned = match self.spec.style {
                RopeStyle::Neighbours => rope_i(&x, &cos, &sin)?,
                RopeStyle::Halves => rope(&x, &cos, &sin)?,
            };
            turned.squeeze(0)
        };
        if self.spec.width == head_width {
            return turn(x);
        }
        let turned = turn(&x.narrow(2, 0, self.spec.width)?)?;
        let rest = x.narrow(2, self.spec.width, head_width - self.spec.width)?;
        Tensor::cat(&[turned, rest.contiguous()?], 2)
    }
}
