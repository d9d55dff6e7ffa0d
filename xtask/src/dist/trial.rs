//! The program as it will be used: a server that answers, and an agent beside it that joins another server, which answers through it.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::bench::http;
use crate::bench::process::{Running, resident_kib};
use crate::interrupt;

/// What an agent may hold at rest.
pub(super) const MOST_AGENT_MIB: u64 = 30;
const PASSWORD: &str = "a password for one trial";
const LIMIT: Duration = Duration::from_mins(1);
/// A process is at rest when it has had next to nothing to do for five seconds.
const REST: Duration = Duration::from_secs(20);
/// What a machine's `nvidia-smi` would say.
const CARD: &str = "0, NVIDIA H100 80GB HBM3, GPU-1, 550.54.15, 81559, 4, 0, 31, 69.42, 700.00";

/// What was found.
pub(super) struct Tried {
    pub(super) version: String,
    /// From the start of the server to the answer of its demo model.
    pub(super) answered_after: Duration,
    pub(super) agent_kib: u64,
}

/// The program in a folder of its own, with nothing of the machine's settings.
struct Trial<'a> {
    program: &'a Path,
    home: &'a Path,
}

/// Tries the program.
pub(super) fn run(program: &Path) -> anyhow::Result<Tried> {
    let home = tempfile::tempdir()?;
    let trial = Trial {
        program,
        home: home.path(),
    };
    let version = said(&mut trial.typed(&["--version"]))?;
    trial.is_release()?;
    let begun = Instant::now();
    let (mut beside, its_address) = trial.server("beside", "")?;
    answer(its_address, None)?;
    let answered_after = begun.elapsed();
    // It has no model of its own.
    let door = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = format!("[agents]\nlisten = \"{door}\"\n[engine]\ndemo = false\n");
    let (mut server, address) = trial.server("server", &config)?;

    let sign_in = json!({"username": "admin", "password": PASSWORD});
    let session = http::send(address, "POST", "/api/v1/login", None, Some(&sign_in))?.json()?;
    let token = session["token"].as_str().context("no token")?;
    let mut agent = trial.agent(address, door, its_address, token)?;
    let agent_kib = at_rest(&mut agent)?;
    answer(address, Some(token)).context("through the agent")?;
    for process in [&mut agent, &mut server, &mut beside] {
        process.ensure_alive()?;
        process.stop()?;
    }
    Ok(Tried {
        version,
        answered_after,
        agent_kib,
    })
}

impl Trial<'_> {
    fn typed(&self, words: &[&str]) -> Command {
        self.typed_to(self.program, words)
    }

    fn typed_to(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(words)
            .env_clear()
            .env("HOME", self.home)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null());
        command
    }

    /// Looks that agents can be updated to it: version and target are read from its file.
    fn is_release(&self) -> anyhow::Result<()> {
        let (key, copy) = (self.home.join("agents.key"), self.home.join("remuda"));
        std::fs::copy(self.program, &copy)?;
        said(self.typed(&["agent-release", "keygen"]).arg(&key))?;
        let mut sign = self.typed(&["agent-release", "sign"]);
        said(sign.arg(&copy).arg("--key").arg(&key))?;
        let signed = std::fs::read_to_string(self.home.join("remuda.sig"))?;
        let target = format!("linux-{}", std::env::consts::ARCH);
        anyhow::ensure!(
            signed.contains(&target),
            "signed for something else: {signed}"
        );
        Ok(())
    }

    /// Starts a server with fresh data.
    fn server(&self, name: &str, config: &str) -> anyhow::Result<(Running, SocketAddr)> {
        let file = self.home.join(format!("{name}.toml"));
        std::fs::write(&file, format!("{config}[discovery]\nollama = false\n"))?;
        let mut up = self.typed(&["up", "--json", "--listen", "127.0.0.1:0"]);
        up.arg("--config").arg(&file);
        up.arg("--data").arg(self.home.join(name));
        up.env("REMUDA_ADMIN_PASSWORD", PASSWORD);
        let mut server = Running::start(up.stderr(Stdio::null()))?;
        let announced: Value =
            serde_json::from_str(&server.line()?).context("what it announces")?;
        let address = announced["address"].as_str().context("no address")?;
        let address: SocketAddr = address.parse()?;
        let health = http::send(address, "GET", "/health", None, None)?;
        anyhow::ensure!(health.status == 200, "/health: {}", health.body);
        Ok((server, address))
    }

    /// Has an agent join the server at `address`, and waits until it serves.
    fn agent(
        &self,
        address: SocketAddr,
        door: SocketAddr,
        beside: SocketAddr,
        token: &str,
    ) -> anyhow::Result<Running> {
        let name = json!({"name": "beside"});
        let path = "/api/v1/nodes/invite";
        let invited = http::send(address, "POST", path, Some(token), Some(&name))?.json()?;
        let invitation = invited["token"].as_str().context("no invitation")?;
        // A name, for the resolver that is built in.
        let join = format!("https://localhost:{}", door.port());
        let program = self.read_anew()?;
        let words = ["agent", "--listen", "127.0.0.1:0", "--join", &join];
        let mut agent = self.typed_to(&program, &words);
        agent
            .args(["--model-server", &format!("http://{beside}")])
            .env("REMUDA_AGENT_TOKEN", invitation)
            .env("PATH", self.with_card()?);
        let log = self.home.join("agent.log");
        let mut agent = Running::start_logged(&mut agent, &log)?;
        let linked = until_serves(&mut agent, address, token);
        linked.with_context(|| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("the agent does not serve:\n{said}")
        })?;
        Ok(agent)
    }

    /// Returns a copy of the program that is in no page cache, as after a boot. What was just written lies there in large folios, all of
    /// which Linux 6.18 maps for a function that is called: every program then looks as large as its file.
    fn read_anew(&self) -> anyhow::Result<std::path::PathBuf> {
        let copy = self.home.join("agent-program");
        std::fs::copy(self.program, &copy)?;
        let mut of = std::ffi::OsString::from("of=");
        of.push(&copy);
        // As the manual of dd has it, for dropping the cache of a whole file.
        let mut drop_cache = Command::new("dd");
        drop_cache
            .arg(of)
            .args(["oflag=nocache", "conv=notrunc,fdatasync", "count=0"]);
        said(drop_cache.stdin(Stdio::null()))?;
        Ok(copy)
    }

    /// Returns a path of programs with an `nvidia-smi` that tells of one card: a static program cannot load the driver's library.
    fn with_card(&self) -> anyhow::Result<String> {
        let tools = self.home.join("tools");
        std::fs::create_dir_all(&tools)?;
        let smi = tools.join("nvidia-smi");
        std::fs::write(&smi, format!("#!/bin/sh\necho '{CARD}'\n"))?;
        std::fs::set_permissions(&smi, std::fs::Permissions::from_mode(0o755))?;
        let path = std::env::var("PATH").unwrap_or_default();
        Ok(format!("{}:{path}", tools.display()))
    }
}

/// Runs a command to its end and returns what it prints.
fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().context("running the program")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?}: {errors}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Asks the demo model.
fn answer(address: SocketAddr, key: Option<&str>) -> anyhow::Result<()> {
    let messages = json!([{"role": "user", "content": "What is Remuda?"}]);
    let question = json!({"model": "remuda-demo", "stream": false, "messages": messages});
    let answered = http::send(address, "POST", "/api/chat", key, Some(&question))?.json()?;
    let text = answered["message"]["content"].as_str().unwrap_or_default();
    anyhow::ensure!(!text.is_empty(), "no answer: {answered}");
    Ok(())
}

/// Waits until the node serves and has told of a card: the one that is shown, or one of this machine.
fn until_serves(agent: &mut Running, address: SocketAddr, token: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        agent.ensure_alive()?;
        let shown = http::send(address, "GET", "/api/v1/nodes/beside", Some(token), None)?;
        let node: Value = serde_json::from_str(&shown.body).unwrap_or_default();
        let card = &node["machine"]["usage"]["gpus"][0]["name"];
        if node["state"] == "ready" && card.is_string() {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{node:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until an agent rests, and returns what it holds.
fn at_rest(agent: &mut Running) -> anyhow::Result<u64> {
    let end = Instant::now() + REST;
    while Instant::now() < end {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    agent.ensure_alive()?;
    resident_kib(agent.pid())
}
