//! `cargo xtask dist`: one static program that runs on any Linux of this machine's kind, built and tried.

mod elf;
mod trial;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;
use clap::Args;

use crate::trial::MOST_AGENT_MIB;
use crate::{apt, interrupt, workspace};

/// What `cargo xtask dist` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Try the program that is there, without building it
    #[arg(long)]
    no_build: bool,
}

/// Builds the program with musl, which goes into it as a whole, and strips it; then looks that it is static, and tries it as server and
/// as agent.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let architecture = std::env::consts::ARCH;
    let target = format!("{architecture}-unknown-linux-musl");
    let folder = workspace::metadata()?.target_directory.join("dist");
    let program = folder.join(format!("remuda-linux-{architecture}"));
    if !options.no_build {
        install_target(&target)?;
        let compiler = compiler()?;
        std::fs::create_dir_all(&folder)?;
        build(&target, compiler, &program)?;
    }
    let bytes = std::fs::read(&program)
        .with_context(|| format!("{}: build it without --no-build", program.display()))?;
    if let Some(loader) = elf::interpreter(&bytes)? {
        anyhow::bail!("{} is not static: it wants {loader}", program.display());
    }
    let tried = trial::run(&program)?;
    let mut output = std::io::stdout().lock();
    writeln!(
        output,
        "{}\n{}, static, {:.1} MiB\nserved and answered {:.1} s after it was started\nagent at rest: {:.1} MiB resident (at most {} MiB)",
        program.display(),
        tried.version,
        bytes.len() as f64 / f64::from(1 << 20),
        tried.answered_after.as_secs_f64(),
        tried.agent_kib as f64 / 1_024.0,
        MOST_AGENT_MIB,
    )?;
    let kept = tried.agent_kib < MOST_AGENT_MIB * 1_024;
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Has rustup fetch the target's libraries, where they are missing.
fn install_target(target: &str) -> anyhow::Result<()> {
    let root = Command::new("rustc")
        .args(["--print", "sysroot"])
        .current_dir(workspace::root()?)
        .output()
        .context("running rustc")?;
    let root = PathBuf::from(String::from_utf8_lossy(&root.stdout).trim());
    if root.join("lib/rustlib").join(target).join("lib").is_dir() {
        return Ok(());
    }
    eprintln!("xtask: the target {target} is missing, installing it");
    let status = interrupt::wait(
        Command::new("rustup")
            .args(["target", "add", target])
            .current_dir(workspace::root()?)
            .stdin(Stdio::null())
            .stdout(std::io::stderr()),
    )
    .with_context(|| format!("install the Rust target {target}"))?;
    anyhow::ensure!(status.success(), "rustup target add {target} failed");
    Ok(())
}

/// Returns a compiler of C that knows musl: of SQLite, and of the cryptography.
fn compiler() -> anyhow::Result<&'static str> {
    const NAME: &str = "musl-gcc";
    let is_there = || {
        Command::new(NAME)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !is_there() {
        apt::install(NAME, &["musl-tools"])?;
        anyhow::ensure!(is_there(), "{NAME} does not run");
    }
    Ok(NAME)
}

fn build(target: &str, compiler: &str, program: &Path) -> anyhow::Result<()> {
    let mut cargo = workspace::cargo(&["build", "--release", "-p", "remuda", "--bin", "remuda"])?;
    let for_target = target.replace('-', "_");
    cargo
        .args(["--target", target])
        .env(format!("CC_{for_target}"), compiler);
    let status = interrupt::wait(&mut cargo)?;
    anyhow::ensure!(status.success(), "the build fails");
    let built = workspace::metadata()?
        .target_directory
        .join(target)
        .join("release/remuda");
    let mut strip = Command::new("strip");
    strip
        .arg("--strip-all")
        .arg("-o")
        .arg(program)
        .arg(&built)
        .stdin(Stdio::null());
    let status = interrupt::wait(&mut strip)?;
    anyhow::ensure!(status.success(), "strip fails");
    Ok(())
}
