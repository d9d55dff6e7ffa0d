//! Packages of other languages, installed into folders below `target`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::interrupt;

/// Makes a Python environment with the packages of a requirements file, and returns its `bin` folder.
pub(crate) fn python(environment: &Path, requirements: &Path) -> anyhow::Result<PathBuf> {
    let programs = environment.join("bin");
    once(environment, requirements, || {
        execute(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(environment),
        )?;
        execute(
            Command::new(programs.join("python"))
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "-r",
                ])
                .arg(requirements),
        )
    })?;
    Ok(programs)
}

/// Installs into a folder unless that has been done for the same list of packages.
pub(crate) fn once(
    folder: &Path,
    list: &Path,
    install: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stamp = folder.join("installed");
    let wanted = fs::read(list).with_context(|| format!("reading {}", list.display()))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    install()?;
    Ok(fs::write(stamp, wanted)?)
}

/// Runs an installer; what it prints is no result of ours.
pub(crate) fn execute(command: &mut Command) -> anyhow::Result<()> {
    let status = interrupt::wait(command.stdin(Stdio::null()).stdout(std::io::stderr()))?;
    anyhow::ensure!(
        status.success(),
        "{} failed: {status}",
        command.get_program().display()
    );
    Ok(())
}
