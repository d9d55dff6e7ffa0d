//! A small llama-architecture decoder on candle's autograd. Weights carry the names that GGUF gives them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::{D, Device, Tensor, Var};

use crate::rng::Rng;

/// The sizes of the model.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) vocabulary: usize,
    pub(crate) width: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
}

pub(crate) const ROPE_BASE: f64 = 10_000.0;
pub(crate) const NORM_EPSILON: f64 = 1e-5;

pub(crate) struct Decoder {
    pub(crate) shape: Shape,
    pub(crate) weights: BTreeMap<String, Var>,
    cos: Tensor,
    sin: Tensor,
    mask: Tensor,
}

impl Decoder {
    /// Makes a decoder with random weights for rows of `row` tokens.
    pub(crate) fn new(shape: Shape, row: usize, rng: &mut Rng) -> Result<Self> {
        let mut weights = BTreeMap::new();
        let mut add = |name: String, dims: &[usize], deviation: Option<f64>| -> Result<()> {
            let count = dims.iter().product();
            let values: Vec<f32> = (0..count)
                .map(|_| deviation.map_or(1.0, |d| rng.normal(d)))
                .collect();
            weights.insert(name, Var::from_vec(values, dims, &Device::Cpu)?);
            Ok(())
        };
        let Shape {
            vocabulary,
            width,
            layers,
            feed_forward,
            ..
        } = shape;
        let (base, residual) = (
            0.02 * (576.0 / width as f64).sqrt(),
            0.02 / (2.0 * layers as f64).sqrt(),
        );
        add(
            "token_embd.weight".to_owned(),
            &[vocabulary, width],
            Some(0.04),
        )?;
        for layer in 0..layers {
            let mut add = |name: &str, dims: &[usize], deviation| {
                add(format!("blk.{layer}.{name}.weight"), dims, deviation)
            };
            add("attn_norm", &[width], None)?;
            add("attn_q", &[width, width], Some(base))?;
            add("attn_k", &[width, width], Some(base))?;
            add("attn_v", &[width, width], Some(base))?;
            add("attn_output", &[width, width], Some(residual))?;
            add("ffn_norm", &[width], None)?;
            add("ffn_gate", &[feed_forward, width], Some(base))?;
            add("ffn_up", &[feed_forward, width], Some(base))?;
            add("ffn_down", &[width, feed_forward], Some(residual))?;
        }
        add("output_norm.weight".to_owned(), &[width], None)?;

        let half = width / shape.heads / 2;
        let angles: Vec<f32> = (0..row)
            .flat_map(|position| {
                (0..half).map(move |i| {
                    (position as f64 * ROPE_BASE.powf(-(i as f64) / half as f64)) as f32
                })
            })
            .collect();
        let angles = Tensor::from_vec(angles, (row, half, 1), &Device::Cpu)?;
        let mask: Vec<f32> = (0..row)
            .flat_map(|i| (0..row).map(move |j| if j > i { -1e9 } else { 0.0 }))
            .collect();
        Ok(Self {
            shape,
            weights,
            cos: angles.cos()?,
            sin: angles.sin()?,
            mask: Tensor::from_vec(mask, (row, row), &Device::Cpu)?,
        })
    }

    /// Computes the scores of the tokens that follow the given places of a batch of full rows.
    pub(crate) fn scores(&self, ids: &Tensor, places: &Tensor) -> Result<Tensor> {
        let (rows, length) = ids.dims2()?;
        let embedding = self.weight("token_embd.weight")?;
        let mut x = embedding.index_select(&ids.flatten_all()?, 0)?;
        for layer in 0..self.shape.layers {
            let weight = |name: &str| self.weight(&format!("blk.{layer}.{name}.weight"));
            let normed = norm(&x, weight("attn_norm")?)?;
            let attended = self.attention(&normed, rows, length, &weight)?;
            x = (x + attended)?;
            let normed = norm(&x, weight("ffn_norm")?)?;
            let gate = normed.matmul(&weight("ffn_gate")?.t()?)?.silu()?;
            let up = normed.matmul(&weight("ffn_up")?.t()?)?;
            x = (x + (gate * up)?.matmul(&weight("ffn_down")?.t()?)?)?;
        }
        let x = norm(
            &x.index_select(places, 0)?,
            self.weight("output_norm.weight")?,
        )?;
        Ok(x.matmul(&embedding.t()?)?)
    }

    fn attention<'a>(
        &'a self,
        x: &Tensor,
        rows: usize,
        length: usize,
        weight: &impl Fn(&str) -> Result<&'a Var>,
    ) -> Result<Tensor> {
        let (heads, width) = (self.shape.heads, self.shape.width);
        let head = width / heads;
        let split = |name: &str| -> Result<Tensor> {
            Ok(x.matmul(&weight(name)?.t()?)?
                .reshape((rows, length, heads, head))?
                .transpose(1, 2)?
                .contiguous()?)
        };
        let q = (self.rotate(&split("attn_q")?)? * (1.0 / (head as f64).sqrt()))?;
        let k = self.rotate(&split("attn_k")?)?;
        let v = split("attn_v")?;
        // No maximum is subtracted: the scores of so small a model stay far from overflow, and it saves two passes each way.
        let shares = q.matmul(&k.t()?)?.broadcast_add(&self.mask)?.exp()?;
        let shares = shares.broadcast_div(&shares.sum_keepdim(D::Minus1)?)?;
        let mixed = shares
            .matmul(&v)?
            .transpose(1, 2)?
            .contiguous()?
            .reshape((rows * length, width))?;
        Ok(mixed.matmul(&weight("attn_output")?.t()?)?)
    }

    /// Rotates neighbouring pairs by their position, as llama files expect.
    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, heads, length, head) = x.dims4()?;
        let pairs = x.reshape((rows, heads, length, head / 2, 2))?;
        let (even, odd) = (pairs.narrow(4, 0, 1)?, pairs.narrow(4, 1, 1)?);
        let turned_even = (even.broadcast_mul(&self.cos)? - odd.broadcast_mul(&self.sin)?)?;
        let turned_odd = (even.broadcast_mul(&self.sin)? + odd.broadcast_mul(&self.cos)?)?;
        Ok(Tensor::cat(&[turned_even, turned_odd], 4)?.reshape((rows, heads, length, head))?)
    }

    fn weight(&self, name: &str) -> Result<&Var> {
        self.weights
            .get(name)
            .with_context(|| format!("no weight named {name}"))
    }
}

fn norm(x: &Tensor, weight: &Var) -> Result<Tensor> {
    let scale = ((x.sqr()?.mean_keepdim(D::Minus1)? + NORM_EPSILON)?).sqrt()?;
    Ok(x.broadcast_div(&scale)?.broadcast_mul(weight)?)
}
