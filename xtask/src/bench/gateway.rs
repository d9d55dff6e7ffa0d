//! `cargo xtask bench gateway`: what Remuda adds to a request, beside what nginx adds.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::machine;
use super::nginx::Nginx;
use super::process::{LOAD_CORE, Running, pinned, private_kib, resident_kib};
use super::programs::{Build, programs};
use super::remuda::Remuda;
use super::report::{self, Memory, Results};
use super::scenario::{Load, Scenario, Target, Window};
use super::start::starts;
use crate::interrupt;

/// What `cargo xtask bench gateway` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Fewer and shorter windows: a look, not a result
    #[arg(long)]
    quick: bool,
    /// Measure the release programs as they are
    #[arg(long)]
    no_build: bool,
}

/// One kilobyte in one piece, on many connections.
const WHOLE: Scenario = Scenario {
    kind: "whole",
    connections: 64,
};
/// The same on one connection: nothing waits for anything else.
const SINGLE: Scenario = Scenario {
    kind: "whole",
    connections: 1,
};
/// Streams of 64 chunks.
const STREAM: Scenario = Scenario {
    kind: "stream",
    connections: 16,
};
/// The same on one connection, with a pause after the first token, which
/// then comes as fast as it can.
const SINGLE_STREAM: Scenario = Scenario {
    kind: "pause",
    connections: 1,
};
/// Streams that their clients leave after the first text.
const LEAVE: Scenario = Scenario {
    kind: "leave",
    connections: 16,
};
/// Slow streams open at once.
const SLOW_STREAMS: usize = 1000;
/// Seconds without a request after which a process counts as idle.
const REST_S: u64 = 15;

/// Measures and prints Markdown.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let cores = std::thread::available_parallelism()?.get();
    anyhow::ensure!(
        cores >= 2,
        "the benchmark needs two cores, one of them for the gateway alone"
    );
    let load_before = machine::load_average();
    let programs = programs(
        &["remuda", "bench_load", "bench_upstream"],
        Build::unless(options.no_build),
    )?;
    let directory = tempfile::tempdir()?;
    let mut upstream = Running::start(&mut pinned(LOAD_CORE, &programs.join("bench_upstream")))?;
    let upstream_address: SocketAddr = upstream
        .line()?
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .parse()
        .context("the upstream's address")?;
    let nginx = Nginx::start(directory.path(), upstream_address)?;
    let remuda = Remuda::start(&programs.join("remuda"), directory.path(), upstream_address)?;
    let targets = [
        Target {
            name: "direct",
            address: upstream_address,
            pid: None,
            key: None,
        },
        Target {
            name: "nginx",
            address: nginx.address,
            pid: Some(nginx.worker),
            key: None,
        },
        Target {
            name: "Remuda",
            address: remuda.address,
            pid: Some(remuda.pid()),
            key: Some(remuda.key.clone()),
        },
    ];
    let (windows, seconds, settle) = if options.quick {
        (2, 1.5, 2)
    } else {
        (5, 4.0, 10)
    };
    let load = Load {
        program: programs.join("bench_load"),
        directory: directory.path().to_owned(),
        upstream: upstream_address,
        seconds,
    };
    // Memory first: an allocator that has worked hides what a stream costs.
    let memory = [
        memory(&load, &targets[1], settle)?,
        memory(&load, &targets[2], settle)?,
    ];
    let mut results = Results {
        windows,
        seconds,
        load_before,
        memory,
        starts: starts(&programs.join("remuda"), directory.path())?,
        ..Results::default()
    };
    for (scenario, rows) in [
        (WHOLE, &mut results.whole),
        (SINGLE, &mut results.single),
        (STREAM, &mut results.stream),
        (SINGLE_STREAM, &mut results.single_stream),
        (LEAVE, &mut results.leave),
    ] {
        *rows = interleaved(&load, &targets, scenario, windows)?;
    }
    std::thread::sleep(Duration::from_secs(REST_S));
    results.settled_kib = resident_kib(remuda.pid())?;
    results.dropped_records = remuda.dropped_records()?;
    write!(std::io::stdout(), "{}", report::markdown(&results))?;
    Ok(ExitCode::SUCCESS)
}

/// Measures all targets in turn, several times over, so that a change of the machine's mood hits all alike.
fn interleaved(
    load: &Load,
    targets: &[Target; 3],
    scenario: Scenario,
    windows: usize,
) -> anyhow::Result<[Vec<Window>; 3]> {
    let mut rows = [Vec::new(), Vec::new(), Vec::new()];
    for window in 0..windows {
        for (target, row) in targets.iter().zip(&mut rows) {
            interrupt::check()?;
            eprintln!(
                "xtask: {} on {} connections, {}, window {} of {windows}",
                scenario.kind,
                scenario.connections,
                target.name,
                window + 1
            );
            row.push(load.measure(target, scenario)?);
        }
    }
    Ok(rows)
}

/// Watches the memory of a target while slow streams are open.
fn memory(load: &Load, target: &Target, settle_s: u64) -> anyhow::Result<Memory> {
    let pid = target.pid.context("a target without a process")?;
    eprintln!("xtask: {SLOW_STREAMS} slow streams, {}", target.name);
    std::thread::sleep(Duration::from_secs(REST_S));
    let (idle_kib, idle_private_kib) = (resident_kib(pid)?, private_kib(pid)?);
    let mut holding = load.hold(target, SLOW_STREAMS)?;
    std::thread::sleep(Duration::from_secs(settle_s));
    let open_kib = private_kib(pid)?;
    std::thread::sleep(Duration::from_secs(2 * settle_s));
    let (later_kib, later_resident_kib) = (private_kib(pid)?, resident_kib(pid)?);
    holding.close_input();
    holding
        .line()
        .with_context(|| format!("slow streams through {}", target.name))?;
    Ok(Memory {
        streams: SLOW_STREAMS,
        idle_kib,
        private_kib: idle_private_kib,
        open_kib,
        later_kib,
        later_resident_kib,
        apart_s: 2 * settle_s,
    })
}
