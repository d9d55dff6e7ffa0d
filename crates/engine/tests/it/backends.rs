//! llama.cpp as the reference for our own decoder: both read the same files and must score the same tokens alike.

use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use remuda_engine::{
    Backend, EmbedRequest, Engine, EngineConfig, GenerationEvent, KeepAlive, LoadOutcome, Prompt,
    SamplingParams, TokenLogprob,
};

use crate::fixture::{WIDTH, ask, chat, decoder_of, greedy, request, text};

/// Longer than a prompt piece, than the window of layers that have one, and than the first room in a cache.
const PROMPT: &str = "the quick brown fox jumps over the lazy dog and runs far away from here ";

/// How far log probabilities may lie apart with weights of 32 bits: llama.cpp keeps keys and values in 16 bits, we in 32.
const EXACT: f32 = 0.01;
/// The same with quantised weights: both round activations to 8 bits, and what lies between two steps may go either way.
const ROUNDED: f32 = 0.2;

fn serve(backend: Backend, path: &Path) -> Engine {
    let (engine, reports) = Engine::start(&EngineConfig {
        models: vec![path.to_owned()],
        demo: false,
        backend,
        ..EngineConfig::default()
    });
    assert_eq!(reports[0].outcome, LoadOutcome::Loaded, "{backend:?}");
    engine
}

async fn scored(engine: &Engine, prompt: &str) -> Vec<TokenLogprob> {
    let name = engine.models()[0].name.clone();
    let sampling = SamplingParams {
        logprobs: Some(20),
        num_predict: Some(24),
        ..greedy()
    };
    let mut generation = engine
        .generate(request(&name, Prompt::Raw(prompt.to_owned()), sampling))
        .await
        .unwrap();
    let mut tokens = Vec::new();
    while let Some(event) = generation.next().await {
        match event {
            GenerationEvent::Text { logprobs, .. } => tokens.extend(logprobs),
            GenerationEvent::Done { .. } => {}
            GenerationEvent::Failed(error) => panic!("{error}"),
        }
    }
    tokens
}

/// The largest difference between log probabilities of the same rank: a vocabulary may have several tokens for the same bytes.
fn distance(ours: &TokenLogprob, theirs: &TokenLogprob) -> f32 {
    let ranks = ours.top.iter().zip(&theirs.top);
    ranks
        .map(|(ours, theirs)| (ours.logprob - theirs.logprob).abs())
        .fold(0.0, f32::max)
}

/// Runs a file on both backends. After the first different token the texts differ, so a difference must be a tie.
async fn agree(label: &str, path: &Path, prompt: &str, tolerance: f32) {
    let ours = scored(&serve(Backend::Candle, path), prompt).await;
    let theirs = scored(&serve(Backend::LlamaCpp, path), prompt).await;
    assert!(!ours.is_empty(), "{label}");
    let mut furthest: f32 = 0.0;
    for (place, (our, their)) in ours.iter().zip(&theirs).enumerate() {
        furthest = furthest.max(distance(our, their));
        assert!(
            furthest < tolerance,
            "{label}: log probabilities of token {place} differ by {furthest}\n{our:?}\n{their:?}"
        );
        if our.bytes != their.bytes {
            let gap = our.top[0].logprob - our.top[1].logprob;
            assert!(gap < tolerance, "{label}: token {place} differs by {gap}");
            return;
        }
    }
    assert_eq!(ours.len(), theirs.len(), "{label}");
}

fn drafted(architecture: &str, kind: GgmlDType, width: usize) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.gguf");
    decoder_of(architecture, kind, width).write(&path);
    (directory, path)
}

#[tokio::test]
async fn every_family_scores_as_llama_cpp_does() {
    for family in [
        "llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3",
    ] {
        let (_directory, path) = drafted(family, GgmlDType::F32, WIDTH);
        for length in [1, 20, 280] {
            let prompt = &PROMPT.repeat(4)[..length];
            agree(&format!("{family}, {length} letters"), &path, prompt, EXACT).await;
        }
    }
}

#[tokio::test]
async fn every_quantisation_scores_as_llama_cpp_does() {
    for kind in [
        GgmlDType::F16,
        GgmlDType::BF16,
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q2K,
        GgmlDType::Q3K,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
    ] {
        let (_directory, path) = drafted("llama", kind, 4 * WIDTH);
        agree(&format!("{kind:?}"), &path, PROMPT, ROUNDED).await;
    }
}

#[tokio::test]
async fn the_demo_model_answers_as_on_llama_cpp() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/remuda-demo.gguf");
    for question in ["What is Remuda?", "How do I add a node?", "Write a poem"] {
        let prompt = format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n");
        agree(question, &path, &prompt, ROUNDED).await;
    }
}

#[tokio::test]
async fn a_prompt_that_begins_as_an_earlier_one_is_not_read_again() {
    // Layers with a window must forget as exactly as others.
    for family in ["llama", "gemma3"] {
        let (_directory, path) = drafted(family, GgmlDType::F32, WIDTH);
        let engine = serve(Backend::LlamaCpp, &path);
        let sampling = SamplingParams {
            num_predict: Some(12),
            ..greedy()
        };
        let raw = |text: &str| request("tiny", Prompt::Raw(text.to_owned()), sampling.clone());
        let first = ask(&engine, raw(&PROMPT.repeat(4))).await;
        let again = ask(&engine, raw(&PROMPT.repeat(4))).await;
        assert_eq!(
            (again.stats.cached_tokens, again.text()),
            (first.stats.prompt_tokens - 1, first.text()),
            "{family}"
        );
        // Little is shared, so this works on a copy and the long one stays.
        let branch = "the quick brown cat";
        let branched = ask(&engine, raw(branch)).await;
        assert!(branched.stats.cached_tokens > 10, "{family}");
        let alone = ask(&serve(Backend::LlamaCpp, &path), raw(branch)).await;
        assert_eq!(branched.text(), alone.text(), "{family}");
        let long = ask(&engine, raw(&PROMPT.repeat(4))).await;
        assert_eq!(long.stats.cached_tokens, again.stats.cached_tokens);
    }
}

#[tokio::test]
async fn a_dropped_answer_frees_its_place() {
    let (_directory, path) = drafted("llama", GgmlDType::Q8_0, WIDTH);
    let (engine, _) = Engine::start(&EngineConfig {
        models: vec![path],
        demo: false,
        backend: Backend::LlamaCpp,
        max_sequences: 1,
        max_waiting: 0,
        ..EngineConfig::default()
    });
    let wanted = || request("tiny", Prompt::Raw("the".to_owned()), greedy());
    let mut running = engine.generate(wanted()).await.unwrap();
    running.next().await.unwrap();
    assert!(engine.generate(wanted()).await.is_err());
    drop(running);
    let whole = ask(&engine, wanted()).await;
    let stop = whole.pieces[4].clone();
    let sampling = SamplingParams {
        stop: vec![stop.clone()],
        ..greedy()
    };
    let stopped = ask(
        &engine,
        request("tiny", Prompt::Raw("the".to_owned()), sampling),
    )
    .await;
    assert_eq!(stopped.text(), whole.text().split(&stop).next().unwrap());
}

#[tokio::test]
async fn embeddings_point_where_llama_cpps_do() {
    let (_directory, path) = drafted("qwen3", GgmlDType::F32, WIDTH);
    let wanted = || EmbedRequest {
        model: "tiny".to_owned(),
        inputs: vec!["a horse".to_owned(), PROMPT.repeat(2)],
        truncate: false,
        keep_alive: KeepAlive::default(),
    };
    let ours = serve(Backend::Candle, &path).embed(wanted()).await.unwrap();
    let theirs = serve(Backend::LlamaCpp, &path)
        .embed(wanted())
        .await
        .unwrap();
    assert_eq!(ours.prompt_tokens, theirs.prompt_tokens);
    for (our, their) in ours.vectors.iter().zip(&theirs.vectors) {
        let cosine: f32 = our.iter().zip(their).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "{cosine}");
    }
}

#[tokio::test]
async fn the_built_in_model_runs_whatever_the_backend() {
    let (engine, reports) = Engine::start(&EngineConfig {
        backend: Backend::LlamaCpp,
        ..EngineConfig::default()
    });
    assert_eq!(reports[0].outcome, LoadOutcome::Loaded);
    let question = request(
        "remuda-demo",
        chat(&[("user", "What is Remuda?")]),
        greedy(),
    );
    assert!(ask(&engine, question).await.text().starts_with("Remuda is"));
}

#[test]
fn what_llama_cpp_cannot_load_is_refused_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.gguf");
    let mut draft = decoder_of("llama", GgmlDType::Q8_0, WIDTH);
    draft.set("general.architecture", text("megatron"));
    draft.set("megatron.context_length", Value::U32(64));
    draft.set("megatron.embedding_length", Value::U32(64));
    draft.write(&path);
    let (_, reports) = Engine::start(&EngineConfig {
        models: vec![path],
        demo: false,
        backend: Backend::LlamaCpp,
        ..EngineConfig::default()
    });
    let LoadOutcome::Refused(reason) = &reports[0].outcome else {
        panic!("loaded");
    };
    assert!(
        reason.contains("unknown model architecture: 'megatron'"),
        "{reason}"
    );
}
