//! A whole Remuda in this process, on a free port, with a data directory of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use remuda::Running;
use remuda::config::Config;
use serde_json::json;
use toml::{Table, Value};

use crate::{Flavour, ScriptedUpstream, TestClient};

const ADMINISTRATOR: &str = "admin";
const PASSWORD: &str = "password of a test's administrator";

/// What every system of a test has unless its own configuration says otherwise: nothing outside this process, probes that
/// keep nobody waiting.
const DEFAULTS: &str = r#"
[server]
listen = "127.0.0.1:0"
workers = 2
drain_seconds = 5
[engine]
demo = false
[discovery]
ollama = false
[probes]
interval = "50ms"
timeout = "2s"
"#;

/// A running Remuda. Dropping it cuts what is under way; [`System::stop`] lets it finish.
pub struct System {
    running: Running,
    config: Table,
    data: tempfile::TempDir,
}

/// What a system starts with.
pub struct SystemBuilder {
    config: String,
    nodes: Vec<Table>,
    store_url: Option<String>,
}

impl SystemBuilder {
    /// Sets the configuration, TOML as in the file. What it leaves out has defaults fit for tests.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.config);
        self
    }

    /// Adds an upstream as a node of its name.
    #[must_use]
    pub fn node(self, upstream: &ScriptedUpstream) -> Self {
        let kind = if upstream.flavour() == Flavour::Ollama {
            "ollama"
        } else {
            "openai"
        };
        self.node_at(upstream.name(), &upstream.url(), kind)
    }

    /// Adds a node by name, address and kind, for one that stands behind a link.
    #[must_use]
    pub fn node_at(mut self, name: &str, url: &str, kind: &str) -> Self {
        let fields = [("name", name), ("url", url), ("kind", kind)];
        let node = fields.map(|(key, value)| (key.to_owned(), Value::String(value.to_owned())));
        self.nodes.push(node.into_iter().collect());
        self
    }

    /// Uses a database other than SQLite in the data directory.
    #[must_use]
    pub fn database(mut self, url: &str) -> Self {
        self.store_url = Some(url.to_owned());
        self
    }

    /// Starts it on the caller's runtime. It serves when this returns, but may not have met its nodes yet.
    ///
    /// # Errors
    /// Fails with the one line that a person would see.
    pub async fn start(self) -> anyhow::Result<System> {
        let data = tempfile::tempdir()?;
        let mut config: Table = self.config.parse().context("the test's configuration")?;
        merge(&mut config, DEFAULTS.parse()?);
        let directory = data
            .path()
            .to_str()
            .context("a temporary directory that is not UTF-8")?;
        let mut ours = Table::new();
        ours.insert("server".to_owned(), section("data_dir", directory));
        ours.insert("auth".to_owned(), section("admin_password", PASSWORD));
        if let Some(url) = &self.store_url {
            ours.insert("store".to_owned(), section("url", url));
        }
        merge(&mut config, ours);
        if !self.nodes.is_empty() {
            let nodes = config
                .entry("nodes")
                .or_insert_with(|| Value::Array(Vec::new()));
            let nodes = nodes.as_array_mut().context("nodes must be an array")?;
            nodes.extend(self.nodes.into_iter().map(Value::Table));
        }
        let running = start(&config).await?;
        Ok(System {
            running,
            config,
            data,
        })
    }
}

impl System {
    /// Returns a builder.
    pub fn builder() -> SystemBuilder {
        SystemBuilder {
            config: String::new(),
            nodes: Vec::new(),
            store_url: None,
        }
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.addr
    }

    /// Returns what the start gave.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Returns its data directory.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Returns a client without a key.
    pub fn client(&self) -> TestClient {
        TestClient::new(self.address())
    }

    /// Returns a client signed in as the administrator.
    ///
    /// # Errors
    /// Shows the answer when signing in fails.
    pub async fn admin(&self) -> anyhow::Result<TestClient> {
        self.client().with_key(&self.admin_token().await?)
    }

    /// Signs the administrator in and returns the session's token.
    ///
    /// # Errors
    /// Shows the answer when signing in fails.
    pub async fn admin_token(&self) -> anyhow::Result<String> {
        let sign_in = json!({"username": ADMINISTRATOR, "password": PASSWORD});
        let reply = self.client().post("/api/v1/login", &sign_in).await?;
        let session = reply.json()?;
        let token = session["token"].as_str().map(str::to_owned);
        token.with_context(|| format!("signing in: {}", reply.text()))
    }

    /// Waits until all these models are listed, 20 s at most.
    ///
    /// # Errors
    /// Shows the list as it is when the time is up.
    pub async fn until_models(&self, models: &[&str]) -> anyhow::Result<()> {
        let admin = self.admin().await?;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let reply = admin.get("/v1/models").await?;
            let list = reply.json()?;
            let listed = |model: &str| {
                let mut ids = list["data"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| entry["id"].as_str());
                ids.any(|id| id.strip_suffix(":latest").unwrap_or(id) == model)
            };
            if models
                .iter()
                .all(|model| listed(model.strip_suffix(":latest").unwrap_or(model)))
            {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "{models:?} are not all listed: {}",
                reply.text()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops it as SIGTERM does.
    pub async fn stop(self) {
        self.running.shutdown().await;
    }

    /// Stops it and starts it again with the same configuration and data. The port may be another.
    ///
    /// # Errors
    /// As [`SystemBuilder::start`].
    pub async fn restart(self) -> anyhow::Result<Self> {
        self.running.shutdown().await;
        let running = start(&self.config).await?;
        Ok(Self {
            running,
            config: self.config,
            data: self.data,
        })
    }
}

async fn start(config: &Table) -> anyhow::Result<Running> {
    let config = Config::from_toml(&toml::to_string(config)?)?;
    Ok(Box::pin(remuda::start(config)).await?)
}

fn section(key: &str, value: &str) -> Value {
    Value::Table(
        [(key.to_owned(), Value::String(value.to_owned()))]
            .into_iter()
            .collect(),
    )
}

/// Adds what `config` leaves out, section by section.
fn merge(config: &mut Table, defaults: Table) {
    for (key, default) in defaults {
        match (config.get_mut(&key), default) {
            (Some(Value::Table(section)), Value::Table(default)) => merge(section, default),
            (Some(_), _) => {}
            (None, default) => {
                config.insert(key, default);
            }
        }
    }
}
