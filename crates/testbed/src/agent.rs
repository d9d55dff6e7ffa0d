//! An agent in this process, as `remuda agent` runs it.

use std::sync::Arc;
use std::time::Duration;

use agent::{Agent, AgentConfig, AgentError};
use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::System;

/// A running agent. Dropping it kills it without a word, as losing the machine would.
pub struct RunningAgent {
    config: AgentConfig,
    page: Option<std::net::SocketAddr>,
    share: Option<std::net::SocketAddr>,
    stop: CancellationToken,
    data: Arc<tempfile::TempDir>,
}

impl RunningAgent {
    /// Invites a machine under `name`, joins at `door` (`host:port`) and starts beside the model server at `server`.
    ///
    /// # Errors
    /// Fails when any of it does.
    pub async fn join(
        system: &System,
        name: &str,
        door: &str,
        server: &str,
    ) -> anyhow::Result<Self> {
        Self::join_as(system, name, door, server, |_| {}).await
    }

    /// The same for an agent that differs.
    ///
    /// # Errors
    /// Fails when any of it does.
    pub async fn join_as(
        system: &System,
        name: &str,
        door: &str,
        server: &str,
        change: impl FnOnce(&mut AgentConfig),
    ) -> anyhow::Result<Self> {
        let token = system.invite(name).await?;
        let data = Arc::new(tempfile::tempdir()?);
        let mut config = AgentConfig::new(data.path().to_owned(), server.parse()?);
        config.listen = Some(([127, 0, 0, 1], 0).into());
        change(&mut config);
        agent::join(&config, door.parse()?, token.parse()?).await?;
        Self::start(config, data).await
    }

    /// Tries to join with a token, without starting.
    ///
    /// # Errors
    /// As a person would see it.
    pub async fn try_join(door: &str, token: &str) -> Result<(), AgentError> {
        let refused = |error: std::io::Error| AgentError::Refused(error.to_string());
        let data = tempfile::tempdir().map_err(refused)?;
        let server = "http://127.0.0.1:1".parse();
        let server = server.map_err(|_| AgentError::Refused("no address".to_owned()))?;
        let config = AgentConfig::new(data.path().to_owned(), server);
        let token = token
            .parse()
            .map_err(|error: agent_proto::InvitationError| {
                AgentError::Refused(error.to_string())
            })?;
        agent::join(&config, door.parse()?, token).await.map(drop)
    }

    async fn start(config: AgentConfig, data: Arc<tempfile::TempDir>) -> anyhow::Result<Self> {
        let agent = Agent::open(config.clone()).await?;
        let (page, share) = (agent.page_address(), agent.share_address());
        let stop = CancellationToken::new();
        tokio::spawn(agent.run(stop.clone()));
        Ok(Self {
            config,
            page,
            share,
            stop,
            data,
        })
    }

    /// Kills it and starts it again, changed.
    ///
    /// # Errors
    /// Fails when it does not start.
    pub async fn restart(self, change: impl FnOnce(&mut AgentConfig)) -> anyhow::Result<Self> {
        let mut config = self.config.clone();
        let data = Arc::clone(&self.data);
        drop(self);
        change(&mut config);
        Self::start(config, data).await
    }

    /// Returns where it shares files.
    ///
    /// # Errors
    /// Fails when it does not.
    pub fn share(&self) -> anyhow::Result<std::net::SocketAddr> {
        self.share.context("it shares no files")
    }

    /// Returns where its health page is.
    ///
    /// # Errors
    /// Fails when it has none.
    pub fn page(&self) -> anyhow::Result<std::net::SocketAddr> {
        self.page.context("no health page")
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl System {
    /// Returns where agents dial, as `host:port`.
    ///
    /// # Errors
    /// Fails when agents are not expected.
    pub fn door(&self) -> anyhow::Result<String> {
        let address = self
            .running()
            .agents_addr
            .context("agents are not expected")?;
        Ok(address.to_string())
    }

    /// Invites a machine and returns the token.
    ///
    /// # Errors
    /// Shows the answer when it is no invitation.
    pub async fn invite(&self, name: &str) -> anyhow::Result<String> {
        let admin = self.admin().await?;
        let body = serde_json::json!({"name": name});
        let reply = admin.post("/api/v1/nodes/invite", &body).await?;
        let token = reply.json()?["token"].as_str().map(str::to_owned);
        token.with_context(|| format!("inviting: {}", reply.text()))
    }

    /// Waits until the administrator sees a node as `fits` wants it, 20 s at most.
    ///
    /// # Errors
    /// Shows the node as it is when the time is up.
    pub async fn until_node(
        &self,
        name: &str,
        what: &str,
        fits: impl Fn(&serde_json::Value) -> bool,
    ) -> anyhow::Result<serde_json::Value> {
        let admin = self.admin().await?;
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let node = admin.get(&format!("/api/v1/nodes/{name}")).await?.json()?;
            if fits(&node) {
                return Ok(node);
            }
            anyhow::ensure!(
                std::time::Instant::now() < deadline,
                "waited in vain until {what}: {node:#}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
