//! Writes llama models of well-known sizes with random weights.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Result, bail};
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};

/// Rows of random weights; a matrix repeats them, since quantising whole ones takes minutes.
const ROWS: usize = 64;

struct Shape {
    layers: usize,
    width: usize,
    heads: usize,
    key_heads: usize,
    head_width: usize,
    inner: usize,
    vocabulary: usize,
    kind: GgmlDType,
}

impl Shape {
    fn find(name: &str) -> Result<Self> {
        let (size, kind) = name.split_once('-').unwrap_or((name, ""));
        let kind = match kind {
            "q4_0" => GgmlDType::Q4_0,
            "q8_0" => GgmlDType::Q8_0,
            "q4_k" => GgmlDType::Q4K,
            "q6_k" => GgmlDType::Q6K,
            other => bail!("unknown quantisation {other}; known: q4_0, q8_0, q4_k, q6_k"),
        };
        Ok(match size {
            "135m" => Self {
                layers: 30,
                width: 576,
                heads: 9,
                key_heads: 3,
                head_width: 64,
                inner: 1536,
                vocabulary: 49_152,
                kind,
            },
            "0.6b" => Self {
                layers: 28,
                width: 1024,
                heads: 16,
                key_heads: 8,
                head_width: 128,
                inner: 3072,
                vocabulary: 151_936,
                kind,
            },
            other => bail!("unknown size {other}; known: 135m, 0.6b"),
        })
    }
}

pub(crate) fn write(name: &str, path: &Path) -> Result<()> {
    let shape = Shape::find(name)?;
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.push("▁word".to_owned());
    tokens.extend((tokens.len()..shape.vocabulary).map(|id| format!("t{id}")));
    let kinds = (0..tokens.len()).map(|id| match id {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ => 1,
    });
    let number = |number: usize| Value::U32(number as u32);
    let text = |text: &str| Value::String(text.to_owned());
    let metadata = [
        ("general.architecture", text("llama")),
        ("general.name", text(name)),
        ("llama.block_count", number(shape.layers)),
        ("llama.embedding_length", number(shape.width)),
        ("llama.attention.head_count", number(shape.heads)),
        ("llama.attention.head_count_kv", number(shape.key_heads)),
        ("llama.attention.key_length", number(shape.head_width)),
        ("llama.attention.value_length", number(shape.head_width)),
        ("llama.rope.dimension_count", number(shape.head_width)),
        ("llama.feed_forward_length", number(shape.inner)),
        ("llama.context_length", number(8192)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("tokenizer.ggml.model", text("llama")),
        (
            "tokenizer.ggml.token_type",
            Value::Array(kinds.map(Value::I32).collect()),
        ),
        (
            "tokenizer.ggml.scores",
            Value::Array(tokens.iter().map(|_| Value::F32(0.0)).collect()),
        ),
        (
            "tokenizer.ggml.tokens",
            Value::Array(tokens.iter().map(|token| text(token)).collect()),
        ),
        ("tokenizer.ggml.bos_token_id", number(1)),
        ("tokenizer.ggml.eos_token_id", number(2)),
    ];
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors = tensors(&shape)?;
    let tensors: Vec<(&str, &QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    gguf_file::write(
        &mut BufWriter::new(File::create(path)?),
        &metadata,
        &tensors,
    )?;
    Ok(())
}

fn tensors(shape: &Shape) -> Result<Vec<(String, QTensor)>> {
    let (queries, keys) = (
        shape.heads * shape.head_width,
        shape.key_heads * shape.head_width,
    );
    let mut tensors = vec![
        (
            "token_embd.weight".to_owned(),
            matrix(shape.vocabulary, shape.width, shape.kind)?,
        ),
        ("output_norm.weight".to_owned(), ones(shape.width)?),
    ];
    for layer in 0..shape.layers {
        let mut add =
            |name: &str, tensor| tensors.push((format!("blk.{layer}.{name}.weight"), tensor));
        for name in ["attn_norm", "ffn_norm"] {
            add(name, ones(shape.width)?);
        }
        for (name, rows, columns) in [
            ("attn_q", queries, shape.width),
            ("attn_k", keys, shape.width),
            ("attn_v", keys, shape.width),
            ("attn_output", shape.width, queries),
            ("ffn_gate", shape.inner, shape.width),
            ("ffn_up", shape.inner, shape.width),
            ("ffn_down", shape.width, shape.inner),
        ] {
            add(name, matrix(rows, columns, shape.kind)?);
        }
    }
    Ok(tensors)
}

fn ones(width: usize) -> Result<QTensor> {
    let ones = Tensor::ones(width, candle_core::DType::F32, &Device::Cpu)?;
    Ok(QTensor::quantize(&ones, GgmlDType::F32)?)
}

fn matrix(rows: usize, columns: usize, kind: GgmlDType) -> Result<QTensor> {
    let random = Tensor::randn(0f32, 0.03, (ROWS, columns), &Device::Cpu)?;
    let some = QTensor::quantize(&random, kind)?.data()?.into_owned();
    let all: Vec<u8> = some
        .iter()
        .copied()
        .cycle()
        .take(some.len() / ROWS * rows)
        .collect();
    let storage = QStorage::from_data(all.into(), &Device::Cpu, kind)?;
    Ok(QTensor::new(storage, (rows, columns))?)
}
