//! A server, its nodes, and the line to the walk that asks to have them stopped, killed and revived.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use testbed::ScriptedUpstream;

/// The administrator's password in every walk.
const PASSWORD: &str = "correct horse battery";

/// What a sign-in provider and the server share.
pub(crate) const PROVIDER_SECRET: &str = "the provider's and ours";

/// Everything around the browser.
pub(crate) struct Stage {
    home: TempDir,
    url: String,
    upstreams: Vec<ScriptedUpstream>,
    server: Option<Child>,
    setup_token: Option<String>,
    administrator: bool,
}

impl Stage {
    /// Starts a server over these upstreams as nodes, with `config` added to its configuration.
    pub(crate) fn new(
        upstreams: Vec<ScriptedUpstream>,
        config: &str,
        administrator: bool,
    ) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        // The port stays the same over a restart.
        let address = testbed::free_address()?;
        let mut text = format!(
            "[server]\nlisten = \"{address}\"\ndata_dir = \"{}\"\n[discovery]\nollama = false\n[engine]\ndemo = false\n{config}\n",
            home.path().join("data").display()
        );
        for upstream in &upstreams {
            let (name, url) = (upstream.name(), upstream.url());
            writeln!(text, "[[nodes]]\nname = \"{name}\"\nurl = \"{url}\"")?;
        }
        std::fs::write(home.path().join("remuda.toml"), text)?;
        let mut stage = Self {
            home,
            url: format!("http://{address}"),
            upstreams,
            server: None,
            setup_token: None,
            administrator,
        };
        stage.start()?;
        Ok(stage)
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let mut up = Command::new(env!("CARGO_BIN_EXE_remuda"));
        up.args(["up", "--json", "--config"])
            .arg(self.home.path().join("remuda.toml"))
            .env_clear()
            .env("HOME", self.home.path())
            .env("REMUDA_SERVER__PUBLIC_URL", &self.url)
            .env("PROVIDER_SECRET", PROVIDER_SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if self.administrator {
            up.env("REMUDA_ADMIN_PASSWORD", PASSWORD);
        }
        let mut child = up.spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("its output")?;
        self.server = Some(child);
        BufReader::new(output).read_line(&mut line)?;
        let said: Value =
            serde_json::from_str(&line).with_context(|| format!("not ready: {line:?}"))?;
        self.setup_token = said["setup_token"].as_str().map(str::to_owned);
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let mut server = self.server.take().context("the server does not run")?;
        let stopped = Command::new("kill").arg(server.id().to_string()).status()?;
        ensure!(stopped.success(), "kill: {stopped}");
        server.wait()?;
        Ok(())
    }

    /// Does what a walk asks for.
    fn perform(&mut self, order: &str) -> anyhow::Result<()> {
        let (verb, name) = order.split_once(' ').unwrap_or((order, ""));
        let node = self.upstreams.iter().find(|node| node.name() == name);
        match (verb, node) {
            ("stop", _) => self.stop(),
            ("start", _) => self.start(),
            ("kill", Some(node)) => {
                node.kill();
                Ok(())
            }
            ("revive", Some(node)) => node.restart(),
            _ => bail!("{order:?} is not understood"),
        }
    }

    /// Has a browser walk, and fails with what the walk said when it did not come to its end.
    pub(crate) fn walk(&mut self, name: &str, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let required = |variable: &str| -> anyhow::Result<PathBuf> {
            let value = std::env::var_os(variable);
            value.map(PathBuf::from).with_context(|| {
                format!("{variable} is not set: run `cargo xtask test`, which sets up a browser and its driver")
            })
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/ui/walks")
            .join(name);
        let mut walker = Command::new("node")
            .arg(script)
            .env("TEST_BROWSER", required("TEST_BROWSER")?)
            .env("TEST_UI_PACKAGES", required("TEST_UI_PACKAGES")?)
            .env("REMUDA_URL", &self.url)
            .env(
                "REMUDA_SETUP_TOKEN",
                self.setup_token.as_deref().unwrap_or_default(),
            )
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("running node")?;
        let mut orders = walker.stdin.take().context("its input")?;
        let said = BufReader::new(walker.stdout.take().context("its output")?);
        let mut told = Vec::new();
        for line in said.lines() {
            let line = line?;
            if let Some(order) = line.strip_prefix("do ") {
                self.perform(order)?;
                writeln!(orders, "done")?;
            }
            told.push(line);
        }
        let status = walker.wait()?;
        let told = told.join("\n");
        ensure!(
            status.success(),
            "{name}: {status}; it came so far:\n{told}"
        );
        std::io::stderr().write_all(format!("{name}\n{told}\n").as_bytes())?;
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            drop(server.kill());
            drop(server.wait());
        }
    }
}
