//! How long `remuda up` takes to say where it listens.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::process::{GATEWAY_CORE, Running, pinned};
use crate::interrupt;

/// Starts on a data directory that is there already.
const AGAIN: usize = 5;

/// Times from the start of the program to the line of `curl` that can be pasted, on one core.
#[derive(Clone, Copy, Default)]
pub(super) struct Starts {
    /// With nothing there: the directory, the database and the administrator are made.
    pub(super) first: Duration,
    /// The longest of some further ones.
    pub(super) again: Duration,
}

/// Measures them with the demo model, and looks for a local Ollama as a user's start does.
pub(super) fn starts(program: &Path, directory: &Path) -> anyhow::Result<Starts> {
    let data = directory.join("starts");
    let first = start(program, &data)?;
    let mut again = Duration::ZERO;
    for _ in 0..AGAIN {
        interrupt::check()?;
        again = again.max(start(program, &data)?);
    }
    Ok(Starts { first, again })
}

fn start(program: &Path, data: &Path) -> anyhow::Result<Duration> {
    let mut command = pinned(GATEWAY_CORE, program);
    command
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(data);
    let begun = Instant::now();
    let mut running = Running::start(&mut command)?;
    while !running.line().context("starting Remuda")?.contains("curl") {}
    Ok(begun.elapsed())
}
