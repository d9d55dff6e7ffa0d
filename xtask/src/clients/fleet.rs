//! A Remuda with three nodes of three kinds: its embedded engine, a scripted Ollama, a scripted vLLM. Where keys are required the Ollama is
//! behind an agent.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tempfile::TempDir;

use super::Programs;
use crate::interrupt;

/// Models that the checks use; when all are listed, the fleet is ready.
const MODELS: [&str; 5] = [
    "llama3.2:latest",
    "nomic-embed-text:latest",
    "qwen3-8b",
    "bge-m3",
    "remuda-demo",
];
const NODE_KEY: &str = "the-key-of-the-node";
const PASSWORD: &str = "a password for one test";
/// Time to start, find the nodes and learn their models. A development build is slow to load its model.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Keys made with `remuda key create`.
pub(super) struct Keys {
    pub(super) admin: String,
    pub(super) user: String,
}

/// A running fleet. Ended when dropped.
pub(super) struct Fleet {
    /// Where Remuda listens.
    pub(super) url: String,
    /// Keys, where they are required.
    pub(super) keys: Option<Keys>,
    // The order is the one in which they are ended.
    _agent: Option<Process>,
    _remuda: Process,
    _nodes: [Process; 2],
    _directory: TempDir,
}

impl Fleet {
    /// Starts the nodes and Remuda before them, with fresh data.
    pub(super) fn start(programs: &Programs, keys_required: bool) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (ollama, ollama_address) = Process::upstream(
            &programs.upstream,
            &["ollama", "--chat", MODELS[0], "--embedding", MODELS[1]],
        )?;
        let (vllm, vllm_address) = Process::upstream(
            &programs.upstream,
            &[
                "vllm",
                "--chat",
                MODELS[2],
                "--embedding",
                MODELS[3],
                "--api-key",
                NODE_KEY,
            ],
        )?;
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let (address, door) = (free()?, free()?);
        let to_ollama = if keys_required {
            format!("[agents]\nlisten = \"{door}\"\nurl = \"https://{door}\"\n")
        } else {
            format!("[[nodes]]\nname = \"ollama\"\nurl = \"http://{ollama_address}\"\n")
        };
        let settings = directory.path().join("remuda.toml");
        fs::write(
            &settings,
            format!(
                "[server]\nlisten = \"{address}\"\ndata_dir = \"{}\"\n[auth]\nrequired = {keys_required}\n\
                 [discovery]\nollama = false\n{to_ollama}\
                 [[nodes]]\nname = \"vllm\"\nurl = \"http://{vllm_address}\"\napi_key = \"{NODE_KEY}\"\n",
                directory.path().join("data").display()
            ),
        )?;
        let log = directory.path().join("remuda.log");
        let output = fs::File::create(&log)?;
        let remuda = Process(
            Command::new(&programs.remuda)
                .arg("up")
                .arg("--config")
                .arg(&settings)
                .env("REMUDA_ADMIN_PASSWORD", PASSWORD)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output)
                .spawn()
                .with_context(|| format!("running {}", programs.remuda.display()))?,
        );
        let url = format!("http://{address}");
        let person = Person {
            program: &programs.remuda,
            home: directory.path(),
            url: &url,
        };
        let failed = || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            format!("Remuda does not serve:\n{said}")
        };
        person.sign_in().with_context(failed)?;
        let agent = keys_required.then(|| person.start_agent(&ollama_address));
        let agent = agent.transpose()?;
        let keys = person.prepare(keys_required).with_context(failed)?;
        Ok(Self {
            url,
            keys,
            _agent: agent,
            _remuda: remuda,
            _nodes: [ollama, vllm],
            _directory: directory,
        })
    }
}

/// Somebody who types `remuda` commands, with a home directory of their own.
struct Person<'a> {
    program: &'a Path,
    home: &'a Path,
    url: &'a str,
}

impl Person<'_> {
    /// Signs in as soon as Remuda serves.
    fn sign_in(&self) -> anyhow::Result<()> {
        retry(Instant::now() + START_LIMIT, || {
            self.type_command(&["login", "--password-stdin"], PASSWORD)
        })?;
        Ok(())
    }

    /// Invites the machine of the Ollama, and starts an agent there.
    fn start_agent(&self, ollama: &str) -> anyhow::Result<Process> {
        let invited = self.type_command(&["node", "invite", "ollama", "--json"], "")?;
        let word = |name: &str| invited[name].as_str().context("no invitation");
        let child = Command::new(self.program)
            .args(["agent", "--listen", "127.0.0.1:0", "--join", word("url")?])
            .args(["--model-server", &format!("http://{ollama}")])
            .env("REMUDA_AGENT_TOKEN", word("token")?)
            .env("HOME", self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Process(child))
    }

    /// Waits until all models are listed, and makes keys where they are required.
    fn prepare(&self, keys_required: bool) -> anyhow::Result<Option<Keys>> {
        retry(Instant::now() + START_LIMIT, || {
            let listed = self.type_command(&["models", "--json"], "")?.to_string();
            let missing = MODELS.iter().find(|model| !listed.contains(**model));
            anyhow::ensure!(missing.is_none(), "{missing:?} is not in {listed}");
            Ok(())
        })?;
        if !keys_required {
            return Ok(None);
        }
        let make = |arguments: &[&str]| {
            let made = self.type_command(arguments, "")?;
            let secret = made["secret"].as_str().context("no secret")?;
            anyhow::Ok(secret.to_owned())
        };
        Ok(Some(Keys {
            admin: make(&["key", "create", "boss", "--admin", "--json"])?,
            user: make(&["key", "create", "colleague", "--json"])?,
        }))
    }

    /// Runs a command and returns the JSON that it writes, or null.
    fn type_command(&self, arguments: &[&str], input: &str) -> anyhow::Result<Value> {
        let mut child = Command::new(self.program)
            .args(arguments)
            .env("REMUDA_HOST", self.url)
            .env("HOME", self.home)
            .env("XDG_CONFIG_HOME", self.home.join("settings"))
            .env_remove("REMUDA_API_KEY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .context("its input")?
            .write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        anyhow::ensure!(
            output.status.success(),
            "remuda {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }
}

fn retry<T>(deadline: Instant, attempt: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    loop {
        interrupt::check()?;
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// A child process, ended by SIGTERM when dropped.
struct Process(Child);

impl Process {
    /// Starts a scripted upstream and returns where it listens.
    fn upstream(program: &Path, arguments: &[&str]) -> anyhow::Result<(Self, String)> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("running {}", program.display()))?;
        let output = child.stdout.take().context("its output")?;
        let process = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line
            .trim_end()
            .rsplit(' ')
            .next()
            .filter(|address| address.contains(':'))
            .with_context(|| format!("a scripted upstream says {line:?}"))?;
        Ok((process, address.to_owned()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = interrupt::stop(&mut self.0, "TERM") {
            eprintln!(
                "xtask: process {} could not be stopped: {error}",
                self.0.id()
            );
        }
    }
}
