//! What a BERT-family encoder looks like, read from a GGUF header or from the `config.json` of a safetensors directory.

use std::path::Path;

use serde::Deserialize;

use super::weights::check_shape;
use crate::file::{GgufFile, Refusal};

const MOST_LAYERS: usize = 256;
const MOST_WIDTH: usize = 1 << 16;

/// How token vectors become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The mean over all tokens.
    Mean,
    /// The first token's vector.
    First,
}

/// An encoder's shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EncoderSpec {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) norm_epsilon: f32,
    pub(crate) pooling: Pooling,
}

impl EncoderSpec {
    /// Reads a GGUF header of the architecture `bert` and checks the tensors.
    pub(crate) fn read(file: &GgufFile) -> Result<Self, Refusal> {
        let metadata = &file.metadata;
        let vocabulary = file
            .find("token_embd.weight")
            .and_then(|dims| dims.first().copied());
        let spec = Self {
            layers: metadata.count("bert.block_count", MOST_LAYERS)?,
            width: metadata.count("bert.embedding_length", MOST_WIDTH)?,
            heads: metadata.count("bert.attention.head_count", MOST_WIDTH)?,
            feed_forward: metadata.count("bert.feed_forward_length", MOST_WIDTH * 8)?,
            vocabulary: vocabulary
                .ok_or_else(|| Refusal::new("the tensor 'token_embd.weight' is missing"))?,
            context: metadata.count("bert.context_length", 1 << 20)?,
            norm_epsilon: metadata
                .find_real("bert.attention.layer_norm_epsilon")
                .unwrap_or(1e-12) as f32,
            pooling: if metadata.find_number("bert.pooling_type") == Some(2) {
                Pooling::First
            } else {
                Pooling::Mean
            },
        };
        spec.check()?;
        let (width, inner) = (spec.width, spec.feed_forward);
        check_shape(file, "token_embd.weight", &[spec.vocabulary, width])?;
        check_shape(file, "position_embd.weight", &[spec.context, width])?;
        for layer in 0..spec.layers {
            let tensors: [(&str, &[usize]); 6] = [
                ("attn_q", &[width, width]),
                ("attn_k", &[width, width]),
                ("attn_v", &[width, width]),
                ("attn_output", &[width, width]),
                ("ffn_up", &[inner, width]),
                ("ffn_down", &[width, inner]),
            ];
            for (name, dims) in tensors {
                check_shape(file, &format!("blk.{layer}.{name}.weight"), dims)?;
            }
        }
        Ok(spec)
    }

    /// Reads the configuration files of a safetensors directory.
    pub(crate) fn read_directory(directory: &Path) -> Result<Self, Refusal> {
        let config: BertConfig = read_json(&directory.join("config.json"))?;
        if config.model_type != "bert" {
            return Err(Refusal(format!(
                "the model type '{}' is not supported as safetensors; supported is bert",
                config.model_type
            )));
        }
        if !matches!(config.hidden_act.as_str(), "gelu") {
            return Err(Refusal(format!(
                "the activation '{}' is not supported",
                config.hidden_act
            )));
        }
        let pooling_file = directory.join("1_Pooling").join("config.json");
        let first = pooling_file.exists()
            && read_json::<PoolingConfig>(&pooling_file)?.pooling_mode_cls_token;
        let spec = Self {
            layers: config.num_hidden_layers,
            width: config.hidden_size,
            heads: config.num_attention_heads,
            feed_forward: config.intermediate_size,
            vocabulary: config.vocab_size,
            context: config.max_position_embeddings,
            norm_epsilon: config.layer_norm_eps,
            pooling: if first { Pooling::First } else { Pooling::Mean },
        };
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), Refusal> {
        let sound = (1..=MOST_LAYERS).contains(&self.layers)
            && (1..=MOST_WIDTH).contains(&self.width)
            && (1..=self.width).contains(&self.heads)
            && self.width.is_multiple_of(self.heads)
            && self.context > 2;
        if sound {
            Ok(())
        } else {
            Err(Refusal::new("the encoder's sizes are not a possible shape"))
        }
    }
}

#[derive(Deserialize)]
struct BertConfig {
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    hidden_act: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    vocab_size: usize,
    #[serde(default = "default_epsilon")]
    layer_norm_eps: f32,
}

fn default_epsilon() -> f32 {
    1e-12
}

#[derive(Deserialize)]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode_cls_token: bool,
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Refusal> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Refusal(format!("cannot read {name}: {error}")))?;
    serde_json::from_str(&text)
        .map_err(|error| Refusal(format!("{name} is not as expected: {error}")))
}
