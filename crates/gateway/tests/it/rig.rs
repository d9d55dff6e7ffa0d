//! A data plane with a fleet of scripted upstreams, on port 0.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cluster::{ClusterConfig, ClusterDeps, NodeSpec, Registry};
use identity::{AuthConfig, Identity};
use primitives::{Clock, Secret, SystemClock};
use remuda_gateway::{ControlPlane, Gateway, GatewayConfig, GatewayDeps, Metrics};
use serde_json::json;
use store::{Db, Sealer, StoreConfig};
use testbed::{Flavour, ScriptedUpstream, TestClient, wait_until};
use tokio_util::sync::CancellationToken;
use web::outbound::{Client, ClientConfig, Reach};

/// How long a condition may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running data plane. Everything ends when it is dropped or shut down.
pub(crate) struct Rig {
    pub(crate) client: TestClient,
    pub(crate) nodes: Vec<ScriptedUpstream>,
    pub(crate) registry: Registry,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) db: Db,
    pub(crate) gateway: Gateway,
    stop: CancellationToken,
    _data: tempfile::TempDir,
}

impl Rig {
    /// Starts a data plane over one node of each flavour, named `node0`, `node1`, …
    pub(crate) async fn start(flavours: &[Flavour]) -> anyhow::Result<Self> {
        Self::start_with(flavours, |_| {}).await
    }

    /// Starts one with another configuration.
    pub(crate) async fn start_with(
        flavours: &[Flavour],
        configure: impl FnOnce(&mut GatewayConfig),
    ) -> anyhow::Result<Self> {
        let nodes = flavours
            .iter()
            .enumerate()
            .map(|(index, flavour)| {
                ScriptedUpstream::builder(*flavour)
                    .name(&format!("node{index}"))
                    .start()
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Self::over(nodes, configure).await
    }

    /// Starts one over these nodes.
    pub(crate) async fn over(
        nodes: Vec<ScriptedUpstream>,
        configure: impl FnOnce(&mut GatewayConfig),
    ) -> anyhow::Result<Self> {
        Self::narrow(nodes, None, configure).await
    }

    /// Starts one over these nodes, each of which takes so many requests at once.
    pub(crate) async fn narrow(
        nodes: Vec<ScriptedUpstream>,
        max_in_flight: Option<u32>,
        configure: impl FnOnce(&mut GatewayConfig),
    ) -> anyhow::Result<Self> {
        Self::timed(
            nodes,
            max_in_flight,
            Arc::new(SystemClock::new()),
            configure,
        )
        .await
    }

    /// Starts one that goes by this clock.
    pub(crate) async fn timed(
        nodes: Vec<ScriptedUpstream>,
        max_in_flight: Option<u32>,
        clock: Arc<dyn Clock>,
        configure: impl FnOnce(&mut GatewayConfig),
    ) -> anyhow::Result<Self> {
        // A provider may be installed only once in a process; tests of one binary may share it.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let data = tempfile::tempdir()?;
        let db = Db::open(&StoreConfig::new(format!(
            "sqlite:{}",
            data.path().join("remuda.db").display()
        )))
        .await?;
        db.migrate().await?;
        let auth = AuthConfig {
            required: false,
            loopback_only: true,
            admin_password: Some(Secret::new("correct horse battery".to_owned())),
            ..AuthConfig::default()
        };
        let sealer = Arc::new(Sealer::open_or_create(&data.path().join("secret.key"))?);
        let (identity, _) = Identity::open(db.clone(), sealer.clone(), clock.clone(), auth).await?;
        let outbound = Client::new(ClientConfig::new(Reach::Nodes))?;
        let registry = Registry::open(
            ClusterDeps {
                db: db.clone(),
                sealer,
                clock: clock.clone(),
                client: outbound.clone(),
            },
            ClusterConfig {
                probe_interval: Duration::from_millis(200),
                ..ClusterConfig::default()
            },
        )
        .await?;
        let specs = nodes
            .iter()
            .map(|n| {
                let mut spec = NodeSpec::new(n.name(), n.url());
                spec.max_in_flight = max_in_flight;
                spec
            })
            .collect();
        registry.sync_config(specs).await?;
        let stop = CancellationToken::new();
        registry.start_probes(stop.clone());
        anyhow::ensure!(
            registry.first_contact(PATIENCE).await,
            "not all nodes were met"
        );
        let metrics = Arc::new(Metrics::new());
        let mut config = GatewayConfig {
            workers: 2,
            ..GatewayConfig::default()
        };
        configure(&mut config);
        let (router, _) = remuda_gateway::routes(db.clone(), identity.clone())
            .merge(identity.routes())
            .split_for_parts();
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let gateway = Gateway::start(
            GatewayDeps {
                config,
                clock,
                identity,
                registry: registry.clone(),
                engine: None,
                trust: web::outbound::Trust::default(),
                outbound,
                db: db.clone(),
                observer: None,
                metrics: metrics.clone(),
                server_tls: None,
                control: ControlPlane::new(router, tokio::runtime::Handle::current()),
                limiter: identity::limits::Limiter::default(),
                version: "0.33.0",
                seed: 7,
            },
            listener,
        )
        .context("the data plane did not start")?;
        Ok(Self {
            client: TestClient::new(gateway.address()),
            nodes,
            registry,
            metrics,
            db,
            gateway,
            stop,
            _data: data,
        })
    }

    /// Signs the administrator in.
    pub(crate) async fn admin(&self) -> anyhow::Result<TestClient> {
        let sign_in = json!({"username": "admin", "password": "correct horse battery"});
        let session = self.client.post("/api/v1/login", &sign_in).await?.json()?;
        let token = session["token"].as_str().context("no token")?;
        self.client.with_key(token)
    }

    /// Makes a key and returns a client that uses it.
    pub(crate) async fn with_new_key(&self, body: serde_json::Value) -> anyhow::Result<TestClient> {
        let made = self.admin().await?.post("/api/v1/keys", &body).await?;
        let secret = made.json()?["secret"]
            .as_str()
            .with_context(|| made.text())?
            .to_owned();
        self.client.with_key(&secret)
    }

    /// Returns the value of a series in the metrics.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        self.metrics
            .render()
            .lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// Waits for the record of a request and returns its outcome, its node and how often it was continued.
    pub(crate) async fn record(&self, id: &str) -> anyhow::Result<(String, Option<String>, i64)> {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let mut tx = self.db.read().await?;
            let row = tx
                .fetch_optional(
                    "SELECT outcome, node_name, continued FROM requests WHERE id = $1",
                    store::params![id],
                )
                .await?;
            tx.commit().await?;
            if let Some(row) = row {
                return Ok((
                    row.get("outcome")?,
                    row.get("node_name")?,
                    row.get("continued")?,
                ));
            }
            anyhow::ensure!(
                std::time::Instant::now() < deadline,
                "request {id} was not recorded"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until no node has a request in flight any more.
    pub(crate) async fn wait_until_idle(&self) -> anyhow::Result<()> {
        wait_until("all nodes are idle", PATIENCE, || {
            self.registry
                .snapshot()
                .nodes
                .iter()
                .all(|n| n.activity.in_flight() == 0)
        })
        .await
    }

    /// Ends it in order.
    pub(crate) async fn shutdown(self) {
        self.shutdown_within(Duration::from_secs(5)).await;
    }

    /// Ends it in order; requests under way get so much time.
    pub(crate) async fn shutdown_within(self, limit: Duration) {
        self.gateway
            .shutdown(limit, &CancellationToken::new())
            .await;
        self.stop.cancel();
        self.registry.stopped().await;
    }
}
