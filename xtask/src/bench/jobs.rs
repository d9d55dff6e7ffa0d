//! `cargo xtask bench jobs`: how many jobs that do nothing are enqueued and completed, with many waiting behind them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Deserialize;

use super::machine;
use super::process::{Running, family_cpu_time};
use crate::databases::Databases;
use crate::{interrupt, workspace};

/// What `cargo xtask bench jobs` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure the release program as it is
    #[arg(long)]
    no_build: bool,
    /// Jobs that wait
    #[arg(long, default_value_t = 1_000_000)]
    waiting: u64,
    /// Seconds of each window
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Leave PostgreSQL out
    #[arg(long)]
    without_postgres: bool,
    /// Leave SQLite out
    #[arg(long, conflicts_with = "without_postgres")]
    without_sqlite: bool,
    /// Jobs that the process carries out at once
    #[arg(long, default_value_t = 128)]
    places: usize,
    /// Places that have to be free before it looks for jobs
    #[arg(long, default_value_t = 32)]
    together: usize,
}

/// What a window found.
#[derive(Deserialize)]
struct Window {
    filled_per_s: f64,
    enqueued_per_s: f64,
    completed_per_s: f64,
    claims: u64,
    claim_p50_ms: f64,
    claim_p99_ms: f64,
    missing: u64,
}

/// What a row is held against: at least so many a second, and 99 of 100 claims within so many milliseconds.
struct Budget {
    rate: f64,
    p99_ms: f64,
}

const POSTGRES: Budget = Budget {
    rate: 5_000.0,
    p99_ms: 20.0,
};
const SQLITE: Budget = Budget {
    rate: 2_000.0,
    p99_ms: f64::INFINITY,
};

/// Measures and prints Markdown.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let load_before = machine::load_average();
    let target = workspace::metadata()?.target_directory;
    let program = build(options, &target)?;
    let directory = tempfile::tempdir()?;
    let mut table = String::new();
    let mut kept = true;
    if !options.without_postgres {
        let databases = Databases::start_durable(&target)?;
        let url = databases.make("bench_jobs")?;
        let before = database_time(&databases)?;
        let window = measure(&program, &url, options)?;
        let spent = database_time(&databases)?.saturating_sub(before);
        kept &= row(&mut table, "PostgreSQL", &window, Some(spent), &POSTGRES)?;
    }
    if !options.without_sqlite {
        let url = format!("sqlite:{}", directory.path().join("jobs.db").display());
        let window = measure(&program, &url, options)?;
        kept &= row(&mut table, "SQLite", &window, None, &SQLITE)?;
    }
    writeln!(
        std::io::stdout().lock(),
        "### Machine\n\n{}\n- load average before the start: {load_before:.2} (numbers count only near 0)\n\n### Method\n\n\
         `cargo xtask bench jobs`. One process with the engine (release build, two threads) and the database share the cores. {} jobs of\n\
         a kind that does nothing and has {} places wait and are due; then, for {} s, one task enqueues 250 in each transaction as fast as they are\n\
         completed, so that as many wait all the time. Enqueued and completed both count: the lower is held against the budget. What is\n\
         enqueued is waited for on the disk (fsync on); claims and ends of jobs that leave nothing behind are not, and lie behind each other in the\n\
         log. Times of claims are upper bounds of the metric's buckets. Every job is accounted for at the end.\n\n\
         ### Results\n\n\
         | | enqueued/s | completed/s | claims | claim p50 ms | claim p99 ms | filling, jobs/s | database CPU, filling included | budget |\n\
         |---|---|---|---|---|---|---|---|---|\n{table}",
        machine::describe(),
        options.waiting,
        options.places,
        options.seconds,
    )?;
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn build(options: &Options, target: &Path) -> anyhow::Result<PathBuf> {
    if !options.no_build {
        let mut cargo = workspace::cargo(&[
            "build",
            "--release",
            "-p",
            "remuda-jobs",
            "--example",
            "bench_jobs",
        ])?;
        let status = interrupt::wait(&mut cargo).context("building the release program")?;
        anyhow::ensure!(status.success(), "the release build fails");
    }
    Ok(target.join("release/examples/bench_jobs"))
}

fn database_time(databases: &Databases) -> anyhow::Result<Duration> {
    databases
        .postgres_pid()
        .map_or(Ok(Duration::ZERO), family_cpu_time)
}

fn measure(program: &Path, url: &str, options: &Options) -> anyhow::Result<Window> {
    let mut command = Command::new(program);
    command
        .arg(url)
        .arg(options.waiting.to_string())
        .arg(options.seconds.to_string())
        .arg(options.places.to_string())
        .arg(options.together.to_string())
        .stdin(Stdio::null());
    let line = Running::start(&mut command)?.line()?;
    serde_json::from_str(&line).with_context(|| format!("the load said {line:?}"))
}

/// Writes a row. Tells whether the budget was kept.
fn row(
    table: &mut String,
    name: &str,
    window: &Window,
    spent: Option<Duration>,
    budget: &Budget,
) -> anyhow::Result<bool> {
    anyhow::ensure!(window.missing == 0, "{} jobs are missing", window.missing);
    let rate = window.enqueued_per_s.min(window.completed_per_s);
    let kept = rate >= budget.rate && window.claim_p99_ms <= budget.p99_ms;
    let p99 = if budget.p99_ms.is_finite() {
        format!(", claim p99 at most {} ms", budget.p99_ms)
    } else {
        String::new()
    };
    let spent = spent.map_or("in the process".to_owned(), |spent| {
        let jobs = window.completed_per_s.max(1.0);
        format!("{:.0} s in all, at {jobs:.0} jobs/s", spent.as_secs_f64())
    });
    writeln!(
        table,
        "| {name} | {:.0} | {:.0} | {} | {:.1} | {:.1} | {:.0} | {spent} | at least {}/s{p99}: {} |",
        window.enqueued_per_s,
        window.completed_per_s,
        window.claims,
        window.claim_p50_ms,
        window.claim_p99_ms,
        window.filled_per_s,
        budget.rate,
        if kept { "kept" } else { "**missed**" },
    )?;
    Ok(kept)
}
