//! `cargo xtask ci`: every check, in the order in which they are cheap.

use std::process::{ExitCode, Stdio};

use crate::{test, tidy, workspace};

/// Has clippy compile what is ours, and take every warning for an error. A pass of its own would check all dependencies once more, a
/// quarter of the time that a fresh clone needs. The values are those that `cargo clippy -- -D warnings` sets.
const LINTED: [(&str, &str); 2] = [
    ("RUSTC_WORKSPACE_WRAPPER", "clippy-driver"),
    (
        "CLIPPY_ARGS",
        "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__",
    ),
];

/// Runs all checks; stops at the first that fails.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let formatted = cargo(&["fmt", "--all", "--check"], &[])?;
    if formatted != ExitCode::SUCCESS {
        return Ok(formatted);
    }
    eprintln!("xtask: tidy");
    let tidied = tidy::run()?;
    if tidied != ExitCode::SUCCESS {
        return Ok(tidied);
    }
    let allowed = check_dependencies()?;
    if allowed != ExitCode::SUCCESS {
        return Ok(allowed);
    }
    // Benchmarks, too, which no test needs.
    let everything = ["build", "--workspace", "--all-targets", "--keep-going"];
    let built = cargo(&everything, &LINTED)?;
    if built != ExitCode::SUCCESS {
        return Ok(built);
    }
    eprintln!("xtask: test");
    test::run_with(&[], &LINTED)
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<ExitCode> {
    eprintln!("xtask: cargo {}", arguments.join(" "));
    let mut command = workspace::cargo(arguments)?;
    let status = command.envs(environment.iter().copied()).status()?;
    Ok(workspace::exit_code(status))
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
    cargo(&["deny", "check", "bans", "licenses", "sources"], &[])
}
