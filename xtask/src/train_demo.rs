//! `cargo xtask train-demo`: the demo model from the project's own texts.

use std::process::ExitCode;

use crate::workspace;

/// Runs the engine's training program in the release build.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let train = [
        "run",
        "--release",
        "-p",
        "remuda-engine",
        "--example",
        "train_demo",
    ];
    Ok(workspace::exit_code(workspace::cargo(&train)?.status()?))
}
