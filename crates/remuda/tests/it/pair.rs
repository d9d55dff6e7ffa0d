//! Two processes on one database, and one Redis where a test wants it.

use serde_json::Value;
use store::testing::TestStore;
use testbed::{Flavour, OwnServer, ScriptedUpstream, TestClient};

use crate::harness::Home;
use crate::service::Service;

/// Seals what both store: they have to have the same.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Two servers that serve together.
pub(crate) struct Pair {
    pub(crate) here: Service,
    pub(crate) there: Service,
    _homes: [Home; 2],
    _upstream: ScriptedUpstream,
    _database: TestStore,
}

impl Pair {
    /// Starts both with the same configuration.
    pub(crate) async fn start(database: TestStore, config: &str) -> anyhow::Result<Self> {
        let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
        let homes = [Home::new(), Home::new()];
        let up = |home: &Home| {
            let mut up = home.up_over(&[&upstream], config);
            let config = database.config();
            up.env("REMUDA_STORE__URL", config.url.expose())
                .env("REMUDA_STORE__ENCRYPTION_KEY", KEY)
                .env("REMUDA_STORE__MAX_CONNECTIONS", "3");
            if let Some(direct) = &config.direct_url {
                up.env("REMUDA_STORE__DIRECT_URL", direct.expose());
            }
            up
        };
        let (here, there) = (up(&homes[0]), up(&homes[1]));
        Ok(Self {
            here: Service::start(here).await?,
            there: Service::start(there).await?,
            _homes: homes,
            _upstream: upstream,
            _database: database,
        })
    }

    /// As [`start`](Self::start), sharing a Redis. A process gets longer to answer than it would elsewhere: machines that test are slow.
    pub(crate) async fn sharing(
        database: TestStore,
        redis: &OwnServer,
        config: &str,
    ) -> anyhow::Result<Self> {
        let url = redis.url();
        let config = format!("{config}\n[redis]\nurl = \"{url}\"\ntimeout = \"1s\"\n");
        Self::start(database, &config).await
    }
}

/// Makes something, and returns it.
pub(crate) async fn created(admin: &TestClient, path: &str, body: Value) -> anyhow::Result<Value> {
    let reply = admin.post(path, &body).await?;
    anyhow::ensure!(reply.status == 201, "{}", reply.text());
    reply.json()
}
