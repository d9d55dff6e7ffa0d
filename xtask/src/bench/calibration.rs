//! `cargo xtask bench calibration`: the same small workload live and simulated.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::Args;
use serde::Deserialize;

use super::machine;
use super::process::{LOAD_CORE, Running, pinned};
use super::programs::{Build, programs};
use super::remuda::Remuda;
use super::upstream::scripted_upstream;
use crate::interrupt;

/// What `cargo xtask bench calibration` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure the release programs as they are
    #[arg(long)]
    no_build: bool,
}

const NODES: usize = 2;
const SLOTS: u32 = 2;
const PREFILL_TOKENS_PER_S: u32 = 2_000;
const TOKEN_US: u64 = 5_000;
const REQUESTS: u32 = 600;
/// Mean time between arrivals, in milliseconds.
const BETWEEN_MS: f64 = 62.0;
/// How far the simulation may be from what was measured, as a share of that.
const TOLERANCE: f64 = 0.15;

#[derive(Deserialize)]
struct Latencies {
    first_token: Latency,
    end_to_end: Latency,
}

#[derive(Deserialize)]
struct Latency {
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures, simulates and prints Markdown.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let load_before = machine::load_average();
    let programs = programs(
        &["remuda", "bench_replay", "scripted_upstream"],
        Build::unless(options.no_build),
    )?;
    let directory = tempfile::tempdir()?;
    let trace = directory.path().join("trace.jsonl");
    std::fs::write(&trace, workload()?)?;
    let measured = live(&programs, directory.path(), &trace)?;
    let simulated = simulated(&programs, directory.path(), &trace)?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{}\n- load average before the start: {load_before:.2}\n\n\
         `cargo xtask bench calibration`: {REQUESTS} requests over {NODES} nodes with {SLOTS} places each that read {PREFILL_TOKENS_PER_S} tokens of prompt a second,\n\
         one prompt after the other, and make a token every {} ms; live through the gateway, and by `remuda simulate` with the same trace.\n\n\
         | | live | simulated | difference |\n|---|---|---|---|",
        machine::describe(),
        TOKEN_US / 1000
    )?;
    let mut agrees = true;
    for (name, live, simulated) in [
        (
            "first token, p50",
            measured.first_token.p50_ms,
            simulated.first_token.p50_ms,
        ),
        (
            "first token, p99",
            measured.first_token.p99_ms,
            simulated.first_token.p99_ms,
        ),
        (
            "to the end, p50",
            measured.end_to_end.p50_ms,
            simulated.end_to_end.p50_ms,
        ),
        (
            "to the end, p99",
            measured.end_to_end.p99_ms,
            simulated.end_to_end.p99_ms,
        ),
    ] {
        let difference = simulated / live - 1.0;
        agrees &= difference.abs() <= TOLERANCE;
        writeln!(
            out,
            "| {name} | {live:.0} ms | {simulated:.0} ms | {:+.1} % |",
            100.0 * difference
        )?;
    }
    if !agrees {
        eprintln!("xtask: they differ by more than {} %", 100.0 * TOLERANCE);
    }
    Ok(if agrees {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Makes the trace: exponential pauses, prompts of 40 to 200 tokens, answers of 10 to 30. The same at every run.
fn workload() -> anyhow::Result<String> {
    let mut state = 7_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let (mut text, mut at_ms) = (String::new(), 0.0_f64);
    for _ in 0..REQUESTS {
        at_ms -= BETWEEN_MS * (1.0 - random()).ln();
        let (prompt, answer) = (
            40 + (random() * 160.0) as u32,
            10 + (random() * 20.0) as u32,
        );
        writeln!(
            text,
            "{{\"timestamp\":{},\"input_length\":{prompt},\"output_length\":{answer},\"hash_ids\":[]}}",
            at_ms as u64
        )?;
    }
    Ok(text)
}

fn live(programs: &Path, directory: &Path, trace: &Path) -> anyhow::Result<Latencies> {
    let mut upstreams = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..NODES {
        let (upstream, address) = scripted_upstream(
            programs,
            &[
                "llama-server",
                "--chat",
                "bench-model",
                "--prefill-tokens-per-s",
                &PREFILL_TOKENS_PER_S.to_string(),
                "--token-us",
                &TOKEN_US.to_string(),
            ],
        )?;
        addresses.push(address);
        upstreams.push(upstream);
    }
    let first = *addresses.first().context("no upstream")?;
    // The first node's table is open: its ceiling comes first.
    let mut sections = format!("max_in_flight = {SLOTS}\n");
    for (number, address) in addresses.iter().enumerate().skip(1) {
        writeln!(
            sections,
            "[[nodes]]\nname = \"bench{number}\"\nurl = \"http://{address}\"\nkind = \"openai\"\nmax_in_flight = {SLOTS}"
        )?;
    }
    let remuda = Remuda::start_with(&programs.join("remuda"), directory, first, &sections)?;
    let mut command = pinned(LOAD_CORE, &programs.join("bench_replay"));
    command.args([
        "--target",
        &remuda.address.to_string(),
        "--key",
        &remuda.key,
    ]);
    command
        .args(["--model", "bench-model"])
        .arg("--trace")
        .arg(trace);
    eprintln!("xtask: replaying {REQUESTS} requests");
    let line = Running::start(&mut command)?.line()?;
    serde_json::from_str(&line).context("the replay's report")
}

fn simulated(programs: &Path, directory: &Path, trace: &Path) -> anyhow::Result<Latencies> {
    let fleet = directory.join("fleet.toml");
    std::fs::write(
        &fleet,
        format!(
            "[[models]]\nname = \"bench-model\"\n[[nodes]]\nname = \"bench\"\ncount = {NODES}\nprefill_tokens_per_s = {PREFILL_TOKENS_PER_S}\n\
             decode_tokens_per_s = {}\nslots = {SLOTS}\nslowdown = 0.0\n",
            1_000_000 / TOKEN_US
        ),
    )?;
    let output = Command::new(programs.join("remuda"))
        .args(["simulate", "--policy", "remuda", "--json", "--trace"])
        .arg(trace)
        .arg("--fleet")
        .arg(&fleet)
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "remuda simulate: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut reports: Vec<Latencies> =
        serde_json::from_slice(&output.stdout).context("the simulation's report")?;
    reports.pop().context("no report")
}
