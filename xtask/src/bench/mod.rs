//! `cargo xtask bench`: measurements of the release build.

mod gateway;
mod http;
mod machine;
mod nginx;
mod process;
mod remuda;
mod report;
mod scenario;

use std::process::ExitCode;

use clap::Subcommand;

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The gateway against its upstream hit directly and against nginx as a plain proxy; prints Markdown
    Gateway(gateway::Options),
}

/// Runs a benchmark.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<ExitCode> {
    match bench {
        Bench::Gateway(options) => gateway::run(options),
    }
}
