//! `cargo xtask ci`: every check, in the order in which they are cheap.

use std::process::{ExitCode, Stdio};

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
    let allowed = check_dependencies()?;
    if allowed != ExitCode::SUCCESS {
        return Ok(allowed);
    }
    eprintln!("xtask: tidy");
    let tidied = tidy::run()?;
    if tidied != ExitCode::SUCCESS {
        return Ok(tidied);
    }
    eprintln!("xtask: test");
    test::run(&test::Options::default())
}

/// Holds what the binary is made of against deny.toml, where cargo-deny is installed. Advisories are left out: they come
/// from the network, and a new one must not fail an old change.
fn check_dependencies() -> anyhow::Result<ExitCode> {
    let installed = workspace::cargo(&["deny", "--version"])?
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?
        .success();
    if !installed {
        eprintln!("xtask: cargo deny is left out: cargo-deny is not installed");
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = ["deny", "check", "bans", "licenses", "sources"];
    eprintln!("xtask: cargo {}", arguments.join(" "));
    let status = workspace::cargo(&arguments)?.status()?;
    Ok(workspace::exit_code(status))
}
