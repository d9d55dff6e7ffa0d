//! `cargo xtask bench cluster`: what linked agents cost the control plane, and what the way through an agent costs requests.

mod heartbeats;
mod relay;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::programs::{Build, programs};
use super::remuda::Remuda;
use super::{http, machine};
use crate::{interrupt, workspace};

/// What `cargo xtask bench cluster` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure the release programs as they are
    #[arg(long)]
    no_build: bool,
    /// Light agents
    #[arg(long, default_value_t = 200)]
    agents: usize,
    /// Seconds in which their cost is measured, and the quiet before
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Windows of requests by each way
    #[arg(long, default_value_t = 5)]
    windows: usize,
    /// Leave the light agents out
    #[arg(long)]
    relay_only: bool,
    /// Leave the requests out
    #[arg(long, conflicts_with = "relay_only")]
    agents_only: bool,
}

/// What a part found.
struct Part {
    method: String,
    results: String,
    kept: bool,
}

/// Measures and prints Markdown.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let load_before = machine::load_average();
    let names = [
        "remuda",
        "bench_agents",
        "bench_load",
        "bench_upstream",
        "scripted_upstream",
    ];
    let programs = programs(&names, Build::unless(options.no_build))?;
    let target = workspace::metadata()?.target_directory;
    let mut parts = Vec::new();
    if !options.relay_only {
        parts.push(heartbeats::measure(&programs, &target, options)?);
    }
    if !options.agents_only {
        parts.push(relay::measure(&programs, options)?);
    }
    let mut output = std::io::stdout().lock();
    writeln!(
        output,
        "## Machine\n\n{}\n- load average before the start: {load_before:.2} (numbers count only near 0)\n\n## Method\n\n\
         `cargo xtask bench cluster`.",
        machine::describe(),
    )?;
    for part in &parts {
        writeln!(output, "{}", part.method)?;
    }
    writeln!(output, "\n## Results")?;
    for part in &parts {
        writeln!(output, "\n{}", part.results)?;
    }
    Ok(if parts.iter().all(|part| part.kept) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Returns a configuration that expects agents at a free port, and that address.
fn expecting_agents() -> anyhow::Result<(String, String)> {
    let door = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let section = format!("[agents]\nlisten = \"{door}\"\nurl = \"https://{door}\"\n");
    Ok((section, door.to_string()))
}

/// Invites a machine.
fn invite(remuda: &Remuda, name: &str) -> anyhow::Result<String> {
    let body = json!({"name": name});
    let answer = http::send(
        remuda.address,
        "POST",
        "/api/v1/nodes/invite",
        Some(&remuda.key),
        Some(&body),
    )?;
    let token = answer.json()?["token"].as_str().map(str::to_owned);
    token.context("an invitation without a token")
}

/// Waits until so many nodes are ready.
fn until_ready(remuda: &Remuda, agents: usize, log: &Path) -> anyhow::Result<()> {
    let linked = format!("\nremuda_agents_linked {agents}\n");
    for _ in 0..1_200 {
        interrupt::check()?;
        let metrics = http::send(remuda.address, "GET", "/metrics", Some(&remuda.key), None)?;
        if metrics.body.contains(&linked) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    anyhow::bail!("{agents} agents are not linked: see {}", log.display())
}
