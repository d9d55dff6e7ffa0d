//! `cargo xtask ci`: every check, in the order in which they are cheap.

use std::process::ExitCode;

use crate::{test, tidy, workspace};

/// Runs all checks; stops at the first that fails.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    for arguments in [
        ["fmt", "--all", "--check"].as_slice(),
        [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]
        .as_slice(),
    ] {
        eprintln!("xtask: cargo {}", arguments.join(" "));
        let status = workspace::cargo(arguments)?.status()?;
        if !status.success() {
            return Ok(workspace::exit_code(status));
        }
    }
    eprintln!("xtask: tidy");
    let tidied = tidy::run()?;
    if tidied != ExitCode::SUCCESS {
        return Ok(tidied);
    }
    eprintln!("xtask: test");
    test::run(&test::Options::default())
}
