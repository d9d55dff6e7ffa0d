//! PostgreSQL goes away and comes back while models are used.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use store::testing::TestStore;
use testbed::{Flavour, LinkBreaker, ScriptedUpstream, TestClient};

use crate::harness::Home;
use crate::service::{Service, ask, until};

/// Clients that ask one question after the other.
const CLIENTS: usize = 8;

/// A server whose PostgreSQL stands behind a link.
struct Outage {
    service: Service,
    link: LinkBreaker,
    _database: TestStore,
    _upstream: ScriptedUpstream,
    _home: Home,
}

impl Outage {
    async fn prepare(config: &str) -> anyhow::Result<Self> {
        let database = TestStore::postgres().await;
        let link = LinkBreaker::before(database.config().url.expose()).await?;
        let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
        let home = Home::new();
        let mut up = home.up_over(&[&upstream], config);
        let url = link.through(database.config().url.expose())?;
        up.env("REMUDA_STORE__URL", url)
            .env("REMUDA_STORE__MAX_CONNECTIONS", "4");
        Ok(Self {
            service: Service::start(up).await?,
            link,
            _database: database,
            _upstream: upstream,
            _home: home,
        })
    }
}

/// Clients at work.
struct Load {
    answered: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<anyhow::Result<Vec<String>>>>,
}

impl Load {
    fn start(client: &TestClient) -> Self {
        let (answered, enough) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let clients = (0..CLIENTS)
            .map(|number| {
                let (client, answered, enough) = (client.clone(), answered.clone(), enough.clone());
                tokio::spawn(async move {
                    let mut ids = Vec::new();
                    while !enough.load(Ordering::Relaxed) {
                        let question = format!("question {} of client {number}", ids.len());
                        ids.push(ask(&client, &question).await?);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(ids)
                })
            })
            .collect();
        Self {
            answered,
            enough,
            clients,
        }
    }

    /// Waits for so many more answers.
    async fn until_answered(&self, more: usize) -> anyhow::Result<()> {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        until("enough questions are answered", async || {
            anyhow::ensure!(
                self.clients.iter().all(|client| !client.is_finished()),
                "a question was not answered"
            );
            Ok(self.answered.load(Ordering::Relaxed) >= goal)
        })
        .await
    }

    /// Ends the load and returns the ids of all requests. Fails when one was not answered as it should.
    async fn end(self) -> anyhow::Result<HashSet<String>> {
        self.enough.store(true, Ordering::Relaxed);
        let mut ids = HashSet::new();
        for client in self.clients {
            ids.extend(client.await??);
        }
        Ok(ids)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inference_outlives_the_database_and_every_record_arrives_afterwards() -> anyhow::Result<()>
{
    let outage = Outage::prepare("").await?;
    let service = &outage.service;
    let load = Load::start(&service.client);
    load.until_answered(100).await?;

    outage.link.cut();
    let database = service.until_health("database", false).await?;
    assert_eq!(database["status"], "down", "{database}");
    load.until_answered(500).await?;
    // What needs the database says so, and answers at once.
    let refused = service.admin.get("/api/v1/inference/requests").await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    load.until_answered(100).await?;

    outage.link.restore();
    service.until_health("database", true).await?;
    load.until_answered(100).await?;
    let asked = load.end().await?;
    service
        .until("every record is in the list", async || {
            // A connection that was lost in the outage is only noticed by its next use.
            let recorded = service.recorded().await;
            Ok(recorded.is_ok_and(|recorded| recorded.len() >= asked.len()))
        })
        .await?;
    let recorded: HashSet<String> = service.recorded().await?.into_iter().collect();
    assert!(recorded == asked, "records are missing, or nobody's");
    assert_eq!(
        service
            .metric("remuda_request_records_dropped_total")
            .await?,
        0
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_buffer_records_are_dropped_and_counted() -> anyhow::Result<()> {
    let outage = Outage::prepare("[requests]\nbuffer = 100").await?;
    let service = &outage.service;
    outage.link.cut();
    service.until_health("database", false).await?;
    let load = Load::start(&service.client);
    load.until_answered(400).await?;
    let asked = load.end().await?;
    let dropped = "remuda_request_records_dropped_total";
    let lost = service.metric(dropped).await?;
    // A batch may be on its way to the database while the buffer fills again.
    assert!(lost >= asked.len() as u64 - 200, "{lost}");

    outage.link.restore();
    service
        .until("the records that were kept are in the list", async || {
            let Ok(kept) = service.recorded().await else {
                return Ok(false);
            };
            let dropped = service.metric(dropped).await?;
            Ok(kept.len() as u64 + dropped == asked.len() as u64)
        })
        .await?;
    assert_eq!(service.metric(dropped).await?, lost);
    Ok(())
}
