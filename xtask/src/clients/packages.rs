//! The clients as their registries give them, in folders below `target/clients`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::install;

/// Where the installed clients are.
pub(super) struct Packages {
    python: PathBuf,
    /// The folder with the Python scripts, where they are in the repository.
    scripts: PathBuf,
    /// The folder with the npm clients and copies of the scripts: Node looks for packages beside a script.
    node: PathBuf,
}

/// A script with the program that runs it.
pub(super) struct Invocation {
    pub(super) program: PathBuf,
    pub(super) script: PathBuf,
}

impl Packages {
    /// Installs what is not installed yet. The versions stand in `requirements.txt` and `package.json`.
    pub(super) fn install(scripts: &Path, folder: &Path) -> anyhow::Result<Self> {
        let (environment, node) = (folder.join("python"), folder.join("node"));
        let requirements = scripts.join("python/requirements.txt");
        let python = install::python(&environment, &requirements)?.join("python");
        let manifest = scripts.join("node/package.json");
        install::once(&node, &manifest, || {
            fs::create_dir_all(&node)?;
            fs::copy(&manifest, node.join("package.json"))?;
            install::execute(
                Command::new("npm")
                    .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
                    .current_dir(&node),
            )
        })?;
        for entry in fs::read_dir(scripts.join("node"))? {
            let path = entry?.path();
            if let Some(name) = path
                .file_name()
                .filter(|_| path.extension().is_some_and(|e| e == "mjs"))
            {
                fs::copy(&path, node.join(name))?;
            }
        }
        Ok(Self {
            python,
            scripts: scripts.to_owned(),
            node,
        })
    }

    /// Returns how to run a script, named as below the scripts' folder.
    pub(super) fn command(&self, file: &str) -> anyhow::Result<Invocation> {
        let path = Path::new(file);
        let name = path.file_name().context("a script without a name")?;
        Ok(
            if path.extension().is_some_and(|extension| extension == "py") {
                Invocation {
                    program: self.python.clone(),
                    script: self.scripts.join(path),
                }
            } else {
                Invocation {
                    program: "node".into(),
                    script: self.node.join(name),
                }
            },
        )
    }
}
