//! The program as it will be used: servers with fresh data, and an agent that joins one of them, with nothing of the machine's settings.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::bench::http;
use crate::bench::process::{Running, resident_kib};
use crate::interrupt;

/// What an agent may hold at rest.
pub(crate) const MOST_AGENT_MIB: u64 = 30;
/// The name of the agent's node.
const NODE: &str = "beside";
const PASSWORD: &str = "a password for one trial";
const LIMIT: Duration = Duration::from_mins(1);
/// A process is at rest when it has had next to nothing to do for five seconds.
const REST: Duration = Duration::from_secs(20);

/// The program in a folder of its own.
pub(crate) struct Trial<'a> {
    pub(crate) program: &'a Path,
    pub(crate) home: &'a Path,
}

/// A server that listens for agents, and its administrator's session.
pub(crate) struct ControlPlane {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    door: SocketAddr,
    running: Running,
}

impl Trial<'_> {
    /// Returns a command of the program.
    pub(crate) fn typed(&self, words: &[&str]) -> Command {
        self.typed_to(self.program, words)
    }

    fn typed_to(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(words)
            .env_clear()
            .env("HOME", self.home)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            // Where a driver's library lies.
            .envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)))
            .stdin(Stdio::null());
        command
    }

    /// Starts a server with fresh data.
    pub(crate) fn server(&self, name: &str, config: &str) -> anyhow::Result<(Running, SocketAddr)> {
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

    /// Starts a server that listens for agents and has no model of its own.
    pub(crate) fn control_plane(&self) -> anyhow::Result<ControlPlane> {
        let door = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = format!("[agents]\nlisten = \"{door}\"\n[engine]\ndemo = false\n");
        let (running, address) = self.server("server", &config)?;
        let sign_in = json!({"username": "admin", "password": PASSWORD});
        let session = http::send(address, "POST", "/api/v1/login", None, Some(&sign_in))?.json()?;
        let token = session["token"].as_str().context("no token")?.to_owned();
        Ok(ControlPlane {
            address,
            token,
            door,
            running,
        })
    }

    /// Has an agent beside a model server join, with these programs at hand, and waits until it serves and has told of a GPU.
    pub(crate) fn agent(
        &self,
        server: &ControlPlane,
        beside: SocketAddr,
        programs: &OsStr,
    ) -> anyhow::Result<Running> {
        let name = json!({"name": NODE});
        let invited = server.send("POST", "/api/v1/nodes/invite", Some(&name))?;
        let invitation = invited["token"].as_str().context("no invitation")?;
        // A name, for the resolver that is built in.
        let join = format!("https://localhost:{}", server.door.port());
        let program = self.read_anew()?;
        let words = ["agent", "--listen", "127.0.0.1:0", "--join", &join];
        let mut agent = self.typed_to(&program, &words);
        agent
            .args(["--model-server", &format!("http://{beside}")])
            .env("REMUDA_AGENT_TOKEN", invitation)
            .env("PATH", programs);
        let log = self.home.join("agent.log");
        let mut agent = Running::start_logged(&mut agent, &log)?;
        until_serves(&mut agent, server).with_context(|| {
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
}

impl ControlPlane {
    /// Sends a request of the administrator's.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        http::send(self.address, method, path, Some(&self.token), body)?.json()
    }

    /// Returns what it knows of the agent's node.
    pub(crate) fn node(&self) -> anyhow::Result<Value> {
        self.send("GET", &format!("/api/v1/nodes/{NODE}"), None)
    }

    /// Ends it.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.running.ensure_alive()?;
        self.running.stop()
    }
}

/// Runs a command to its end and returns what it prints.
pub(crate) fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().context("running the program")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?}: {errors}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn until_serves(agent: &mut Running, server: &ControlPlane) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        agent.ensure_alive()?;
        // It is listed from the moment that it has joined.
        let node = server.node();
        if let Ok(node) = &node
            && node["state"] == "ready"
            && node["machine"]["usage"]["gpus"][0]["name"].is_string()
        {
            return Ok(());
        }
        if Instant::now() >= deadline {
            anyhow::bail!("its node: {:#}", node?);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until an agent rests, and returns what it holds, in KiB.
pub(crate) fn at_rest(agent: &mut Running) -> anyhow::Result<u64> {
    let end = Instant::now() + REST;
    while Instant::now() < end {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    agent.ensure_alive()?;
    resident_kib(agent.pid())
}
