//! `cargo xtask bench dashboards`: what open dashboards cost the server.

use std::io::Write as _;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::process::{LOAD_CORE, Running, cpu_time, pinned};
use super::programs::{Build, programs};
use super::remuda::Remuda;
use super::upstream::scripted_upstream;
use super::{http, machine};
use crate::interrupt;

/// What `cargo xtask bench dashboards` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure the release programs as they are
    #[arg(long)]
    no_build: bool,
    /// Open pages
    #[arg(long, default_value_t = 200)]
    dashboards: usize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// The most that the pages may cost together, as a share of a core.
const SHARE: f64 = 0.05;
/// How long the server is measured without pages before.
const QUIET: Duration = Duration::from_secs(20);
/// So often a node changes its state while pages are open.
const CHANGE_EVERY: Duration = Duration::from_secs(20);
/// Time for what starting and connecting leave to do.
const SETTLE: Duration = Duration::from_secs(5);

/// Measures and prints Markdown.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let load_before = machine::load_average();
    let programs = programs(
        &["remuda", "bench_listeners", "scripted_upstream"],
        Build::unless(options.no_build),
    )?;
    let directory = tempfile::tempdir()?;
    let arguments = ["vllm", "--chat", "bench-model"];
    let (_first, first) = scripted_upstream(&programs, &arguments)?;
    let (_second, second) = scripted_upstream(&programs, &arguments)?;
    let (_third, third) = scripted_upstream(&programs, &arguments)?;
    let sections = format!(
        "[[nodes]]\nname = \"second\"\nurl = \"http://{second}\"\n[[nodes]]\nname = \"third\"\nurl = \"http://{third}\"\n\
         [realtime]\nmax_per_caller = 10000\n"
    );
    let remuda = Remuda::start_with(&programs.join("remuda"), directory.path(), first, &sections)?;
    std::thread::sleep(SETTLE);
    let quiet = share(&remuda, QUIET, || Ok(()))?;
    let mut command = pinned(LOAD_CORE, &programs.join("bench_listeners"));
    command
        .stdin(Stdio::piped())
        .args(["--target", &remuda.address.to_string()])
        .args(["--key", &remuda.key, "--node", "bench", "--dashboards"])
        .args(["--connections", &options.dashboards.to_string()])
        .args(["--rounds", "0"]);
    let mut load = Running::start(&mut command)?;
    let line = load.line()?;
    anyhow::ensure!(line == "listening", "the load said {line:?}");
    std::thread::sleep(SETTLE);
    let mut drained = false;
    let mut next = Instant::now();
    let open = share(&remuda, Duration::from_secs(options.seconds), || {
        if Instant::now() >= next {
            next += CHANGE_EVERY;
            drained = !drained;
            change(&remuda, if drained { "drain" } else { "undrain" })?;
        }
        Ok(())
    })?;
    // A page that lost its connection or got an error has ended the load.
    load.close_input();
    load.line()?;
    let cost = (open - quiet).max(0.0);
    let mut output = std::io::stdout().lock();
    writeln!(
        output,
        "## Machine\n\n{}\n- load average before the start: {load_before:.2} (numbers count only near 0)\n\n## Method\n\n\
         `cargo xtask bench dashboards`. Remuda (release build, SQLite, three nodes) on core 0. {} connections from one process on core 1\n\
         listen to what the overview listens to (figures every 2 s), and read nodes and health as often as it does; a node changes its\n\
         state every {} s, after which each page reads the nodes again. The processor time of {} s, less that of as long without pages.\n\n\
         ## Results\n\n| | share of a core |\n|---|---|\n| no page open | {:.1} % |\n| {} pages open | {:.1} % |\n\
         | what they cost | {:.1} % (at most {:.0} %) |",
        machine::describe(),
        options.dashboards,
        CHANGE_EVERY.as_secs(),
        options.seconds,
        quiet * 100.0,
        options.dashboards,
        open * 100.0,
        cost * 100.0,
        SHARE * 100.0,
    )?;
    Ok(if cost <= SHARE {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn change(remuda: &Remuda, how: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/nodes/second/{how}");
    let answer = http::send(
        remuda.address,
        "POST",
        &path,
        Some(&remuda.key),
        Some(&json!({})),
    )?;
    anyhow::ensure!(answer.status == 200, "{how}: {}", answer.body);
    Ok(())
}

/// Returns which share of a core the server uses for so long, while `work` is done again and again.
fn share(
    remuda: &Remuda,
    length: Duration,
    mut work: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let (begun, before) = (Instant::now(), cpu_time(remuda.pid())?);
    while begun.elapsed() < length {
        work()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let used = cpu_time(remuda.pid())?.saturating_sub(before);
    Ok(used.as_secs_f64() / begun.elapsed().as_secs_f64())
}
