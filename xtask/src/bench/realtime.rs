//! `cargo xtask bench realtime`: what a WebSocket connection holds, and how long a message takes to reach all of them.

use std::io::Write as _;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde::Deserialize;

use super::machine;
use super::process::{LOAD_CORE, Running, cpu_time, pinned, private_kib};
use super::programs::{Build, programs};
use super::remuda::Remuda;
use super::upstream::scripted_upstream;
use crate::interrupt;

/// What `cargo xtask bench realtime` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure the release programs as they are
    #[arg(long)]
    no_build: bool,
    /// Connections; each takes an open file of the server and one of the load
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Messages
    #[arg(long, default_value_t = 20)]
    rounds: usize,
}

/// The most bytes of private memory that an idle connection may hold.
const BYTES: f64 = 8_192.0;
/// Time for memory to settle.
const SETTLE: Duration = Duration::from_secs(3);

/// What the load measured.
#[derive(Deserialize)]
struct Measured {
    first_us: Vec<u64>,
    last_us: Vec<u64>,
}

/// Measures and prints Markdown.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let load_before = machine::load_average();
    let programs = programs(
        &["remuda", "bench_listeners", "scripted_upstream"],
        Build::unless(options.no_build),
    )?;
    let directory = tempfile::tempdir()?;
    let (_upstream, upstream_address) =
        scripted_upstream(&programs, &["vllm", "--chat", "bench-model"])?;
    let sections = "[realtime]\nmax_connections = 100000\nmax_per_caller = 100000\n";
    let remuda = Remuda::start_with(
        &programs.join("remuda"),
        directory.path(),
        upstream_address,
        sections,
    )?;
    std::thread::sleep(SETTLE);
    let idle_kib = private_kib(remuda.pid())?;
    let mut command = pinned(LOAD_CORE, &programs.join("bench_listeners"));
    command
        .stdin(Stdio::piped())
        .args(["--target", &remuda.address.to_string()])
        .args(["--key", &remuda.key, "--node", "bench"])
        .args(["--connections", &options.connections.to_string()])
        .args(["--rounds", &options.rounds.to_string()]);
    let connecting = (Instant::now(), cpu_time(remuda.pid())?);
    let mut load = Running::start(&mut command)?;
    let line = load.line()?;
    anyhow::ensure!(line == "listening", "the load said {line:?}");
    let connected = (
        connecting.0.elapsed(),
        cpu_time(remuda.pid())?.saturating_sub(connecting.1),
    );
    std::thread::sleep(SETTLE);
    let held_kib = private_kib(remuda.pid())?;
    let before = cpu_time(remuda.pid())?;
    load.close_input();
    // The load fails when a connection does not get a message: what it prints stands for all of them.
    let measured: Measured = serde_json::from_str(&load.line()?).context("the load's figures")?;
    let fan_out_cpu = cpu_time(remuda.pid())?.saturating_sub(before);
    let after_kib = private_kib(remuda.pid())?;
    let count = options.connections as f64;
    let per_connection = |kib: u64| (kib as f64 - idle_kib as f64) * 1024.0 / count;
    let spread: Vec<u64> = measured
        .last_us
        .iter()
        .zip(&measured.first_us)
        .map(|(last, first)| last.saturating_sub(*first))
        .collect();
    let ms = |us: u64| us as f64 / 1e3;
    let deliveries = count * options.rounds as f64;
    let bytes = per_connection(held_kib);
    let mut output = std::io::stdout().lock();
    writeln!(
        output,
        "## Machine\n\n{}\n- load average before the start: {load_before:.2} (numbers count only near 0)\n\n## Method\n\n\
         `cargo xtask bench realtime`. Remuda (release build, SQLite) on core 0, {} connections with one key from one process on core 1,\n\
         each subscribed to `node_status`. A node is drained and undrained {} times; every connection gets every message, or the\n\
         benchmark fails. Memory is private memory (RssAnon), times are taken where messages arrive.\n\n## Results\n",
        machine::describe(),
        options.connections,
        options.rounds,
    )?;
    writeln!(
        output,
        "| | |\n|---|---|\n\
         | bytes of an idle subscribed connection | {bytes:.0} (at most {BYTES:.0}) |\n\
         | the same after the messages | {:.0} |\n\
         | connections and subscriptions a second | {:.0} |\n\
         | processor µs of each | {:.1} |\n\
         | from the request until the last had the message, median / worst ms | {:.1} / {:.1} |\n\
         | from the first to the last connection, median / worst ms | {:.1} / {:.1} |\n\
         | processor µs a delivery, the requests included | {:.2} |",
        per_connection(after_kib),
        count / connected.0.as_secs_f64(),
        connected.1.as_secs_f64() * 1e6 / count,
        ms(median(&measured.last_us)),
        ms(measured.last_us.iter().copied().max().unwrap_or(0)),
        ms(median(&spread)),
        ms(spread.iter().copied().max().unwrap_or(0)),
        fan_out_cpu.as_secs_f64() * 1e6 / deliveries,
    )?;
    Ok(if bytes <= BYTES {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
