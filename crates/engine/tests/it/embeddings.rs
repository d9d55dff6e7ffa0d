//! Vectors from encoders and, by their hidden states, from decoders.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use remuda_engine::{
    EmbedRequest, Embeddings, Engine, EngineError, KeepAlive, LoadOutcome, Prompt,
};

use crate::fixture::{WIDTH, demo, encoder, greedy, request, serve};

async fn embed(engine: &Engine, model: &str, inputs: &[&str]) -> Embeddings {
    let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
    engine
        .embed(EmbedRequest {
            model: model.to_owned(),
            inputs,
            truncate: true,
            keep_alive: KeepAlive::default(),
        })
        .await
        .unwrap()
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

fn tiny_encoder() -> (tempfile::TempDir, Engine) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny-bert.gguf");
    encoder().write(&path);
    let (engine, outcomes) = serve(vec![path]);
    assert_eq!(outcomes, [LoadOutcome::Loaded]);
    (directory, engine)
}

#[tokio::test]
async fn vectors_have_length_one_and_depend_only_on_the_text() {
    let (_directory, engine) = tiny_encoder();
    let batch = embed(
        &engine,
        "tiny-bert",
        &["hello world", "the horses", "Hello WORLD"],
    )
    .await;
    assert_eq!(batch.vectors.len(), 3);
    for vector in &batch.vectors {
        assert_eq!(vector.len(), WIDTH);
        assert!((length(vector) - 1.0).abs() < 1e-4);
    }
    assert_eq!(batch.vectors[0], batch.vectors[2]);
    assert_ne!(batch.vectors[0], batch.vectors[1]);
    assert_eq!(
        embed(&engine, "tiny-bert", &["the horses"]).await.vectors[0],
        batch.vectors[1]
    );
    // The marks of begin and end count: 2 + 2, 3 + 2, 2 + 2.
    assert_eq!(batch.prompt_tokens, 13);
}

#[tokio::test]
async fn long_texts_are_cut_or_refused_as_asked() {
    let (_directory, engine) = tiny_encoder();
    let long = "hello ".repeat(40);
    assert_eq!(
        embed(&engine, "tiny-bert", &[&long]).await.prompt_tokens,
        16
    );
    let refused = engine
        .embed(EmbedRequest {
            model: "tiny-bert".to_owned(),
            inputs: vec![long],
            truncate: false,
            keep_alive: KeepAlive::default(),
        })
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        EngineError::ContextOverflow {
            prompt: 42,
            context: 16
        }
    );
}

#[tokio::test]
async fn an_encoder_does_not_generate() {
    let (_directory, engine) = tiny_encoder();
    let error = engine
        .generate(request(
            "tiny-bert",
            Prompt::Raw("hello".to_owned()),
            greedy(),
        ))
        .await
        .unwrap_err();
    assert!(matches!(error, EngineError::Unsupported(_)));
    let card = &engine.models()[0];
    assert!(card.capabilities.embedding && !card.capabilities.completion);
}

#[tokio::test]
async fn a_decoder_embeds_too() {
    let engine = demo();
    let batch = embed(&engine, "remuda-demo", &["add a node", "create a key"]).await;
    assert!(
        batch
            .vectors
            .iter()
            .all(|vector| (length(vector) - 1.0).abs() < 1e-4)
    );
    let empty = EmbedRequest {
        model: "remuda-demo".to_owned(),
        inputs: vec![String::new()],
        truncate: true,
        keep_alive: KeepAlive::default(),
    };
    assert!(matches!(
        engine.embed(empty).await.unwrap_err(),
        EngineError::Invalid(_)
    ));
}

#[tokio::test]
async fn a_safetensors_directory_gives_the_vectors_of_the_same_gguf() {
    let (_kept, gguf) = tiny_encoder();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny-directory");
    write_directory(&path);
    let (engine, outcomes) = serve(vec![path]);
    assert_eq!(outcomes, [LoadOutcome::Loaded]);
    let expected = embed(&gguf, "tiny-bert", &["hello remuda ."]).await;
    let found = embed(&engine, "tiny-directory", &["hello remuda ."]).await;
    let difference = expected.vectors[0]
        .iter()
        .zip(&found.vectors[0])
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    // The GGUF multiplies with quantised inputs.
    assert!(difference < 0.02, "{difference}");
}

/// Writes the tiny encoder as Hugging Face's libraries would.
fn write_directory(path: &Path) {
    std::fs::create_dir(path).unwrap();
    let mut tensors = HashMap::new();
    for (name, tensor) in encoder().tensors {
        let tensor: Tensor = tensor.dequantize(&Device::Cpu).unwrap();
        let name = name
            .replace("token_embd.", "embeddings.word_embeddings.")
            .replace("token_types.", "embeddings.token_type_embeddings.")
            .replace("position_embd.", "embeddings.position_embeddings.")
            .replace("token_embd_norm.", "embeddings.LayerNorm.")
            .replace("blk.", "encoder.layer.")
            .replace("attn_q.", "attention.self.query.")
            .replace("attn_k.", "attention.self.key.")
            .replace("attn_v.", "attention.self.value.")
            .replace("attn_output.", "attention.output.dense.")
            .replace("attn_output_norm.", "attention.output.LayerNorm.")
            .replace("ffn_up.", "intermediate.dense.")
            .replace("ffn_down.", "output.dense.")
            .replace("layer_output_norm.", "output.LayerNorm.");
        tensors.insert(name, tensor);
    }
    candle_core::safetensors::save(&tensors, path.join("model.safetensors")).unwrap();
    let config = serde_json::json!({
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 16, "vocab_size": 12, "layer_norm_eps": 1e-12
    });
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    let vocabulary = serde_json::json!({
        "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "hello": 4, "world": 5, "rem": 6, "##uda": 7, "the": 8, ".": 9,
        "horse": 10, "##s": 11
    });
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2] },
        "decoder": null,
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary }
    });
    std::fs::write(path.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}
