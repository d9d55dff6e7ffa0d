//! The static program as it will be used: a server that answers, and an agent beside it that joins another server, which answers through it.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use crate::bench::http;
use crate::trial::{Trial, at_rest, said};

/// What a machine's `nvidia-smi` would say.
const CARD: &str = "0, NVIDIA H100 80GB HBM3, GPU-1, 550.54.15, 81559, 4, 0, 31, 69.42, 700.00";

/// What was found.
pub(super) struct Tried {
    pub(super) version: String,
    /// From the start of the server to the answer of its demo model.
    pub(super) answered_after: Duration,
    pub(super) agent_kib: u64,
}

/// Tries the program.
pub(super) fn run(program: &Path) -> anyhow::Result<Tried> {
    let home = tempfile::tempdir()?;
    let trial = Trial {
        program,
        home: home.path(),
    };
    let version = said(&mut trial.typed(&["--version"]))?;
    is_release(&trial)?;
    let begun = Instant::now();
    let (mut beside, its_address) = trial.server("beside", "")?;
    answer(its_address, None)?;
    let answered_after = begun.elapsed();

    let server = trial.control_plane()?;
    let programs = with_card(trial.home)?;
    let mut agent = trial.agent(&server, its_address, programs.as_ref())?;
    let agent_kib = at_rest(&mut agent)?;
    answer(server.address, Some(&server.token)).context("through the agent")?;
    agent.ensure_alive()?;
    agent.stop()?;
    server.stop()?;
    beside.ensure_alive()?;
    beside.stop()?;
    Ok(Tried {
        version,
        answered_after,
        agent_kib,
    })
}

/// Looks that agents can be updated to it: version and target are read from its file.
fn is_release(trial: &Trial<'_>) -> anyhow::Result<()> {
    let (key, copy) = (trial.home.join("agents.key"), trial.home.join("remuda"));
    std::fs::copy(trial.program, &copy)?;
    said(trial.typed(&["agent-release", "keygen"]).arg(&key))?;
    let mut sign = trial.typed(&["agent-release", "sign"]);
    said(sign.arg(&copy).arg("--key").arg(&key))?;
    let signed = std::fs::read_to_string(trial.home.join("remuda.sig"))?;
    let target = format!("linux-{}", std::env::consts::ARCH);
    anyhow::ensure!(
        signed.contains(&target),
        "signed for something else: {signed}"
    );
    Ok(())
}

/// Returns a path of programs with an `nvidia-smi` that tells of one card: a static program cannot load the driver's library.
fn with_card(home: &Path) -> anyhow::Result<String> {
    let tools = home.join("tools");
    std::fs::create_dir_all(&tools)?;
    let smi = tools.join("nvidia-smi");
    std::fs::write(&smi, format!("#!/bin/sh\necho '{CARD}'\n"))?;
    std::fs::set_permissions(&smi, std::fs::Permissions::from_mode(0o755))?;
    let path = std::env::var("PATH").unwrap_or_default();
    Ok(format!("{}:{path}", tools.display()))
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
