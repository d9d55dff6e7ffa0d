//! `cargo xtask chaos`: the chaos tests at length.

use std::process::ExitCode;

use clap::Args;

use crate::test;

/// What `cargo xtask chaos` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// How long each server is away, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=120))]
    seconds: u32,
    /// How many times a server, the agent or the database is killed while jobs come in
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    kills: u32,
    /// Repeats an order of kills, as an earlier run has told it
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the tests: every server away for so long, and so many kills.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let runner = [
        "--profile",
        "chaos",
        "--no-capture",
        "-E",
        "package(remuda) and (test(outlives_everything_that_stops) or test(ends_once_whoever_is_killed))",
    ];
    let (seconds, kills) = (options.seconds.to_string(), options.kills.to_string());
    let seed = options.seed.map(|seed| seed.to_string());
    let mut settings = vec![
        ("REMUDA_CHAOS_SECONDS", seconds.as_str()),
        ("REMUDA_KILLS", &kills),
    ];
    settings.extend(seed.as_deref().map(|seed| ("REMUDA_KILLS_SEED", seed)));
    test::run_with(&runner.map(str::to_owned), &settings)
}
