//! The clients as their registries give them, in folders below `target/clients`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::interrupt;

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
        let python = environment.join("bin/python");
        let requirements = scripts.join("python/requirements.txt");
        once(&environment, &requirements, || {
            execute(
                Command::new("python3")
                    .args(["-m", "venv"])
                    .arg(&environment),
            )?;
            execute(
                Command::new(&python)
                    .args([
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--disable-pip-version-check",
                        "-r",
                    ])
                    .arg(&requirements),
            )
        })?;
        let manifest = scripts.join("node/package.json");
        once(&node, &manifest, || {
            fs::create_dir_all(&node)?;
            fs::copy(&manifest, node.join("package.json"))?;
            execute(
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

/// Installs into a folder unless that has been done for the same list of packages.
fn once(
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

fn execute(command: &mut Command) -> anyhow::Result<()> {
    // What installers print is no result of ours.
    let status = interrupt::wait(command.stdin(Stdio::null()).stdout(std::io::stderr()))?;
    anyhow::ensure!(
        status.success(),
        "{} failed: {status}",
        command.get_program().display()
    );
    Ok(())
}
