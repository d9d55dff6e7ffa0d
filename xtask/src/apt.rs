//! Programs that tests and benchmarks need and Debian or Ubuntu can give.

use std::process::{Command, Stdio};

use anyhow::Context;

/// Installs packages by apt. `for_what` names the missing program in the error.
pub(crate) fn install(for_what: &str, packages: &[&str]) -> anyhow::Result<()> {
    eprintln!(
        "xtask: {for_what} is missing, installing {}",
        packages.join(" ")
    );
    apt(for_what, &["update", "-q"])?;
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt(for_what, &arguments)
}

fn apt(for_what: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = if is_root()? {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "apt-get"]);
        sudo
    };
    // Packages print to standard output; ours belongs to results.
    let status = command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| {
            format!("{for_what} is missing and apt-get cannot be run: install it by hand")
        })?;
    anyhow::ensure!(
        status.success(),
        "{for_what} is missing and apt-get {} failed: install it by hand",
        arguments[0]
    );
    Ok(())
}

/// Returns whether this process runs as root.
pub(crate) fn is_root() -> anyhow::Result<bool> {
    Ok(id(&["-u"])? == 0)
}

/// Asks `id` for a number.
pub(crate) fn id(arguments: &[&str]) -> anyhow::Result<u32> {
    let output = Command::new("id")
        .args(arguments)
        .output()
        .context("running id")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("id {} gives no number", arguments.join(" ")))
}
