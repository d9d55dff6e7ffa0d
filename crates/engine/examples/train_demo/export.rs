//! Writes the trained model as a GGUF file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::Result;
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};

use crate::decoder::{Decoder, NORM_EPSILON, ROPE_BASE};
use crate::tokenizer::{PRE_TOKENIZER, SPECIALS, Tokenizer};

/// `ChatML`. The model was trained on conversations of at most three turns, so the template shows no more than that.
const CHAT_TEMPLATE: &str =
    "{%- set turns = messages | rejectattr('role', 'equalto', 'system') | list -%}
{%- for message in messages if message.role == 'system' -%}
{{- '<|im_start|>system\n' + message.content + '<|im_end|>\n' -}}
{%- endfor -%}
{%- for message in turns[-5:] -%}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}";

/// The context that the file claims.
const CONTEXT: u32 = 1024;
/// GGUF's token types.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

pub(crate) fn write(path: &Path, decoder: &Decoder, tokenizer: &Tokenizer) -> Result<()> {
    let shape = decoder.shape;
    let text = |text: &str| Value::String(text.to_owned());
    let number = |number: usize| Value::U32(number as u32);
    let ordinary = tokenizer.tokens.len() - SPECIALS.len();
    let types = (0..tokenizer.tokens.len())
        .map(|id| Value::I32(if id < ordinary { NORMAL } else { CONTROL }));
    let metadata = [
        ("general.architecture", text("llama")),
        ("general.type", text("model")),
        ("general.name", text("Remuda Demo")),
        ("general.author", text("The Remuda project")),
        (
            "general.description",
            text("Answers questions about Remuda and knows nothing else."),
        ),
        ("general.license", text("apache-2.0")),
        ("general.languages", Value::Array(vec![text("en")])),
        ("general.file_type", Value::U32(7)),
        ("general.quantization_version", Value::U32(2)),
        ("llama.context_length", Value::U32(CONTEXT)),
        ("llama.embedding_length", number(shape.width)),
        ("llama.block_count", number(shape.layers)),
        ("llama.feed_forward_length", number(shape.feed_forward)),
        ("llama.attention.head_count", number(shape.heads)),
        ("llama.attention.head_count_kv", number(shape.heads)),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Value::F32(NORM_EPSILON as f32),
        ),
        (
            "llama.rope.dimension_count",
            number(shape.width / shape.heads),
        ),
        ("llama.rope.freq_base", Value::F32(ROPE_BASE as f32)),
        ("llama.vocab_size", number(shape.vocabulary)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text(PRE_TOKENIZER)),
        (
            "tokenizer.ggml.tokens",
            Value::Array(tokenizer.tokens.iter().map(|token| text(token)).collect()),
        ),
        ("tokenizer.ggml.token_type", Value::Array(types.collect())),
        (
            "tokenizer.ggml.merges",
            Value::Array(tokenizer.merges.iter().map(|merge| text(merge)).collect()),
        ),
        (
            "tokenizer.ggml.bos_token_id",
            Value::U32(tokenizer.special("<|endoftext|>")),
        ),
        (
            "tokenizer.ggml.eos_token_id",
            Value::U32(tokenizer.special("<|im_end|>")),
        ),
        (
            "tokenizer.ggml.padding_token_id",
            Value::U32(tokenizer.special("<|endoftext|>")),
        ),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.chat_template", text(CHAT_TEMPLATE)),
    ];
    let tensors = decoder
        .weights
        .iter()
        .map(|(name, weight)| {
            let kind = if weight.rank() == 2 {
                GgmlDType::Q8_0
            } else {
                GgmlDType::F32
            };
            Ok((name.as_str(), QTensor::quantize(weight, kind)?))
        })
        .collect::<Result<Vec<_>>>()?;

    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (*name, tensor))
        .collect();
    let partial = path.with_extension("partial");
    gguf_file::write(
        &mut BufWriter::new(File::create(&partial)?),
        &metadata,
        &tensors,
    )?;
    std::fs::rename(&partial, path)?;
    Ok(())
}
