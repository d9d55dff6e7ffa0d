//! Processes of a benchmark: pinned to a core, with many file descriptors, ended with their owner, observed in `/proc`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::interrupt;

/// The core of whatever is measured.
pub(super) const GATEWAY_CORE: usize = 0;
/// The core of load and upstream.
pub(super) const LOAD_CORE: usize = 1;

/// Returns a command that runs a program on one core with as many file descriptors as it may have.
pub(super) fn pinned(core: usize, program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n $(ulimit -Hn); exec taskset -c \"$@\"",
        "sh",
        &core.to_string(),
    ]);
    command.arg(program).stdin(Stdio::null());
    command
}

/// A running process. Ended when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
    input: Option<ChildStdin>,
}

impl Running {
    /// Starts a process whose standard output is read by [`Self::line`].
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a process")?;
        let (lines, input) = (child.stdout.take().map(BufReader::new), child.stdin.take());
        Ok(Self {
            child,
            lines,
            input,
        })
    }

    /// Starts a process whose output goes to a file.
    pub(crate) fn start_logged(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = fs::File::create(log)?;
        let child = command
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("starting a process")?;
        Ok(Self {
            child,
            lines: None,
            input: None,
        })
    }

    /// Returns the next line of its output.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let lines = self.lines.as_mut().context("its output is not read")?;
        let mut line = String::new();
        anyhow::ensure!(
            lines.read_line(&mut line)? > 0,
            "a process of the benchmark has ended"
        );
        Ok(line.trim_end().to_owned())
    }

    /// Closes its input.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// Returns its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when it has ended.
    pub(crate) fn ensure_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("a process of the benchmark has ended: {status}");
        }
        interrupt::check()
    }

    /// Ends it by SIGTERM.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        interrupt::stop(&mut self.child, "TERM")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!(
                "xtask: process {} could not be stopped: {error}",
                self.pid()
            );
        }
    }
}

/// Returns the processor time that a process has used, all threads together.
pub(super) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    times(&pid.to_string(), 14)
}

/// Returns the processor time of a process and all its children, those included that have ended.
pub(crate) fn family_cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let living = children
        .split_whitespace()
        // One that ends just now is counted among those that have ended, a moment later.
        .filter_map(|child| times(child, 14).ok());
    Ok(living.sum::<Duration>() + cpu_time(pid)? + times(&pid.to_string(), 16)?)
}

/// Returns the processor time of this process's children that have ended.
pub(super) fn ended_children_cpu_time() -> anyhow::Result<Duration> {
    times("self", 16)
}

/// Reads two fields of times of a process, the first and the next one, and returns their sum.
fn times(pid: &str, first: usize) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid}"))?;
    // The name in parentheses may contain anything; user and system time are fields 14 and 15, those of ended children 16 and 17.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |field: usize| {
        fields
            .get(field - 3)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let used = ticks(first)
        .zip(ticks(first + 1))
        .map(|(user, system)| user + system)
        .context("/proc/PID/stat")?;
    // Linux counts these in hundredths of a second on every architecture that Rust runs on.
    Ok(Duration::from_millis(used * 10))
}

/// Returns the memory that a process holds, pages of its program file included, in KiB.
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    status_kib(pid, "VmRSS:")
}

/// Returns the memory that a process holds for itself alone, in KiB.
pub(super) fn private_kib(pid: u32) -> anyhow::Result<u64> {
    status_kib(pid, "RssAnon:")
}

fn status_kib(pid: u32, name: &'static str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid}"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .context(name)?;
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .context(name)
}

/// Returns the first child of a process.
pub(super) fn first_child(pid: u32) -> anyhow::Result<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    children
        .split_whitespace()
        .next()
        .context("it has no child yet")?
        .parse()
        .context("a process id")
}
