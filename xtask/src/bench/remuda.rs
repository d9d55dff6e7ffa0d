//! Remuda as it is measured: release build, SQLite, keys required, request records and log lines on, no model loaded.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use super::http;
use super::process::{GATEWAY_CORE, Running, pinned};

const PASSWORD: &str = "a password for one benchmark";
/// The administrator and their password.
pub(super) const ADMINISTRATOR: (&str, &str) = ("admin", PASSWORD);
/// Time it gets to start, find its node and learn the node's models.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A running Remuda with one node.
pub(super) struct Remuda {
    pub(super) address: SocketAddr,
    /// An API key that may use every model.
    pub(super) key: String,
    running: Running,
}

impl Remuda {
    /// Starts it in front of an upstream, with a fresh data directory.
    pub(super) fn start(
        program: &Path,
        directory: &Path,
        upstream: SocketAddr,
    ) -> anyhow::Result<Self> {
        Self::start_with(program, directory, upstream, "")
    }

    /// Starts it with more sections in its configuration.
    pub(super) fn start_with(
        program: &Path,
        directory: &Path,
        upstream: SocketAddr,
        sections: &str,
    ) -> anyhow::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let home = directory.join("remuda");
        fs::create_dir_all(&home)?;
        let settings = home.join("remuda.toml");
        let data = home.join("data");
        fs::write(
            &settings,
            format!(
                "[server]\nlisten = \"{address}\"\ndata_dir = \"{}\"\n[auth]\nrequired = true\n[engine]\ndemo = false\n\
                 [discovery]\nollama = false\n[[nodes]]\nname = \"bench\"\nurl = \"http://{upstream}\"\nkind = \"openai\"\n{sections}",
                data.display()
            ),
        )?;
        let mut command = pinned(GATEWAY_CORE, program);
        command
            .arg("up")
            .arg("--config")
            .arg(&settings)
            .env("REMUDA_ADMIN_PASSWORD", PASSWORD);
        let log = home.join("output.log");
        let mut running = Running::start_logged(&mut command, &log)?;
        let key = until_ready(&mut running, address).with_context(|| {
            format!(
                "Remuda does not serve:\n{}",
                fs::read_to_string(&log).unwrap_or_default()
            )
        })?;
        Ok(Self {
            address,
            key,
            running,
        })
    }

    /// Returns its process.
    pub(super) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Returns the metrics whose names tell of dropped request records.
    pub(super) fn dropped_records(&self) -> anyhow::Result<Vec<String>> {
        let metrics = http::send(self.address, "GET", "/metrics", Some(&self.key), None)?;
        anyhow::ensure!(
            metrics.status == 200,
            "/metrics: status {}: {}",
            metrics.status,
            metrics.body
        );
        let told = |line: &&str| {
            !line.starts_with('#') && line.contains("record") && line.contains("dropped")
        };
        Ok(metrics
            .body
            .lines()
            .filter(told)
            .map(str::to_owned)
            .collect())
    }
}

/// Waits until the node's model can be used, and returns a key for it.
fn until_ready(running: &mut Running, address: SocketAddr) -> anyhow::Result<String> {
    let deadline = Instant::now() + START_LIMIT;
    let key = retry(running, deadline, || {
        let sign_in = json!({"username": "admin", "password": PASSWORD});
        let session = http::send(address, "POST", "/api/v1/login", None, Some(&sign_in))?.json()?;
        let token = session["token"].as_str().context("no token")?;
        // An administrator's key: it may also read the metrics.
        let wanted = json!({"name": "bench", "role": "admin"});
        let key =
            http::send(address, "POST", "/api/v1/keys", Some(token), Some(&wanted))?.json()?;
        Ok(key["secret"].as_str().context("no secret")?.to_owned())
    })?;
    retry(running, deadline, || {
        let models = http::send(address, "GET", "/v1/models", Some(&key), None)?
            .json()?
            .to_string();
        anyhow::ensure!(
            models.contains("bench-model"),
            "the node's model is not listed: {models}"
        );
        Ok(())
    })?;
    Ok(key)
}

fn retry<T>(
    running: &mut Running,
    deadline: Instant,
    attempt: impl Fn() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    loop {
        running.ensure_alive()?;
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
