//! What a decoder looks like, read from a GGUF header: one description covers every supported architecture.

use crate::file::{GgufFile, Metadata, Refusal};

/// Bounds on what a header may claim, so that a hostile one cannot ask for absurd allocations.
const MOST_LAYERS: usize = 1024;
const MOST_WIDTH: usize = 1 << 17;
const MOST_CONTEXT: usize = 1 << 24;

/// The architectures this engine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3,
    Phi3,
}

/// The names of all supported decoder architectures, for messages.
pub(crate) const SUPPORTED: &str = "llama, qwen2, qwen3, gemma, gemma2, gemma3, phi3, bert";

impl Architecture {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "llama" => Self::Llama,
            "qwen2" => Self::Qwen2,
            "qwen3" => Self::Qwen3,
            "gemma" => Self::Gemma,
            "gemma2" => Self::Gemma2,
            "gemma3" => Self::Gemma3,
            "phi3" => Self::Phi3,
            _ => return None,
        })
    }

    fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma | Self::Gemma2 | Self::Gemma3)
    }
}

/// Which halves of a head rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RopeStyle {
    /// Neighbours: 0 with 1, 2 with 3.
    Neighbours,
    /// The first half with the second half.
    Halves,
}

/// The non-linearity of the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Silu,
    Gelu,
}

/// Layers that see only the most recent tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// How many tokens such a layer sees.
    pub(crate) tokens: usize,
    /// Every so many layers, the last sees everything.
    pub(crate) pattern: usize,
}

/// How positions are turned into rotations.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RopeSpec {
    pub(crate) style: RopeStyle,
    pub(crate) width: usize,
    pub(crate) base: f64,
    /// The base in layers with a window, where it differs.
    pub(crate) local_base: f64,
    /// Positions are divided by this in layers without a window.
    pub(crate) stretch: f64,
    /// Multiplies the rotated values.
    pub(crate) magnitude: f64,
    /// The context up to which the short factors of `phi3` apply.
    pub(crate) original_context: Option<usize>,
}

/// A decoder's shape and peculiarities.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DecoderSpec {
    pub(crate) architecture: Architecture,
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_width: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) norm_epsilon: f32,
    pub(crate) rope: RopeSpec,
    pub(crate) activation: Activation,
    pub(crate) embedding_scale: Option<f64>,
    pub(crate) attention_scale: f64,
    pub(crate) attention_cap: Option<f64>,
    pub(crate) output_cap: Option<f64>,
    pub(crate) window: Option<Window>,
}

impl DecoderSpec {
    /// Reads the description and checks that every tensor it needs is there in the right shape.
    pub(crate) fn read(file: &GgufFile) -> Result<Self, Refusal> {
        let name = file.metadata.text("general.architecture")?;
        let architecture = Architecture::from_name(name).ok_or_else(|| {
            Refusal(format!(
                "the architecture '{name}' is not supported; supported are {SUPPORTED}"
            ))
        })?;
        let vocabulary = file
            .find("token_embd.weight")
            .and_then(|dims| dims.first().copied())
            .ok_or_else(|| Refusal::new("the tensor 'token_embd.weight' is missing"))?;
        let spec = Self::from_metadata(&file.metadata, name, architecture, vocabulary)?;
        super::weights::check(&spec, file)?;
        Ok(spec)
    }

    fn from_metadata(
        metadata: &Metadata,
        name: &str,
        architecture: Architecture,
        vocabulary: usize,
    ) -> Result<Self, Refusal> {
        let key = |key: &str| format!("{name}.{key}");
        if metadata
            .find_number(&key("expert_count"))
            .is_some_and(|count| count > 0)
        {
            return Err(Refusal::new("mixture-of-experts models are not supported"));
        }
        let layers = metadata.count(&key("block_count"), MOST_LAYERS)?;
        let width = metadata.count(&key("embedding_length"), MOST_WIDTH)?;
        let heads = metadata.count(&key("attention.head_count"), MOST_WIDTH)?;
        let kv_heads = match metadata.find_number(&key("attention.head_count_kv")) {
            Some(_) => metadata.count(&key("attention.head_count_kv"), heads)?,
            None => heads,
        };
        let head_width = match metadata.find_number(&key("attention.key_length")) {
            Some(_) => metadata.count(&key("attention.key_length"), MOST_WIDTH)?,
            None => width / heads,
        };
        if !heads.is_multiple_of(kv_heads) || head_width == 0 || !head_width.is_multiple_of(2) {
            return Err(Refusal(format!(
                "{heads} heads over {kv_heads} key heads of width {head_width} is not a possible shape"
            )));
        }
        let rope_width = match metadata.find_number(&key("rope.dimension_count")) {
            Some(_) => metadata.count(&key("rope.dimension_count"), head_width)?,
            None => head_width,
        };
        let epsilon = metadata
            .find_real(&key("attention.layer_norm_rms_epsilon"))
            .unwrap_or(1e-6);
        // The largest Gemmas scale by the width that a head would have without the explicit one.
        let attention_width = match (architecture, layers) {
            (Architecture::Gemma2, 46) | (Architecture::Gemma3, 62) => width / heads,
            _ => head_width,
        };
        let cap = |key: String| metadata.find_real(&key).filter(|cap| *cap > 0.0);
        Ok(Self {
            architecture,
            layers,
            width,
            heads,
            kv_heads,
            head_width,
            feed_forward: metadata.count(&key("feed_forward_length"), MOST_WIDTH * 8)?,
            vocabulary,
            context: metadata.count(&key("context_length"), MOST_CONTEXT)?,
            norm_epsilon: epsilon as f32,
            rope: rope(metadata, name, architecture, rope_width)?,
            activation: if architecture.is_gemma() {
                Activation::Gelu
            } else {
                Activation::Silu
            },
            embedding_scale: architecture.is_gemma().then(|| (width as f64).sqrt()),
            attention_scale: 1.0 / (attention_width as f64).sqrt(),
            attention_cap: cap(key("attn_logit_softcapping")),
            output_cap: cap(key("final_logit_softcapping")),
            window: window(metadata, name, architecture),
        })
    }

    /// Tells whether a layer sees only the recent tokens, and how many.
    pub(crate) fn layer_window(&self, layer: usize) -> Option<usize> {
        let window = self.window?;
        (!(layer + 1).is_multiple_of(window.pattern)).then_some(window.tokens)
    }
}

fn rope(
    metadata: &Metadata,
    name: &str,
    architecture: Architecture,
    width: usize,
) -> Result<RopeSpec, Refusal> {
    let real = |key: &str| metadata.find_real(&format!("{name}.{key}"));
    let stretch = match metadata.find_text(&format!("{name}.rope.scaling.type")) {
        None | Some("none" | "longrope") => 1.0,
        Some("linear") => real("rope.scaling.factor").unwrap_or(1.0),
        Some(other) => {
            return Err(Refusal(format!(
                "position scaling of type '{other}' is not supported"
            )));
        }
    };
    let base = real("rope.freq_base").unwrap_or(10_000.0);
    let possible = base.is_finite() && base > 1.0 && stretch.is_finite() && stretch > 0.0;
    if !possible || !width.is_multiple_of(2) {
        return Err(Refusal::new(
            "the file's position encoding has impossible values",
        ));
    }
    Ok(RopeSpec {
        style: if architecture == Architecture::Llama {
            RopeStyle::Neighbours
        } else {
            RopeStyle::Halves
        },
        width,
        base,
        local_base: if architecture == Architecture::Gemma3 {
            10_000.0
        } else {
            base
        },
        stretch,
        magnitude: real("rope.scaling.attn_factor").unwrap_or(1.0),
        original_context: metadata
            .find_number(&format!("{name}.rope.scaling.original_context_length"))
            .and_then(|context| usize::try_from(context).ok()),
    })
}

fn window(metadata: &Metadata, name: &str, architecture: Architecture) -> Option<Window> {
    let pattern = match architecture {
        Architecture::Gemma2 => 2,
        Architecture::Gemma3 => 6,
        _ => return None,
    };
    let tokens = metadata.find_number(&format!("{name}.attention.sliding_window"))?;
    let tokens = usize::try_from(tokens).ok().filter(|tokens| *tokens > 0)?;
    Some(Window { tokens, pattern })
}
