//! The whole of it: the binary before PostgreSQL, PgBouncer and Redis of a test's own.

use std::process::Command;

use testbed::{Flavour, OwnServer, ScriptedUpstream};

use crate::harness::Home;
use crate::service::Service;

/// A server with everything that it can have behind it.
pub(crate) struct Stack {
    pub(crate) service: Service,
    pub(crate) redis: OwnServer,
    pub(crate) pgbouncer: OwnServer,
    pub(crate) postgres: OwnServer,
    pub(crate) upstream: ScriptedUpstream,
    pub(crate) home: Home,
}

impl Stack {
    /// Starts everything, the server with this configuration.
    pub(crate) async fn start(config: &str) -> anyhow::Result<Self> {
        let postgres = OwnServer::postgres()?;
        let pgbouncer = OwnServer::pgbouncer(&postgres)?;
        let redis = OwnServer::redis()?;
        let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
        let home = Home::new();
        let config = format!("{config}\n[redis]\nurl = \"{}\"\n", redis.url());
        let mut up: Command = home.up_over(&[&upstream], &config);
        up.env("REMUDA_STORE__URL", pgbouncer.url())
            .env("REMUDA_STORE__DIRECT_URL", postgres.url())
            .env("REMUDA_STORE__MAX_CONNECTIONS", "8");
        Ok(Self {
            service: Service::start(up).await?,
            redis,
            pgbouncer,
            postgres,
            upstream,
            home,
        })
    }
}
