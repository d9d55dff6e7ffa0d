//! A worker without a front door, for tests with more requests than a process has open files.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{ClusterConfig, ClusterDeps, NodeSpec, Registry};
use dialects::{Operation, read_head};
use identity::{AuthConfig, Identity, Principal};
use primitives::{Clock, SystemClock};
use scheduling::queue::Class;
use store::{Db, Sealer, StoreConfig};
use testbed::ScriptedUpstream;
use tokio_util::sync::CancellationToken;
use web::outbound::{Client, ClientConfig, Reach, Trust};

use crate::body_memory::{BodyShare, RequestBody};
use crate::config::GatewayConfig;
use crate::control::ControlPlane;
use crate::exchange::{Arrival, Exchange};
use crate::front::asked;
use crate::metrics::Metrics;
use crate::model_commands::CommandJournal;
use crate::pulse::Pulse;
use crate::recorder::recorder;
use crate::server;
use crate::shared::{Shared, Worker};
use crate::splitting::SplitCaller;
use crate::upstream::{Dialer, Pool};

/// A worker over a fleet.
pub(crate) struct Bench {
    pub(crate) worker: Arc<Worker>,
    pub(crate) metrics: Arc<Metrics>,
    stop: CancellationToken,
    _data: tempfile::TempDir,
}

impl Bench {
    /// Starts a worker over these nodes, each of which takes so many calls at once.
    pub(crate) async fn over(
        nodes: &[ScriptedUpstream],
        max_in_flight: u32,
    ) -> anyhow::Result<Self> {
        // A provider may be installed only once in a process; tests of one binary may share it.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let data = tempfile::tempdir()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let path = data.path().join("remuda.db");
        let db = Db::open(&StoreConfig::new(format!("sqlite:{}", path.display()))).await?;
        db.migrate().await?;
        let auth = AuthConfig {
            required: false,
            loopback_only: true,
            ..AuthConfig::default()
        };
        let sealer = Arc::new(Sealer::open_or_create(&data.path().join("secret.key"))?);
        let (identity, _) = Identity::open(db.clone(), sealer.clone(), clock.clone(), auth).await?;
        let outbound = Client::new(ClientConfig::new(Reach::Nodes))?;
        let deps = ClusterDeps {
            db: db.clone(),
            sealer,
            clock: clock.clone(),
            client: outbound.clone(),
        };
        let config = ClusterConfig {
            probe_interval: Duration::from_millis(100),
            ..ClusterConfig::default()
        };
        let registry = Registry::open(deps, config).await?;
        let specs = nodes.iter().map(|node| {
            let mut spec = NodeSpec::new(node.name(), node.url());
            spec.max_in_flight = Some(max_in_flight);
            spec
        });
        registry.sync_config(specs.collect()).await?;
        let stop = CancellationToken::new();
        registry.start_probes(stop.clone());
        anyhow::ensure!(
            registry.first_contact(Duration::from_secs(20)).await,
            "not all nodes were met"
        );
        let metrics = Arc::new(Metrics::new());
        let config = GatewayConfig {
            max_in_flight: usize::MAX,
            ..GatewayConfig::default()
        };
        // Records go nowhere: the buffer is small, and what does not fit is dropped.
        let runtime = tokio::runtime::Handle::current();
        let journal = CommandJournal::new(db.clone(), clock.clone(), runtime.clone());
        let (recorder, _) = recorder(1, db, clock.clone(), metrics.clone(), None, None);
        let dialer = Dialer::new(Trust::default().client_config()?, config.connect_timeout);
        let pool = Pool::new(Arc::new(dialer), clock.clone());
        let started = clock.now();
        let shared = Shared::new(
            config,
            clock,
            identity,
            registry,
            None,
            outbound,
            metrics.clone(),
            recorder,
            Arc::new(Pulse::new(started)),
            journal,
            ControlPlane::new(axum::Router::new(), runtime),
            identity::limits::Limiter::default(),
            "0.33.0",
            7,
        );
        tokio::spawn(server::follow_fleet(shared.clone(), stop.clone()));
        tokio::spawn(server::look_again(shared.clone(), stop.clone()));
        Ok(Self {
            worker: Worker::new(shared, pool, 7),
            metrics,
            stop,
            _data: data,
        })
    }

    fn anonymous(&self) -> anyhow::Result<Principal> {
        let shared = &self.worker.shared;
        let snapshot = shared.identity.snapshot();
        Ok(snapshot.authenticate(None, shared.clock.now())?)
    }

    /// Makes the exchange of a chat request that has passed the door.
    pub(crate) fn exchange(&self, model: &str, class: Class) -> anyhow::Result<Box<Exchange>> {
        let body = format!(
            r#"{{"model":"{model}","stream":false,"messages":[{{"role":"user","content":"[[testbed tokens=2]] x"}}]}}"#
        );
        let operation = Operation::OpenAiChat;
        let shared = &self.worker.shared;
        let head = read_head(operation, body.as_bytes())
            .map_err(|error| anyhow::anyhow!(error.message))?;
        let caller = SplitCaller::new(&self.anonymous()?, IpAddr::V4(Ipv4Addr::LOCALHOST));
        let table = shared.routes.load();
        let route = table
            .find(model, caller)
            .map(|found| found.route)
            .ok_or_else(|| anyhow::anyhow!("nobody has {model}"))?;
        let asked = asked(&self.worker, operation, &head, model, &route);
        let now = shared.clock.now();
        let arrival = Arrival {
            id: self.worker.request_id(now),
            operation,
            principal: self.anonymous()?,
            peer: ([127, 0, 0, 1], 1).into(),
            received_at: now,
            arrived: shared.clock.monotonic(),
            traceparent: None,
            hops: shared.instance_header.clone(),
            class,
            reservation: None,
            split: None,
        };
        let in_flight = shared
            .admit()
            .map_err(|error| anyhow::anyhow!(error.message))?;
        let share = BodyShare::new(&shared.body_rules.memory);
        let body = RequestBody::new(Bytes::from(body), share);
        Ok(Box::new(Exchange::new(
            self.worker.clone(),
            arrival,
            in_flight,
            body,
            asked,
            route,
        )))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
