//! The scripted upstream that benchmarks put behind the server, on the core of the load.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;

use super::process::{LOAD_CORE, Running, pinned};

/// Starts one with these arguments; returns it with where it listens.
pub(super) fn scripted_upstream<S: AsRef<std::ffi::OsStr>>(
    programs: &Path,
    arguments: &[S],
) -> anyhow::Result<(Running, SocketAddr)> {
    let mut command = pinned(LOAD_CORE, &programs.join("scripted_upstream"));
    let mut upstream = Running::start(command.args(arguments))?;
    let line = upstream.line()?;
    let address = line.rsplit(' ').next().unwrap_or_default();
    let address = address.parse().context("the upstream's address")?;
    Ok((upstream, address))
}
