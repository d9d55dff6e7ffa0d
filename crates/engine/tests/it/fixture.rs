//! Tiny models with random weights for every architecture, and short ways to ask the engine.

use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use remuda_engine::{
    ChatPrompt, ChatTurn, Engine, EngineConfig, GenerateRequest, Generation, GenerationEvent,
    GenerationStats, KeepAlive, LoadOutcome, Prompt, SamplingParams, StopReason,
};

pub(crate) const WIDTH: usize = 64;
const HEADS: usize = 4;
const KEY_HEADS: usize = 2;
const INNER: usize = 96;
const LAYERS: usize = 2;

/// A GGUF file in the making.
pub(crate) struct Draft {
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<(String, QTensor)>,
    /// The type of matrices whose rows it divides.
    kind: GgmlDType,
    seed: u64,
}

impl Draft {
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.metadata.retain(|(present, _)| present != key);
        self.metadata.push((key.to_owned(), value));
    }

    pub(crate) fn tensor(&mut self, name: &str, dims: &[usize]) {
        let count: usize = dims.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| {
                self.seed = self
                    .seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let unit = (self.seed >> 40) as f32 / (1u64 << 24) as f32;
                if dims.len() == 1 {
                    0.75 + unit / 2.0
                } else {
                    (unit - 0.5) * 4.8 / (dims[1] as f32).sqrt()
                }
            })
            .collect();
        let kind = if dims.len() == 2 && dims[1].is_multiple_of(self.kind.block_size()) {
            self.kind
        } else {
            GgmlDType::F32
        };
        let tensor = Tensor::from_vec(values, dims, &Device::Cpu).unwrap();
        self.tensors.retain(|(present, _)| present != name);
        self.tensors
            .push((name.to_owned(), QTensor::quantize(&tensor, kind).unwrap()));
    }

    pub(crate) fn write(&self, path: &Path) {
        let metadata: Vec<(&str, &Value)> = self
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .collect();
        let tensors: Vec<(&str, &QTensor)> = self
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .collect();
        gguf_file::write(&mut File::create(path).unwrap(), &metadata, &tensors).unwrap();
    }
}

pub(crate) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

pub(crate) fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(values.into_iter().map(text).collect())
}

/// A tiny decoder with random weights, see [`decoder_of`].
pub(crate) fn decoder(architecture: &str) -> Draft {
    decoder_of(architecture, GgmlDType::Q8_0, WIDTH)
}

/// A decoder with random weights of one type, whose vocabulary is `SentencePiece` bytes and a few marks.
pub(crate) fn decoder_of(architecture: &str, kind: GgmlDType, width: usize) -> Draft {
    let (head, inner) = (width / HEADS, width * 2);
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(('a'..='z').map(String::from));
    tokens.push("▁".to_owned());
    let kinds = (0..tokens.len()).map(|id| match id {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ => 1,
    });
    let vocabulary = tokens.len();
    let mut draft = Draft {
        metadata: Vec::new(),
        tensors: Vec::new(),
        kind,
        seed: 42,
    };
    let key = |name: &str| format!("{architecture}.{name}");
    draft.set("general.architecture", text(architecture));
    draft.set("general.name", text("tiny"));
    for (name, value) in [
        ("block_count", LAYERS),
        ("embedding_length", width),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KEY_HEADS),
        ("attention.key_length", head),
        ("attention.value_length", head),
        ("feed_forward_length", inner),
        ("context_length", 512),
        ("attention.sliding_window", 8),
    ] {
        draft.set(&key(name), Value::U32(value as u32));
    }
    draft.set(&key("attention.layer_norm_rms_epsilon"), Value::F32(1e-6));
    if architecture == "gemma2" {
        draft.set(&key("attn_logit_softcapping"), Value::F32(50.0));
        draft.set(&key("final_logit_softcapping"), Value::F32(30.0));
    }
    draft.set("tokenizer.ggml.model", text("llama"));
    draft.set(
        "tokenizer.ggml.token_type",
        Value::Array(kinds.map(Value::I32).collect()),
    );
    draft.set(
        "tokenizer.ggml.scores",
        Value::Array(tokens.iter().map(|_| Value::F32(0.0)).collect()),
    );
    draft.set(
        "tokenizer.ggml.tokens",
        texts(tokens.iter().map(String::as_str)),
    );
    draft.set("tokenizer.ggml.bos_token_id", Value::U32(1));
    draft.set("tokenizer.ggml.eos_token_id", Value::U32(2));

    draft.tensor("token_embd.weight", &[vocabulary, width]);
    draft.tensor("output_norm.weight", &[width]);
    // Gemmas share the embedding's weights.
    if !architecture.starts_with("gemma") {
        draft.tensor("output.weight", &[vocabulary, width]);
    }
    for layer in 0..LAYERS {
        let mut add =
            |name: &str, dims: &[usize]| draft.tensor(&format!("blk.{layer}.{name}"), dims);
        add("attn_norm.weight", &[width]);
        add("attn_output.weight", &[width, HEADS * head]);
        add("ffn_norm.weight", &[width]);
        add("ffn_down.weight", &[width, inner]);
        if architecture == "phi3" {
            add("attn_qkv.weight", &[(HEADS + 2 * KEY_HEADS) * head, width]);
            add("ffn_up.weight", &[2 * inner, width]);
        } else {
            add("attn_q.weight", &[HEADS * head, width]);
            add("attn_k.weight", &[KEY_HEADS * head, width]);
            add("attn_v.weight", &[KEY_HEADS * head, width]);
            add("ffn_gate.weight", &[inner, width]);
            add("ffn_up.weight", &[inner, width]);
        }
        if architecture == "qwen2" {
            add("attn_q.bias", &[HEADS * head]);
            add("attn_k.bias", &[KEY_HEADS * head]);
            add("attn_v.bias", &[KEY_HEADS * head]);
        }
        if matches!(architecture, "qwen3" | "gemma3") {
            add("attn_q_norm.weight", &[head]);
            add("attn_k_norm.weight", &[head]);
        }
        if matches!(architecture, "gemma2" | "gemma3") {
            add("post_attention_norm.weight", &[width]);
            add("post_ffw_norm.weight", &[width]);
        }
    }
    draft
}

/// A BERT encoder with random weights and a `WordPiece` vocabulary in GGUF's spelling.
pub(crate) fn encoder() -> Draft {
    let tokens = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁hello", "▁world", "▁rem", "uda", "▁the", "▁.",
        "▁horse", "s",
    ];
    let mut draft = Draft {
        metadata: Vec::new(),
        tensors: Vec::new(),
        kind: GgmlDType::Q8_0,
        seed: 7,
    };
    draft.set("general.architecture", text("bert"));
    for (name, value) in [
        ("block_count", LAYERS),
        ("embedding_length", WIDTH),
        ("attention.head_count", HEADS),
        ("feed_forward_length", INNER),
        ("context_length", 16),
        ("pooling_type", 1),
    ] {
        draft.set(&format!("bert.{name}"), Value::U32(value as u32));
    }
    draft.set("bert.attention.layer_norm_epsilon", Value::F32(1e-12));
    draft.set("tokenizer.ggml.model", text("bert"));
    draft.set("tokenizer.ggml.tokens", texts(tokens));
    draft.tensor("token_embd.weight", &[tokens.len(), WIDTH]);
    draft.tensor("token_types.weight", &[2, WIDTH]);
    draft.tensor("position_embd.weight", &[16, WIDTH]);
    draft.tensor("token_embd_norm.weight", &[WIDTH]);
    draft.tensor("token_embd_norm.bias", &[WIDTH]);
    for layer in 0..LAYERS {
        for (name, rows, columns) in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, WIDTH),
            ("attn_v", WIDTH, WIDTH),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_up", INNER, WIDTH),
            ("ffn_down", WIDTH, INNER),
        ] {
            draft.tensor(&format!("blk.{layer}.{name}.weight"), &[rows, columns]);
            draft.tensor(&format!("blk.{layer}.{name}.bias"), &[rows]);
        }
        for name in ["attn_output_norm", "layer_output_norm"] {
            draft.tensor(&format!("blk.{layer}.{name}.weight"), &[WIDTH]);
            draft.tensor(&format!("blk.{layer}.{name}.bias"), &[WIDTH]);
        }
    }
    draft
}

/// Serves files without the demo model.
pub(crate) fn serve(models: Vec<PathBuf>) -> (Engine, Vec<LoadOutcome>) {
    let (engine, reports) = Engine::start(&EngineConfig {
        models,
        demo: false,
        ..EngineConfig::default()
    });
    (
        engine,
        reports.into_iter().map(|report| report.outcome).collect(),
    )
}

/// Serves the demo model only.
pub(crate) fn demo() -> Engine {
    Engine::start(&EngineConfig::default()).0
}

pub(crate) fn greedy() -> SamplingParams {
    SamplingParams {
        temperature: 0.0,
        repeat_penalty: 1.0,
        ..SamplingParams::default()
    }
}

pub(crate) fn chat(turns: &[(&str, &str)]) -> Prompt {
    Prompt::Chat(ChatPrompt {
        messages: turns
            .iter()
            .map(|(role, content)| ChatTurn::new(*role, *content))
            .collect(),
        ..ChatPrompt::default()
    })
}

pub(crate) fn request(model: &str, prompt: Prompt, sampling: SamplingParams) -> GenerateRequest {
    GenerateRequest {
        model: model.to_owned(),
        prompt,
        sampling,
        num_ctx: None,
        keep_alive: KeepAlive::default(),
    }
}

/// A finished answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Finished {
    pub(crate) pieces: Vec<String>,
    pub(crate) reason: StopReason,
    pub(crate) stats: GenerationStats,
}

impl Finished {
    pub(crate) fn text(&self) -> String {
        self.pieces.concat()
    }
}

pub(crate) async fn finish(mut generation: Generation) -> Finished {
    let mut pieces = Vec::new();
    while let Some(event) = generation.next().await {
        match event {
            GenerationEvent::Text { text, .. } => pieces.push(text),
            GenerationEvent::Done { reason, stats } => {
                return Finished {
                    pieces,
                    reason,
                    stats,
                };
            }
            GenerationEvent::Failed(error) => panic!("generation failed: {error}"),
        }
    }
    panic!("the stream ended without a last event");
}

pub(crate) async fn ask(engine: &Engine, request: GenerateRequest) -> Finished {
    finish(engine.generate(request).await.unwrap()).await
}
