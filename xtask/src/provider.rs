//! The OpenID Connect provider that tests sign in by: `oidc-provider` from npm, in a folder below `target`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::install;

/// Installs it unless that has been done, and returns the script that runs it with Node.
pub(crate) fn script(root: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let (source, folder) = (
        root.join("crates/testbed/provider"),
        target.join("provider"),
    );
    let manifest = source.join("package.json");
    install::once(&folder, &manifest, || {
        fs::create_dir_all(&folder)?;
        fs::copy(&manifest, folder.join("package.json"))?;
        install::execute(
            Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
                .current_dir(&folder),
        )
        .context("the tests of sign-in by providers need Node.js 20 and npm: install them")
    })?;
    let script = folder.join("provider.mjs");
    fs::copy(source.join("provider.mjs"), &script)?;
    Ok(script)
}
