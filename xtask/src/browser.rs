//! A browser and what drives it, for the tests of the dashboard: Debian's Chromium, Playwright and axe from npm.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::{apt, install, workspace};

/// What the driver's packages are called, and in which versions, below the workspace's root.
const LIST: &str = "crates/remuda/tests/ui/walks/package.json";

/// An installed browser with its driver.
pub(crate) struct Browser {
    program: PathBuf,
    packages: PathBuf,
}

impl Browser {
    /// Installs what is missing. Packages of npm go below the build's target folder.
    pub(crate) fn install(target: &Path) -> anyhow::Result<Self> {
        if find("node").is_none() || find("npm").is_none() {
            apt::install("node", &["nodejs", "npm"])?;
        }
        if find("chromium").is_none() {
            // Without a font it would show nothing.
            apt::install(
                "chromium",
                &["chromium", "fonts-inter", "fonts-dejavu-core"],
            )?;
        }
        let program = find("chromium").context("chromium is not on the path")?;
        let packages = target.join("ui");
        let list = workspace::root()?.join(LIST);
        install::once(&packages, &list, || {
            fs::create_dir_all(&packages)?;
            fs::copy(&list, packages.join("package.json"))?;
            install::execute(
                Command::new("npm")
                    .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
                    .current_dir(&packages),
            )
        })?;
        Ok(Self { program, packages })
    }

    /// Returns the variables by which tests find them.
    pub(crate) fn environment(&self) -> [(&'static str, &OsStr); 2] {
        [
            ("TEST_BROWSER", self.program.as_os_str()),
            ("TEST_UI_PACKAGES", self.packages.as_os_str()),
        ]
    }
}

/// Returns where a program is on the path, if it runs.
fn find(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())?;
    let runs = Command::new(&found)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    runs.is_ok_and(|status| status.success()).then_some(found)
}
