//! The release programs that are measured and that measure.

use std::path::PathBuf;

use anyhow::Context;

use crate::{interrupt, workspace};

/// What is done about programs that may be out of date.
#[derive(Clone, Copy)]
pub(super) enum Build {
    /// They are built anew.
    Anew,
    /// They are taken as they are.
    Kept,
}

impl Build {
    /// Reads the flag `--no-build`.
    pub(super) const fn unless(no_build: bool) -> Self {
        if no_build { Self::Kept } else { Self::Anew }
    }
}

/// Builds these programs of `remuda` and the test bed, unless they are kept; returns the folder that they lie in.
pub(super) fn programs(names: &[&str], build: Build) -> anyhow::Result<PathBuf> {
    if matches!(build, Build::Anew) {
        // The same features for every benchmark: others would compile everything anew.
        let mut cargo = workspace::cargo(&["build", "--release", "-p", "remuda"])?;
        cargo.args([
            "-p",
            "remuda-testbed",
            "--features",
            "remuda-testbed/agents",
        ]);
        for name in names {
            cargo.args(["--bin", name]);
        }
        let status = interrupt::wait(&mut cargo).context("building the release programs")?;
        anyhow::ensure!(status.success(), "the release build fails");
    }
    Ok(workspace::metadata()?.target_directory.join("release"))
}
