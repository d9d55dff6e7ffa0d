//! The project's own chores. One file or folder per command.

mod apt;
mod bench;
mod browser;
mod chaos;
mod ci;
mod clients;
mod databases;
mod dist;
mod gpu;
mod install;
mod interrupt;
mod provider;
mod schemathesis;
mod screenshots;
mod test;
mod tidy;
mod train_demo;
mod trial;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start PostgreSQL, PgBouncer and Redis and run all tests against them, and in a browser (installed where missing)
    Test(test::Options),
    /// Check what compiler and lints cannot: crate arrows, file lengths, names, migration pairs
    Tidy,
    /// Formatting, lints, tidy, tests: all that must pass before a change is taken
    Ci,
    /// Stop database, pooler and Redis in turn under load, each for a minute, and count afterwards
    Chaos(chaos::Options),
    /// Run the clients from PyPI and npm, unmodified, against a fleet of three kinds of nodes
    Clients(clients::Options),
    /// Run schemathesis from PyPI against the management API: no 5xx, nothing that its description does not say
    Schemathesis(schemathesis::Options),
    /// Make pictures of every page of the dashboard, light, dark and on a phone
    Screenshots(screenshots::Options),
    /// Build one static program for any Linux of this machine's kind, and try it as server and as agent
    Dist(dist::Options),
    /// Compare what an agent tells of this machine's NVIDIA GPUs with what nvidia-smi prints meanwhile
    Gpu(gpu::Options),
    /// Measure the release build
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Train the demo model anew and write it where the engine embeds it
    TrainDemo,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Tidy => tidy::run(),
        Command::Ci => ci::run(),
        Command::Chaos(options) => chaos::run(&options),
        Command::Clients(options) => clients::run(&options),
        Command::Schemathesis(options) => schemathesis::run(&options),
        Command::Screenshots(options) => screenshots::run(&options),
        Command::Dist(options) => dist::run(&options),
        Command::Gpu(options) => gpu::run(&options),
        Command::Bench(bench) => bench::run(&bench),
        Command::TrainDemo => train_demo::run(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
