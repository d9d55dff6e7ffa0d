//! `cargo xtask clients`: the clients that people use, unmodified from PyPI and npm, against a fleet of three kinds.

mod fleet;
mod packages;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use clap::Args;

use crate::{interrupt, workspace};
use fleet::Fleet;
use packages::Packages;

/// What `cargo xtask clients` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// A built `remuda` to test in place of a fresh development build
    #[arg(long, value_name = "FILE")]
    remuda: Option<PathBuf>,
}

/// One client's checks.
struct Script {
    /// How the client is called in the report.
    client: &'static str,
    /// The file below `crates/testbed/clients`.
    file: &'static str,
}

const SCRIPTS: [Script; 4] = [
    Script {
        client: "ollama from PyPI",
        file: "python/ollama_checks.py",
    },
    Script {
        client: "openai from PyPI",
        file: "python/openai_checks.py",
    },
    Script {
        client: "ollama from npm",
        file: "node/ollama_checks.mjs",
    },
    Script {
        client: "openai from npm",
        file: "node/openai_checks.mjs",
    },
];

/// How checks went.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

/// Runs every client without and with required keys, then with an agent in between; fails when a check fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let target = workspace::metadata()?.target_directory;
    let scripts = workspace::root()?.join("crates/testbed/clients");
    let programs = build(options, &target)?;
    let packages = Packages::install(&scripts, &target.join("clients"))?;
    let mut tally = Tally::default();
    for keys_required in [false, true] {
        let fleet = Fleet::start(&programs, keys_required)?;
        for script in &SCRIPTS {
            let keys = if keys_required {
                "keys required, the Ollama behind an agent"
            } else {
                "no keys"
            };
            say(&format!("{}, {keys}", script.client))?;
            run_script(&packages.command(script.file)?, script, &fleet, &mut tally)?;
        }
    }
    say(&format!("{} passed, {} failed", tally.passed, tally.failed))?;
    Ok(if tally.failed == 0 && tally.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The programs under test.
struct Programs {
    remuda: PathBuf,
    upstream: PathBuf,
}

fn build(options: &Options, target: &Path) -> anyhow::Result<Programs> {
    let mut arguments = vec![
        "build",
        "-p",
        "remuda-testbed",
        "--bin",
        "scripted_upstream",
    ];
    if options.remuda.is_none() {
        arguments.extend(["-p", "remuda", "--bin", "remuda"]);
    }
    let status = interrupt::wait(&mut workspace::cargo(&arguments)?)?;
    anyhow::ensure!(status.success(), "cargo {}: {status}", arguments.join(" "));
    let built = target.join("debug");
    Ok(Programs {
        remuda: match &options.remuda {
            Some(given) => std::path::absolute(given)?,
            None => built.join("remuda"),
        },
        upstream: built.join("scripted_upstream"),
    })
}

/// Runs one client's checks, shows their lines and counts them.
fn run_script(
    command: &packages::Invocation,
    script: &Script,
    fleet: &Fleet,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    interrupt::check()?;
    let mut process = Command::new(&command.program);
    process
        .arg(&command.script)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("REMUDA_URL", &fleet.url)
        .env_remove("REMUDA_KEY")
        .env_remove("REMUDA_USER_KEY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(keys) = &fleet.keys {
        process
            .env("REMUDA_KEY", &keys.admin)
            .env("REMUDA_USER_KEY", &keys.user);
    }
    let mut child = process
        .spawn()
        .with_context(|| format!("running {}", command.program.display()))?;
    let output = child.stdout.take().context("its output")?;
    let before = (tally.passed, tally.failed);
    for line in BufReader::new(output).lines() {
        let line = line?;
        match line.split_whitespace().next() {
            Some("ok") => tally.passed += 1,
            Some("FAIL") => tally.failed += 1,
            _ => {}
        }
        say(&format!("  {line}"))?;
    }
    let status = child.wait()?;
    interrupt::check()?;
    // A script that breaks outside its checks must not pass for one without failures.
    if before == (tally.passed, tally.failed) || (!status.success() && before.1 == tally.failed) {
        tally.failed += 1;
        say(&format!(
            "  FAIL {} did not run to its end: {status}",
            script.file
        ))?;
    }
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
