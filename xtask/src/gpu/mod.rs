//! `cargo xtask gpu`: what an agent tells of this machine's NVIDIA GPUs, held against what `nvidia-smi` prints in the same seconds.

mod compare;
mod nvidia_smi;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use self::compare::Comparison;
use self::nvidia_smi::NvidiaSmi;
use crate::bench::process::{Running, family_cpu_time};
use crate::trial::{ControlPlane, MOST_AGENT_MIB, Trial, at_rest};
use crate::{interrupt, workspace};

/// How long the next reading of an agent is waited for.
const LIMIT: Duration = Duration::from_secs(20);
/// A reading is compared with what was printed from so long before it was seen, which is as long as the driver averages over, ...
const BEFORE: Duration = Duration::from_millis(1_500);
/// ... until so long after it.
const AFTER: Duration = Duration::from_millis(300);
/// A load gets this long to begin.
const LOAD_BEGINS: Duration = Duration::from_secs(15);

/// What `cargo xtask gpu` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// A program whose agent is tried, repeatable; the ordinary release build unless given
    #[arg(long = "program")]
    programs: Vec<PathBuf>,
    /// A program with its arguments that keeps the GPUs busy until it is stopped: readings are then also compared under load
    #[arg(long)]
    load: Option<String>,
    /// Readings of the agent that are compared, at rest and under load each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    readings: u32,
}

/// Compares and prints; fails where an agent tells something else or is larger than it may be.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let mut programs = options.programs.clone();
    if programs.is_empty() {
        programs.push(
            workspace::metadata()?
                .target_directory
                .join("release/remuda"),
        );
    }
    let mut kept = true;
    for program in &programs {
        kept &= compare(program, options)
            .with_context(|| format!("comparing {}", program.display()))?;
    }
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn compare(program: &Path, options: &Options) -> anyhow::Result<bool> {
    let smi = NvidiaSmi::start()?;
    let home = tempfile::tempdir()?;
    let trial = Trial {
        program,
        home: home.path(),
    };
    let (mut beside, its_address) = trial.server("beside", "")?;
    let server = trial.control_plane()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut agent = trial.agent(&server, its_address, &path)?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "# {}\n", program.display())?;
    let kib = at_rest(&mut agent)?;
    let small = kib < MOST_AGENT_MIB * 1_024;
    writeln!(
        output,
        "The agent at rest: {:.1} MiB resident (at most {MOST_AGENT_MIB}: {})\n",
        kib as f64 / 1_024.0,
        if small { "kept" } else { "**missed**" },
    )?;
    let mut same = window("at rest", &mut agent, &server, &smi, options, &mut output)?;
    if let Some(load) = &options.load {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec {load}")]);
        let log = home.path().join("load.log");
        let mut load = Running::start_logged(shell.stdin(Stdio::null()), &log)?;
        let of_load = || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("the load:\n{said}")
        };
        pause(LOAD_BEGINS)?;
        load.ensure_alive().with_context(of_load)?;
        smi.ensure_busy()?;
        same &= window(
            "under load",
            &mut agent,
            &server,
            &smi,
            options,
            &mut output,
        )?;
        load.ensure_alive().with_context(of_load)?;
    }
    agent.stop()?;
    server.stop()?;
    beside.stop()?;
    Ok(same && small)
}

/// Compares some readings, one after the other, and says what they cost the agent.
fn window(
    name: &str,
    agent: &mut Running,
    server: &ControlPlane,
    smi: &NvidiaSmi,
    options: &Options,
    output: &mut impl std::io::Write,
) -> anyhow::Result<bool> {
    let mut comparison = Comparison::default();
    let mut before = next_reading(agent, server, None)?;
    let (begun, used_before) = (Instant::now(), family_cpu_time(agent.pid())?);
    for _ in 0..options.readings {
        let reading = next_reading(agent, server, Some(&before))?;
        let seen = Instant::now();
        // What the agent read then, `nvidia-smi` may print a moment later.
        pause(AFTER)?;
        let since = seen.checked_sub(BEFORE).unwrap_or(seen);
        comparison.add(&reading["gpus"], &smi.printed_since(since)?)?;
        before = reading;
    }
    let used = family_cpu_time(agent.pid())?.saturating_sub(used_before);
    let share = 100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64();
    let (text, same) = comparison.markdown();
    writeln!(
        output,
        "## {name}: {} readings, {share:.2} % of a core for the agent and its children\n\n{text}",
        options.readings
    )?;
    Ok(same)
}

/// Waits for a reading other than the one before, as the control plane shows it.
fn next_reading(
    agent: &mut Running,
    server: &ControlPlane,
    before: Option<&Value>,
) -> anyhow::Result<Value> {
    let deadline = Instant::now() + LIMIT;
    loop {
        agent.ensure_alive()?;
        let usage = server.node()?["machine"]["usage"].take();
        let is_new = before.is_none_or(|before| before["taken_at"] != usage["taken_at"]);
        if usage.is_object() && is_new {
            let problem = &usage["gpu_problem"];
            anyhow::ensure!(problem.is_null(), "the agent says: {problem}");
            return Ok(usage);
        }
        anyhow::ensure!(Instant::now() < deadline, "no reading any more: {usage}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn pause(length: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + length;
    while Instant::now() < end {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
