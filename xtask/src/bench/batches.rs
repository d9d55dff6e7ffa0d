//! `cargo xtask bench batches`: one large batch, submitted, answered and fetched as a person does it, and the memory that it takes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::machine;
use super::postgres::Postgres;
use super::process::{cpu_time, resident_kib};
use super::programs::{Build, programs};
use super::remuda::Remuda;
use super::upstream::scripted_upstream;
use crate::interrupt;

/// What `cargo xtask bench batches` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure the release programs as they are
    #[arg(long)]
    no_build: bool,
    /// Lines of the batch
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=50_000))]
    lines: u32,
    /// Bytes of each question
    #[arg(long, default_value_t = 500)]
    question: usize,
    /// PostgreSQL in place of SQLite, on the core of the load
    #[arg(long)]
    postgres: bool,
}

/// One line of so many is refused by the node.
const REFUSED: u32 = 1_000;
/// What the batch may add to the memory of the server, in MiB. The file itself has some 35 of them.
const MOST_MIB: u64 = 64;
/// Time that it gets, for each thousand lines.
const LIMIT: Duration = Duration::from_mins(1);

/// Measures and prints Markdown.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let load_before = machine::load_average();
    let programs = programs(
        &["remuda", "scripted_upstream"],
        Build::unless(options.no_build),
    )?;
    let directory = tempfile::tempdir()?;
    let (_upstream, node) = scripted_upstream(&programs, &["vllm", "--chat", "bench-model"])?;
    let postgres = options
        .postgres
        .then(|| Postgres::start("bench_batches"))
        .transpose()?;
    let section = postgres.as_ref().map(Postgres::section).unwrap_or_default();
    let remuda = Remuda::start_with(
        &programs.join("remuda"),
        directory.path(),
        node,
        &format!("{section}[jobs]\nbatch_places = 16\n"),
    )?;
    let file = directory.path().join("requests.jsonl");
    write_lines(&file, options)?;
    let person = Person {
        program: &programs.join("remuda"),
        remuda: &remuda,
        home: directory.path(),
    };

    let before = resident_kib(remuda.pid())?;
    let used = cpu_time(remuda.pid())?;
    let begun = Instant::now();
    let submitted = person.says(&["batch", "submit", "--json", &file.display().to_string()])?;
    let submitted: Value = serde_json::from_str(&submitted)?;
    let batch = submitted["id"].as_str().context("no batch")?.to_owned();
    let uploaded = begun.elapsed();
    let mut most = before;
    let ended = loop {
        interrupt::check()?;
        most = most.max(resident_kib(remuda.pid())?);
        let shown = person.says(&["batch", "show", "--json", &batch])?;
        let shown: Value = serde_json::from_str(&shown)?;
        match shown["status"].as_str().context("no status")? {
            "completed" => break shown,
            "validating" | "in_progress" | "finalizing" => {}
            other => anyhow::bail!("the batch is {other}: {shown}"),
        }
        let limit = LIMIT * options.lines.div_ceil(1_000);
        anyhow::ensure!(begun.elapsed() < limit, "after {limit:?}: {shown}");
        std::thread::sleep(Duration::from_millis(200));
    };
    let took = begun.elapsed();
    let used = cpu_time(remuda.pid())?.saturating_sub(used);
    let answers = person.says(&["batch", "output", &batch])?;
    let refusals = person.says(&["batch", "output", "--errors", &batch])?;
    most = most.max(resident_kib(remuda.pid())?);
    check(options, &ended, &answers, &refusals)?;

    let added = (most - before) / 1_024;
    let kept = added <= MOST_MIB;
    let mut table = String::new();
    for (name, value) in [
        ("lines", options.lines.to_string()),
        (
            "refused by the node, in the error file",
            options.lines.div_ceil(REFUSED).to_string(),
        ),
        (
            "MiB of the file",
            format!("{:.1}", fs::metadata(&file)?.len() as f64 / 1_048_576.0),
        ),
        (
            "seconds until it was accepted",
            format!("{:.1}", uploaded.as_secs_f64()),
        ),
        (
            "seconds until it was done",
            format!("{:.1}", took.as_secs_f64()),
        ),
        (
            "lines a second",
            format!("{:.0}", f64::from(options.lines) / took.as_secs_f64()),
        ),
        (
            "processor µs of the server for each",
            format!("{:.0}", used.as_secs_f64() * 1e6 / f64::from(options.lines)),
        ),
        ("MiB resident before", (before / 1_024).to_string()),
        (
            "MiB more at the most",
            format!(
                "{added} (at most {MOST_MIB}: {})",
                if kept { "kept" } else { "**missed**" }
            ),
        ),
    ] {
        writeln!(table, "| {name} | {value} |")?;
    }
    writeln!(
        std::io::stdout().lock(),
        "### Machine\n\n{}\n- load average before the start: {load_before:.2} (numbers count only near 0)\n\n### Method\n\n\
         `cargo xtask bench batches`. Remuda (release build, {}) on core 0, a node that answers at once{} on core 1. `remuda batch submit`,\n\
         `show` and `output` do what a person does. Every line has its answer once, in the file of answers or of errors.\n\n\
         ### Results\n\n| | |\n|---|---|\n{table}",
        machine::describe(),
        if options.postgres {
            "PostgreSQL"
        } else {
            "SQLite"
        },
        if options.postgres {
            " and PostgreSQL"
        } else {
            ""
        },
    )?;
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Somebody at a terminal.
struct Person<'a> {
    program: &'a Path,
    remuda: &'a Remuda,
    home: &'a Path,
}

impl Person<'_> {
    /// Runs a command that must succeed, and returns what it printed.
    fn says(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(self.program)
            .args(arguments)
            .env("HOME", self.home)
            .env("REMUDA_HOST", format!("http://{}", self.remuda.address))
            .env("REMUDA_API_KEY", &self.remuda.key)
            .stdin(Stdio::null())
            .output()?;
        anyhow::ensure!(
            output.status.success(),
            "remuda {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn is_refused(number: u32) -> bool {
    number.is_multiple_of(REFUSED)
}

fn write_lines(file: &Path, options: &Options) -> anyhow::Result<()> {
    let mut text = String::new();
    for number in 0..options.lines {
        let marker = if is_refused(number) {
            "[[testbed status=400]] "
        } else {
            ""
        };
        let question = format!(
            "{marker}Question {number}: {}",
            "why? ".repeat(options.question / 5)
        );
        let body =
            json!({"model": "bench-model", "messages": [{"role": "user", "content": question}]});
        let line = json!({"custom_id": number.to_string(), "method": "POST", "url": "/v1/chat/completions", "body": body});
        writeln!(text, "{line}")?;
    }
    fs::write(file, text)?;
    Ok(())
}

/// Fails unless every line has come to its end once, and rightly.
fn check(options: &Options, ended: &Value, answers: &str, refusals: &str) -> anyhow::Result<()> {
    let refused = options.lines.div_ceil(REFUSED);
    let counts = &ended["request_counts"];
    let told = ["total", "completed", "failed"].map(|count| counts[count].as_u64());
    let wanted = [options.lines, options.lines - refused, refused].map(|count| Some(count.into()));
    anyhow::ensure!(told == wanted, "{told:?} instead of {wanted:?}");
    let mut seen = BTreeSet::new();
    for (text, is_wanted) in [(answers, false), (refusals, true)] {
        for line in text.lines() {
            let line: Value = serde_json::from_str(line)?;
            let number: u32 = line["custom_id"]
                .as_str()
                .context("no custom_id")?
                .parse()?;
            anyhow::ensure!(seen.insert(number), "line {number} has two answers");
            anyhow::ensure!(is_refused(number) == is_wanted, "line {number}: {line}");
            let status = line["response"]["status_code"].as_u64();
            let wanted = if is_wanted { 400 } else { 200 };
            anyhow::ensure!(status == Some(wanted), "line {number}: {line}");
        }
    }
    anyhow::ensure!(
        seen.len() == options.lines as usize,
        "{} answers",
        seen.len()
    );
    Ok(())
}
