//! `cargo xtask screenshots`: pictures of every page of the dashboard, made by the test that walks them all.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::browser::Browser;
use crate::{interrupt, workspace};

/// The tests that look at every page.
const TESTS: &str = "every_page";
/// Those that the documentation shows, and the largest that one may be.
const SHOWN: [&str; 3] = ["overview-dark.png", "request-light.png", "models-light.png"];
const LARGEST: u64 = 150 * 1024;

/// What `cargo xtask screenshots` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the pictures go; `target/screenshots` when absent
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// For how many seconds requests come in before, so that plots have something to show
    #[arg(long, default_value_t = 120)]
    load: u32,
    /// Renew the pictures in `docs/`
    #[arg(long)]
    keep: bool,
}

/// Runs the test with a folder for its pictures.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let target = workspace::metadata()?.target_directory;
    let browser = Browser::install(&target)?;
    let folder = match &options.to {
        Some(folder) => std::path::absolute(folder)?,
        None => target.join("screenshots"),
    };
    let status = interrupt::wait(
        workspace::cargo(&["test", "--workspace", "--test", "ui", "--", TESTS])?
            .envs(browser.environment())
            .env("TEST_SCREENSHOTS", &folder)
            .env("TEST_LOAD_SECONDS", options.load.to_string()),
    )?;
    if !status.success() {
        return Ok(workspace::exit_code(status));
    }
    if options.keep {
        let kept = workspace::root()?.join("docs/pictures");
        fs::create_dir_all(&kept)?;
        for name in SHOWN {
            let size = fs::copy(folder.join(name), kept.join(name))?;
            anyhow::ensure!(
                size <= LARGEST,
                "{name} has {size} bytes, {LARGEST} at most: show less on it"
            );
        }
    }
    writeln!(std::io::stdout(), "{}", folder.display())?;
    Ok(ExitCode::SUCCESS)
}
