//! `cargo xtask schemathesis`: requests made up from the OpenAPI document, right ones and wrong ones, sent to a running program.
//!
//! Fails when an answer is a 5xx, or is not as the document says: status, content type, headers, body, refusal of what does not fit.
//! That what fits is accepted is left out: no schema says that a time must lie ahead, or that a name must not be taken.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use crate::{install, interrupt, workspace};

const PASSWORD: &str = "a password for one test";
/// Time for a development build to start.
const START_LIMIT: Duration = Duration::from_mins(1);

/// What `cargo xtask schemathesis` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// A built `remuda` to test in place of a fresh development build
    #[arg(long, value_name = "FILE")]
    remuda: Option<PathBuf>,
    /// Cases made up for each operation
    #[arg(long, default_value_t = 30)]
    examples: u32,
    /// Where the making up starts; the same number makes up the same cases
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One run over some of the operations.
struct Run<'a> {
    name: &'static str,
    credential: &'a str,
    filters: &'static [&'static str],
}

/// Runs schemathesis with a key, and as a person for what only people can do.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let target = workspace::metadata()?.target_directory;
    let settings = workspace::root()?.join("xtask/schemathesis");
    let program = build(options, &target)?;
    let tools = install::python(
        &target.join("schemathesis"),
        &settings.join("requirements.txt"),
    )?;
    let server = Server::start(&program)?;
    let runs = [
        Run {
            name: "with an administrator's key",
            credential: &server.key,
            filters: &[],
        },
        Run {
            name: "as a person",
            credential: &server.token,
            // Ending the session that the run has would leave nothing but refusals.
            filters: &[
                "--include-path-regex=^/api/v1/me",
                "--exclude-operation-id=end_my_sessions",
            ],
        },
    ];
    for run in runs {
        writeln!(std::io::stdout(), "\nschemathesis {}", run.name)?;
        let status = interrupt::wait(
            Command::new(tools.join("schemathesis"))
                .arg("--config-file")
                .arg(settings.join("schemathesis.toml"))
                .arg("run")
                .arg(format!("{}/api/v1/openapi.json", server.url))
                .args([
                    "--checks",
                    "all",
                    "--exclude-checks",
                    "positive_data_acceptance",
                ])
                .arg("--continue-on-failure")
                .args(["--suppress-health-check", "all", "--warnings", "off"])
                .args(["--max-examples", &options.examples.to_string()])
                .args(["--seed", &options.seed.to_string()])
                .arg("--header")
                .arg(format!("Authorization: Bearer {}", run.credential))
                .args(run.filters)
                .env("SCHEMATHESIS_HOOKS", "hooks")
                .env("PYTHONPATH", &settings)
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .current_dir(server.directory.path())
                .stdin(Stdio::null()),
        )?;
        if !status.success() {
            return Ok(workspace::exit_code(status));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn build(options: &Options, target: &Path) -> anyhow::Result<PathBuf> {
    if let Some(given) = &options.remuda {
        return Ok(std::path::absolute(given)?);
    }
    let arguments = ["build", "-p", "remuda", "--bin", "remuda"];
    let status = interrupt::wait(&mut workspace::cargo(&arguments)?)?;
    anyhow::ensure!(status.success(), "cargo {}: {status}", arguments.join(" "));
    Ok(target.join("debug/remuda"))
}

/// A program with nothing in it but its administrator. Ended when dropped.
struct Server {
    url: String,
    key: String,
    token: String,
    // Ended before its folder goes.
    _process: Process,
    directory: tempfile::TempDir,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = interrupt::stop(&mut self.0, "TERM") {
            eprintln!("xtask: remuda could not be stopped: {error}");
        }
    }
}

impl Server {
    fn start(program: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let settings = directory.path().join("remuda.toml");
        let data = directory.path().join("data");
        fs::write(
            &settings,
            format!(
                "[server]\nlisten = \"{address}\"\ndata_dir = \"{}\"\n[auth]\nrequired = true\n\
                 [discovery]\nollama = false\n[engine]\ndemo = false\n",
                data.display()
            ),
        )?;
        let log = fs::File::create(directory.path().join("remuda.log"))?;
        let process = Process(
            Command::new(program)
                .arg("up")
                .arg("--config")
                .arg(&settings)
                .env("REMUDA_ADMIN_PASSWORD", PASSWORD)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| format!("running {}", program.display()))?,
        );
        let url = format!("http://{address}");
        let home = directory.path();
        let deadline = Instant::now() + START_LIMIT;
        while let Err(error) = type_command(program, home, &url, &["login", "--password-stdin"]) {
            interrupt::check()?;
            anyhow::ensure!(Instant::now() < deadline, "{error:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let create = ["key", "create", "schemathesis", "--admin"];
        let key = type_command(program, home, &url, &create)?;
        let stored = fs::read_to_string(home.join("remuda/credentials.toml"))?;
        let token = stored
            .lines()
            .find_map(|line| line.strip_prefix("token = \"")?.strip_suffix('"'))
            .context("no access token was stored")?;
        Ok(Self {
            url,
            key: key.trim().to_owned(),
            token: token.to_owned(),
            _process: process,
            directory,
        })
    }
}

/// Runs a command as somebody whose settings are below `home`, and returns what it prints.
fn type_command(
    program: &Path,
    home: &Path,
    url: &str,
    arguments: &[&str],
) -> anyhow::Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("REMUDA_HOST", url)
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .env_remove("REMUDA_API_KEY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("its input")?;
    input.write_all(PASSWORD.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    anyhow::ensure!(
        output.status.success(),
        "remuda {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}
