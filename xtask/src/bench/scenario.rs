//! One window of one scenario against one target.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use super::process::{LOAD_CORE, Running, cpu_time, pinned};

/// Something that answers requests.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    /// The process whose work counts; none for the upstream itself.
    pub(super) pid: Option<u32>,
    pub(super) key: Option<String>,
}

/// What is sent in a window.
#[derive(Clone, Copy)]
pub(super) struct Scenario {
    /// As `bench_load` names it.
    pub(super) kind: &'static str,
    pub(super) connections: usize,
}

/// What a window found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) responses_per_s: f64,
    pub(super) events_per_s: f64,
    pub(super) first_token_us: Quantiles,
    pub(super) total_us: Quantiles,
    /// Processor time of the target per response, in microseconds.
    pub(super) cpu_us_per_response: Option<f64>,
}

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Quantiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

#[derive(Deserialize)]
struct Report {
    responses: u64,
    events: u64,
    seconds: f64,
    first_token_us: Quantiles,
    total_us: Quantiles,
}

/// The load generator.
pub(super) struct Load {
    pub(super) program: PathBuf,
    /// Where expected bodies are kept: every target must answer what the first one did.
    pub(super) directory: PathBuf,
    /// Where the upstream itself listens.
    pub(super) upstream: SocketAddr,
    pub(super) seconds: f64,
}

impl Load {
    /// Runs one window.
    pub(super) fn measure(&self, target: &Target, scenario: Scenario) -> anyhow::Result<Window> {
        let expected = self.directory.join(format!("expected-{}", scenario.kind));
        let mut command = self.command(target, scenario);
        command
            .arg("--seconds")
            .arg(self.seconds.to_string())
            .arg("--expected")
            .arg(expected);
        let before = target.pid.map(cpu_time).transpose()?;
        let mut running = Running::start(&mut command)?;
        let line = running
            .line()
            .with_context(|| format!("{} {}", target.name, scenario.kind))?;
        let after = target.pid.map(cpu_time).transpose()?;
        let report: Report = serde_json::from_str(&line).context("the load generator's report")?;
        anyhow::ensure!(
            report.responses > 0,
            "{} answered nothing in time",
            target.name
        );
        let used = before
            .zip(after)
            .map(|(before, after)| after.saturating_sub(before));
        Ok(Window {
            responses_per_s: report.responses as f64 / report.seconds,
            events_per_s: report.events as f64 / report.seconds,
            first_token_us: report.first_token_us,
            total_us: report.total_us,
            cpu_us_per_response: used.map(|used| self.per_response(used, &report)),
        })
    }

    /// Opens slow streams; they stay until the returned process is dropped.
    pub(super) fn hold(&self, target: &Target, connections: usize) -> anyhow::Result<Running> {
        let mut command = self.command(
            target,
            Scenario {
                kind: "hold",
                connections,
            },
        );
        let mut running = Running::start(command.stdin(Stdio::piped()))?;
        let line = running
            .line()
            .with_context(|| format!("{connections} slow streams through {}", target.name))?;
        anyhow::ensure!(line == "ready", "the load generator says {line}");
        Ok(running)
    }

    fn command(&self, target: &Target, scenario: Scenario) -> std::process::Command {
        let mut command = pinned(LOAD_CORE, Path::new(&self.program));
        command
            .arg("--target")
            .arg(target.address.to_string())
            .args(["--scenario", scenario.kind]);
        command.arg("--upstream").arg(self.upstream.to_string());
        command
            .arg("--connections")
            .arg(scenario.connections.to_string());
        if let Some(key) = &target.key {
            command.args(["--key", key]);
        }
        command
    }

    /// Spreads processor time over the responses; the warm-up's half second worked at the same rate.
    fn per_response(&self, used: Duration, report: &Report) -> f64 {
        let share = self.seconds / (self.seconds + 0.5);
        used.as_secs_f64() * 1e6 * share / report.responses as f64
    }
}
