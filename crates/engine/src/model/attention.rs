//! Causal attention of new tokens over everything a sequence has read.

use candle_core::{D, Device, Result, Tensor};

/// How one layer's attention is scaled and limited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) scale: f64,
    pub(crate) cap: Option<f64>,
    /// The most recent tokens that are visible; `None` shows all.
    pub(crate) window: Option<usize>,
}

/// Mixes `values` for the queries of new tokens.
///
/// Queries have the shape (heads, new, width); keys and values (key heads, all, width). The new tokens are the last of all.
/// Returns (new, heads times width).
pub(crate) fn attend(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    limits: Limits,
) -> Result<Tensor> {
    let (heads, new, width) = queries.dims3()?;
    let (kv_heads, all, _) = keys.dims3()?;
    let group = heads / kv_heads;
    // Heads that share keys become rows of one product, so that keys need not be repeated.
    let queries = (queries
        .contiguous()?
        .reshape((kv_heads, group * new, width))?
        * limits.scale)?;
    let mut scores = queries.matmul(&keys.t()?)?;
    if let Some(cap) = limits.cap {
        scores = ((scores / cap)?.tanh()? * cap)?;
    }
    if let Some(mask) = mask(new, all, limits.window)? {
        scores = scores
            .reshape((kv_heads, group, new, all))?
            .broadcast_add(&mask)?
            .reshape((kv_heads, group * new, all))?;
    }
    let shares = candle_nn::ops::softmax_last_dim(&scores)?;
    shares
        .matmul(values)?
        .reshape((heads, new, width))?
        .transpose(0, 1)?
        .contiguous()?
        .flatten_from(1)
}

/// Attention in which every token sees every other, for encoders. Shapes as in [`attend`].
pub(crate) fn attend_freely(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    scale: f64,
) -> Result<Tensor> {
    let scores = (queries.contiguous()?.matmul(&keys.t()?)? * scale)?;
    let shares = candle_nn::ops::softmax(&scores, D::Minus1)?;
    shares
        .matmul(&values.contiguous()?)?
        .transpose(0, 1)?
        .contiguous()?
        .flatten_from(1)
}

/// Makes the additive mask (new, all), or `None` when nothing is hidden.
fn mask(new: usize, all: usize, window: Option<usize>) -> Result<Option<Tensor>> {
    let window = window.filter(|window| all > *window);
    if new == 1 && window.is_none() {
        return Ok(None);
    }
    let before = all - new;
    let hidden = |row: usize, column: usize| {
        let place = before + row;
        column > place || window.is_some_and(|window| column + window <= place)
    };
    let values: Vec<f32> = (0..new)
        .flat_map(|row| {
            (0..all).map(move |column| {
                if hidden(row, column) {
                    f32::NEG_INFINITY
                } else {
                    0.0
                }
            })
        })
        .collect();
    Tensor::from_vec(values, (new, all), &Device::Cpu).map(Some)
}
