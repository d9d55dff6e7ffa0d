//! `cargo xtask test`: all tests, with the databases, the browser and the sign-in provider they need.

use std::process::{ExitCode, Stdio};

use clap::Args;

use crate::browser::Browser;
use crate::databases::Databases;
use crate::{interrupt, provider, workspace};

/// What `cargo xtask test` takes.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Arguments for the test runner, such as a test's name or `-p CRATE`; given any, doc tests are left out
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    runner: Vec<String>,
}

/// Starts the databases, runs the tests, stops the databases.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    run_with(&options.runner, &[])
}

/// The same with arguments for the test runner and more variables for cargo and the tests.
pub(crate) fn run_with(runner: &[String], more: &[(&str, &str)]) -> anyhow::Result<ExitCode> {
    let arguments = runner;
    interrupt::catch()?;
    let target = workspace::metadata()?.target_directory;
    let browser = Browser::install(&target)?;
    let provider = provider::script(&workspace::root()?, &target)?;
    let provider = provider.display().to_string();
    let databases = Databases::start(&target)?;
    let postgres_bin = databases.postgres_bin.display().to_string();
    let environment = [
        ("TEST_POSTGRES_URL", databases.postgres_url.as_str()),
        ("TEST_PGBOUNCER_URL", databases.pgbouncer_url.as_str()),
        ("TEST_REDIS_URL", databases.redis_url.as_str()),
        ("TEST_POSTGRES_BIN", postgres_bin.as_str()),
        ("TEST_OIDC_PROVIDER", provider.as_str()),
        // The engine's arithmetic spins while it waits for its other threads, which tests beside it keep off the cores.
        ("CANDLE_NUM_THREADS", "1"),
        ("RAYON_NUM_THREADS", "1"),
    ];
    let threads = tests_at_once().to_string();
    let nextest = has_nextest()?;
    let everything = arguments.is_empty();
    if nextest && everything {
        // First, so that the runner's closing lines are the last ones.
        let status = interrupt::wait(
            workspace::cargo(&["test", "--workspace", "--doc"])?
                .envs(environment)
                .envs(more.iter().copied()),
        )?;
        if !status.success() {
            return Ok(workspace::exit_code(status));
        }
    }
    let mut runner = workspace::cargo(if nextest {
        &["nextest", "run"]
    } else {
        &["test"]
    })?;
    if !arguments
        .iter()
        .any(|argument| argument == "-p" || argument.starts_with("--package"))
    {
        runner.arg("--workspace");
    }
    if everything {
        runner.arg("--no-fail-fast");
    }
    let status = interrupt::wait(
        runner
            .args(arguments)
            .env("NEXTEST_TEST_THREADS", &threads)
            .env("RUST_TEST_THREADS", &threads)
            .envs(environment)
            .envs(more.iter().copied())
            .envs(browser.environment()),
    )?;
    Ok(workspace::exit_code(status))
}

/// Returns how many tests run at once unless the environment says so: one more than there are processors, since tests wait for servers
/// and browsers for a good part of their time.
fn tests_at_once() -> usize {
    let told = std::env::var("NEXTEST_TEST_THREADS").ok();
    let told = told.and_then(|threads| threads.parse().ok());
    told.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, |count| count.get() + 1))
}

fn has_nextest() -> anyhow::Result<bool> {
    let mut version = workspace::cargo(&["nextest", "--version"])?;
    Ok(version
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?
        .success())
}
