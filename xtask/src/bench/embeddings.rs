//! `cargo xtask bench embeddings`: what joining the embedding requests of many clients into few calls gains.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::machine;

use super::programs::{Build, programs};
use super::remuda::Remuda;
use super::scenario::{Load, Scenario, Target, Window};
use super::upstream::scripted_upstream;
use crate::interrupt;

/// What `cargo xtask bench embeddings` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure the release programs as they are
    #[arg(long)]
    no_build: bool,
}

/// What the upstream takes for every call, one at a time, and for every input, in microseconds.
const CALL_US: u64 = 10_000;
const INPUT_US: u64 = 200;
/// Clients at once.
const CLIENTS: [usize; 3] = [1, 4, 32];
/// Windows of each, taken in turn.
const WINDOWS: usize = 3;
const SECONDS: f64 = 3.0;
/// Times the answers per second of 32 clients that joining must bring at least.
const GAIN: f64 = 4.0;
/// What may be lost for a single client, for which there is nothing to join.
const SINGLE: f64 = 0.95;

/// Measures and prints Markdown.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let load_before = machine::load_average();
    let programs = programs(
        &["remuda", "bench_load", "scripted_upstream"],
        Build::unless(options.no_build),
    )?;
    let directory = tempfile::tempdir()?;
    let (_upstream, upstream_address) = scripted_upstream(
        &programs,
        &[
            "vllm",
            "--embedding",
            "bench-model",
            "--embedding-call-us",
            &CALL_US.to_string(),
            "--embedding-input-us",
            &INPUT_US.to_string(),
        ],
    )?;
    let mut targets = Vec::new();
    let mut running = Vec::new();
    for (name, enabled) in [("single calls", false), ("joined calls", true)] {
        let home = directory.path().join(name.replace(' ', "-"));
        let sections = format!("[coalescing]\nenabled = {enabled}\n");
        let remuda =
            Remuda::start_with(&programs.join("remuda"), &home, upstream_address, &sections)?;
        targets.push(Target {
            name,
            address: remuda.address,
            pid: Some(remuda.pid()),
            key: Some(remuda.key.clone()),
        });
        running.push(remuda);
    }
    let load = Load {
        program: programs.join("bench_load"),
        directory: directory.path().to_owned(),
        upstream: upstream_address,
        seconds: SECONDS,
    };
    let mut rows = Vec::new();
    for connections in CLIENTS {
        let scenario = Scenario {
            kind: "embed",
            connections,
        };
        let mut windows = [Vec::new(), Vec::new()];
        for window in 0..WINDOWS {
            for (target, row) in targets.iter().zip(&mut windows) {
                interrupt::check()?;
                eprintln!(
                    "xtask: {connections} clients, {}, window {}",
                    target.name,
                    window + 1
                );
                row.push(load.measure(target, scenario)?);
            }
        }
        rows.push((connections, windows.map(|windows| median(&windows))));
    }
    report(&rows, load_before)?;
    let gain = |clients: usize| {
        let row = rows.iter().find(|(connections, _)| *connections == clients);
        row.map_or(0.0, |(_, [single, joined])| joined.rate / single.rate)
    };
    let kept = gain(32) >= GAIN && gain(1) >= SINGLE;
    if !kept {
        eprintln!(
            "xtask: the gain is {:.1} (at least {GAIN}) at 32 clients, {:.2} (at least {SINGLE}) at 1",
            gain(32),
            gain(1)
        );
    }
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is shown of some windows.
struct Shown {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Takes the median of each figure by itself.
fn median(windows: &[Window]) -> Shown {
    let of = |value: fn(&Window) -> f64| {
        let mut values: Vec<f64> = windows.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Shown {
        rate: of(|w| w.responses_per_s),
        p50_ms: of(|w| w.total_us.p50 / 1e3),
        p99_ms: of(|w| w.total_us.p99 / 1e3),
    }
}

fn report(rows: &[(usize, [Shown; 2])], load_before: f64) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{}\n- load average before the start: {load_before:.2}\n\n\
         `cargo xtask bench embeddings`: one upstream that takes {} ms for every call, one at a time, and {INPUT_US} µs for every input.\n\
         Each client sends one text after the other; every answer had status 200 and the same vector. Median of {WINDOWS} windows of {SECONDS} s.\n\n\
         | clients | single calls: answers/s, p50, p99 | joined calls: answers/s, p50, p99 | gain |\n|---|---|---|---|",
        machine::describe(),
        CALL_US / 1000
    )?;
    for (clients, [single, joined]) in rows {
        writeln!(
            out,
            "| {clients} | {:.0}, {:.1} ms, {:.1} ms | {:.0}, {:.1} ms, {:.1} ms | {:.2} |",
            single.rate,
            single.p50_ms,
            single.p99_ms,
            joined.rate,
            joined.p50_ms,
            joined.p99_ms,
            joined.rate / single.rate
        )?;
    }
    Ok(())
}
