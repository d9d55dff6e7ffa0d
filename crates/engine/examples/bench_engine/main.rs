//! Measures prompt reading, generation and memory: `bench_engine [FILE.gguf | --shape NAME] [--backend NAME] [--prompt N] [--tokens N]
//! [--sequences N] [--threads N]`.
//!
//! A shape is a model with random weights: `135m-q8_0`, `135m-q4_0`, `0.6b-q4_k`, `0.6b-q8_0`; speed does not depend on what weights say.
//! Without a file or shape it measures the demo model. The prompt is cut or repeated to about the asked length.

mod shape;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use remuda_engine::{
    Backend, Engine, EngineConfig, GenerateRequest, GenerationEvent, GenerationStats, KeepAlive,
    LoadOutcome, Prompt, SamplingParams, reserve_compute_threads,
};

/// As in the server: the default allocator would give large tensors back to the system all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Options {
    file: Option<PathBuf>,
    shape: Option<String>,
    backend: Backend,
    threads: Option<usize>,
    prompt: usize,
    tokens: i64,
    sequences: usize,
}

fn main() -> Result<()> {
    let mut options = options()?;
    reserve_compute_threads(options.threads);
    let directory = tempfile::tempdir()?;
    if let Some(name) = &options.shape {
        let path = directory.path().join(format!("{name}.gguf"));
        shape::write(name, &path)?;
        options.file = Some(path);
    }
    tokio::runtime::Builder::new_current_thread()
        .build()?
        .block_on(measure(options))
}

fn options() -> Result<Options> {
    let mut options = Options {
        file: None,
        shape: None,
        backend: Backend::Candle,
        threads: None,
        prompt: 128,
        tokens: 64,
        sequences: 1,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--prompt" => options.prompt = value()?.parse()?,
            "--tokens" => options.tokens = value()?.parse()?,
            "--sequences" => options.sequences = value()?.parse()?,
            "--threads" => options.threads = Some(value()?.parse()?),
            "--shape" => options.shape = Some(value()?),
            "--backend" => {
                options.backend = match value()?.as_str() {
                    "candle" => Backend::Candle,
                    "llama_cpp" => Backend::LlamaCpp,
                    other => bail!("unknown backend {other}; known: candle, llama_cpp"),
                }
            }
            name if name.starts_with('-') => {
                bail!(
                    "unknown option {name}; known: --shape, --backend, --prompt, --tokens, --sequences, --threads"
                )
            }
            file => options.file = Some(file.into()),
        }
    }
    Ok(options)
}

async fn measure(options: Options) -> Result<()> {
    let config = EngineConfig {
        demo: options.file.is_none(),
        models: options.file.into_iter().collect(),
        max_sequences: options.sequences,
        backend: options.backend,
        threads: options.threads,
        ..EngineConfig::default()
    };
    let (engine, reports) = Engine::start(&config);
    let report = reports.into_iter().next().context("nothing to measure")?;
    if let LoadOutcome::Refused(reason) = report.outcome {
        bail!("{}: {reason}", report.name);
    }
    engine.load(&report.name, KeepAlive::Forever).await?;
    let per_word = engine.tokenize(&report.name, "word ".repeat(64)).await? as f64 / 64.0;
    let words = (options.prompt as f64 / per_word) as usize;
    let mut running = Vec::new();
    for sequence in 0..options.sequences {
        let request = GenerateRequest {
            model: report.name.clone(),
            // Different beginnings, so that no sequence profits from another's cache.
            prompt: Prompt::Raw(format!("{sequence} {}", "word ".repeat(words))),
            sampling: SamplingParams {
                seed: Some(1),
                temperature: 2.0,
                num_predict: Some(options.tokens),
                ..SamplingParams::default()
            },
            num_ctx: None,
            keep_alive: KeepAlive::Forever,
        };
        running.push(engine.generate(request).await?);
    }
    for mut generation in running {
        while let Some(event) = generation.next().await {
            match event {
                GenerationEvent::Text { .. } => {}
                GenerationEvent::Done { stats, .. } => print(&report.name, &stats),
                GenerationEvent::Failed(error) => bail!(error),
            }
        }
    }
    print_memory()
}

fn print(name: &str, stats: &GenerationStats) {
    let rate = |tokens: u64, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
    eprintln!(
        "{name}: prompt {} tokens at {:.1}/s, answer {} tokens at {:.1}/s",
        stats.prompt_tokens,
        rate(stats.prompt_tokens - stats.cached_tokens, stats.prompt_eval),
        stats.completion_tokens,
        rate(stats.completion_tokens, stats.eval),
    );
}

/// Prints what the process holds in memory, which Linux tells apart: pages of its own, and pages of mapped files that can be dropped.
fn print_memory() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let lines = status.lines().filter(|line| {
        ["VmHWM", "RssAnon", "RssFile"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    for line in lines {
        eprintln!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    Ok(())
}
