//! Every architecture runs, and gives the same text however its prompt is cut into pieces.

use remuda_engine::{LoadOutcome, Prompt, SamplingParams};

use crate::fixture::{ask, decoder, greedy, request, serve};

/// Longer than one prompt piece and than the sliding window.
const PROMPT: &str = "the quick brown fox jumps over the lazy dog and runs far away from here";

async fn reads_alike_with_and_without_cache(architecture: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.gguf");
    decoder(architecture).write(&path);
    let (engine, outcomes) = serve(vec![path]);
    assert_eq!(outcomes, [LoadOutcome::Loaded], "{architecture}");
    let sampling = SamplingParams {
        num_predict: Some(12),
        ..greedy()
    };
    let first = ask(
        &engine,
        request("tiny", Prompt::Raw(PROMPT.to_owned()), sampling.clone()),
    )
    .await;
    assert_eq!(first.stats.cached_tokens, 0);
    assert!(
        first.stats.prompt_tokens > 64,
        "{architecture}: {:?}",
        first.stats
    );
    let again = ask(
        &engine,
        request("tiny", Prompt::Raw(PROMPT.to_owned()), sampling),
    )
    .await;
    assert_eq!(
        again.stats.cached_tokens,
        again.stats.prompt_tokens - 1,
        "{architecture}"
    );
    assert_eq!(again.text(), first.text(), "{architecture}");
}

#[tokio::test]
async fn every_decoder_architecture_runs() {
    for architecture in [
        "llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3",
    ] {
        reads_alike_with_and_without_cache(architecture).await;
    }
}
