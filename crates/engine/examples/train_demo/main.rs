//! Trains the demo model from its corpus and writes it as GGUF: `train_demo [--steps N] [--seed N] [--out FILE]`.
//!
//! The same seed gives the same tokenizer and the same training rows everywhere; weights may differ in their last bits between processors.

mod corpus;
mod decoder;
mod export;
mod rng;
mod tokenizer;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, loss};

use crate::corpus::Block;
use crate::decoder::{Decoder, Shape};
use crate::rng::Rng;
use crate::tokenizer::Tokenizer;

/// As in the server: the default allocator gives every large tensor back to the system, which costs a third of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const VOCABULARY: usize = 2048;
/// Tokens per training row: about three turns.
const ROW: usize = 192;
const ROWS_PER_STEP: usize = 16;
const PEAK_RATE: f64 = 2.5e-3;
const WARM_UP_STEPS: usize = 40;
const REPORT_EVERY: usize = 20;
const SAVE_EVERY: usize = 100;

struct Options {
    steps: usize,
    seed: u64,
    out: PathBuf,
}

fn main() -> Result<()> {
    remuda_engine::reserve_compute_threads(None);
    let demo = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/demo"));
    let options = options(&demo)?;
    let text =
        std::fs::read_to_string(demo.join("corpus.txt")).context("cannot read the corpus")?;
    let blocks = corpus::parse(&text)?;
    let mut rng = Rng::new(options.seed);
    let tokenizer = Tokenizer::train(&corpus::tokenizer_texts(&blocks, &mut rng)?, VOCABULARY)?;
    let shape = Shape {
        vocabulary: tokenizer.tokens.len(),
        width: 192,
        layers: 4,
        heads: 4,
        feed_forward: 512,
    };
    let decoder = Decoder::new(shape, ROW, &mut rng)?;
    let parameters: usize = decoder
        .weights
        .values()
        .map(|weight| weight.elem_count())
        .sum();
    eprintln!(
        "{} blocks, {} tokens in the vocabulary, {parameters} parameters",
        blocks.len(),
        shape.vocabulary
    );

    train(&options, &blocks, &tokenizer, &decoder, &mut rng)?;
    export::write(&options.out, &decoder, &tokenizer)?;
    eprintln!(
        "wrote {} ({} bytes)",
        options.out.display(),
        std::fs::metadata(&options.out)?.len()
    );
    Ok(())
}

fn options(demo: &std::path::Path) -> Result<Options> {
    let mut options = Options {
        steps: 600,
        seed: 11,
        out: demo.join("remuda-demo.gguf"),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--steps" => options.steps = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            "--out" => options.out = value.into(),
            _ => bail!("unknown option {name}; known: --steps, --seed, --out"),
        }
    }
    Ok(options)
}

fn train(
    options: &Options,
    blocks: &[Block],
    tokenizer: &Tokenizer,
    decoder: &Decoder,
    rng: &mut Rng,
) -> Result<()> {
    let parameters = ParamsAdamW {
        lr: 0.0,
        beta1: 0.9,
        beta2: 0.98,
        eps: 1e-8,
        weight_decay: 0.02,
    };
    let mut optimizer = AdamW::new(decoder.weights.values().cloned().collect(), parameters)?;
    let started = Instant::now();
    let mut recent = 0.0;
    for step in 1..=options.steps {
        let batch = Batch::draw(blocks, tokenizer, rng)?;
        let loss =
            loss::cross_entropy(&decoder.scores(&batch.ids, &batch.places)?, &batch.targets)?;
        optimizer.set_learning_rate(rate(step, options.steps));
        optimizer.backward_step(&loss)?;
        recent += f64::from(loss.to_scalar::<f32>()?);
        if step % REPORT_EVERY == 0 {
            eprintln!(
                "step {step}/{}: loss {:.4}, {:.0?}",
                options.steps,
                recent / REPORT_EVERY as f64,
                started.elapsed()
            );
            recent = 0.0;
        }
        if step % SAVE_EVERY == 0 {
            export::write(&options.out, decoder, tokenizer)?;
        }
    }
    Ok(())
}

/// Rises linearly, then falls as a cosine to a twentieth of the peak.
fn rate(step: usize, steps: usize) -> f64 {
    if step < WARM_UP_STEPS {
        return PEAK_RATE * step as f64 / WARM_UP_STEPS as f64;
    }
    let progress =
        (step - WARM_UP_STEPS) as f64 / (steps.saturating_sub(WARM_UP_STEPS)).max(1) as f64;
    PEAK_RATE * (0.05 + 0.95 * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
}

/// Rows of conversations, with the places whose next token is to be learned.
struct Batch {
    ids: Tensor,
    places: Tensor,
    targets: Tensor,
}

impl Batch {
    fn draw(blocks: &[Block], tokenizer: &Tokenizer, rng: &mut Rng) -> Result<Self> {
        let (mut ids, mut places, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..ROWS_PER_STEP {
            let system = corpus::draw_system(rng);
            let mut turns = Vec::new();
            let mut encoded = tokenizer.conversation(system.as_deref(), &turns)?;
            while encoded.ids.len() <= ROW {
                turns.push(corpus::draw(blocks, rng)?);
                encoded = tokenizer.conversation(system.as_deref(), &turns)?;
            }
            ids.extend_from_slice(&encoded.ids[..ROW]);
            for place in 0..ROW {
                if encoded.learned[place + 1] {
                    places.push((row * ROW + place) as u32);
                    targets.push(encoded.ids[place + 1]);
                }
            }
        }
        let count = places.len();
        Ok(Self {
            ids: Tensor::from_vec(ids, (ROWS_PER_STEP, ROW), &Device::Cpu)?,
            places: Tensor::from_vec(places, count, &Device::Cpu)?,
            targets: Tensor::from_vec(targets, count, &Device::Cpu)?,
        })
    }
}
