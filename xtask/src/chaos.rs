//! `cargo xtask chaos`: the chaos test at length.

use std::process::ExitCode;

use clap::Args;

use crate::test;

/// What `cargo xtask chaos` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// How long each server is away, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=120))]
    seconds: u32,
}

/// Runs the test with every server away for as long.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let runner = [
        "--profile",
        "chaos",
        "--no-capture",
        "-E",
        "package(remuda) and test(outlives_everything_that_stops)",
    ];
    let seconds = options.seconds.to_string();
    test::run_with(
        &runner.map(str::to_owned),
        &[("REMUDA_CHAOS_SECONDS", &seconds)],
    )
}
