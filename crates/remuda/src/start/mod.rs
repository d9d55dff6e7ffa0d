//! Starting every part in its order, and stopping them in the reverse one.
//!
//! What can be refused is looked at before anything is written: configuration, address, data directory, lock, database.

mod agent_updates;
mod agents;
mod answer_lines;
pub(crate) mod banner;
pub(crate) mod bus;
mod control;
mod data_dir;
pub(crate) mod database;
mod database_health;
mod discovery;
mod embedded;
mod error;
mod fleet;
mod gateway_config;
mod health;
mod inventory;
mod jobs;
mod kept_answers;
pub(crate) mod listener;
pub(crate) mod open_files;
pub(crate) mod opened;
mod pages;
mod personal;
mod placement;
mod realtime;
mod reload;
mod rollouts;
mod running;
mod settings;
mod tasks;
pub(crate) mod tls;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use cluster::{ClusterConfig, ClusterDeps, NodeSource, NodeSpec, Registry};
use engine::{Engine, LoadOutcome, LoadReport};
use gateway::{ControlPlane, Gateway, GatewayDeps, Metrics};
use identity::{AuthConfig, Identity, OidcConfig, SetupState};
use primitives::{Clock, Secret, SystemClock};
use store::{Db, Sealer};
use system::{System, SystemDeps};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use web::outbound::{Client, ClientConfig, Reach, Trust};
use web::tls::ServerTls;

use crate::config::{Config, NodeSection, OidcSection, Origins};
use crate::rest;

use agents::AgentDoor;
pub(crate) use banner::Invitation;
pub use banner::{Found, FoundModel, FoundNode, RefusedModel};
pub(crate) use data_dir::{DataDir, Holder};
pub(crate) use embedded::engine_config;
pub use error::StartError;
pub(crate) use reload::Standing;
pub use running::Running;
use tasks::Tasks;

/// The version of the Ollama API that the gateway speaks: clients refuse servers that look too old.
const OLLAMA_API_VERSION: &str = "0.33.0";

/// Starts everything that `config` describes on the caller's runtime, and returns when it serves.
///
/// # Errors
/// Each error is one line that says what to do; nothing has been damaged, and the data directory is free again.
pub async fn start(config: Config) -> Result<Running, StartError> {
    config.check(&Origins::default())?;
    // Another part of the process may have chosen a provider already; any will do.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let data_path = config
        .server
        .data_dir
        .clone()
        .ok_or(crate::config::ConfigError::NoHome)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let server_tls = tls::open(&config.server, &*clock)?;
    let listener = listener::bind(config.server.listen)?;
    let addr = address_of(&listener)?;
    let agents = AgentDoor::bind(&config.agents)?;
    let data_dir = DataDir::acquire(&data_path)?;
    let db = database::open(&config.store, data_dir.path()).await?;

    let sealer = Arc::new(database::sealer(&config.store, data_dir.path())?);
    let (engine, reports) = start_engine(&config, &data_dir, &clock).await?;
    let (trust, outbound) = open_outbound(&config)?;
    let (identity, setup) = open_identity(&config, &db, &sealer, &clock, &outbound).await?;
    let registry = open_registry(&config, &agents, &db, &sealer, &clock, &outbound).await?;
    embedded::attach(&registry, &engine, clock.now());

    let (stop, tasks) = (CancellationToken::new(), Tasks::default());
    let bus = bus::open(&config, &clock, &tasks, &stop).await?;
    tasks.spawn("identities", identity.clone().reconcile(stop.clone()));
    let loading = embedded::follow_loading(registry.clone(), stop.clone());
    tasks.spawn("embedded", loading);
    registry.start_probes(stop.clone());
    let agents_addr = agents.open(&registry, &stop).await?;
    discovery::adopt_local_ollama(&config.discovery, addr, &registry, &tasks, &stop).await;

    let system = open_system(&config, &db, &sealer, &clock, &identity, &registry).await?;
    tasks.spawn("system", system.clone().reconcile(stop.clone()));
    let certificate_asked = follow_certificate(server_tls.as_ref(), &clock, &tasks, &stop);
    let metrics = Arc::new(Metrics::new());
    let hub = realtime::open(&config, &identity, &registry, &clock, &tasks, &stop);
    let jobs = jobs::open(&config, &db, sealer, &clock, &identity, &hub);
    let placement = placement::open(&config, &db, &clock, &identity, &registry, &jobs);
    tasks.spawn("placement", placement.clone().keep(stop.clone()));
    let domains = (&identity, &registry, &jobs);
    let rollouts = rollouts::open(&config, &db, &clock, domains, (&tasks, &stop)).await?;
    let inventory = inventory::open(&config, &db, &clock, &identity, &tasks, &stop);
    let fleet = fleet::open(&config, &db, &clock, &identity, &registry, &jobs);
    tasks.spawn("fleet", fleet.clone().keep(stop.clone()));
    personal::join(&identity, &system, &jobs, (&db, &clock));
    let control = control::router(control::Parts {
        db: db.clone(),
        identity: identity.clone(),
        registry: registry.clone(),
        system: system.clone(),
        hub: hub.clone(),
        jobs: jobs.clone(),
        fleet,
        placement: placement.clone(),
        rollouts: rollouts.clone(),
        agent_updates: agent_updates::open(&db, &clock, domains, (&tasks, &stop)),
        inventory: inventory.clone(),
        metrics: Arc::clone(&metrics),
        bus: bus.clone(),
        cache: kept_answers::open(&config, &bus, &tasks, &stop),
        server_tls: server_tls.clone(),
        clock: Arc::clone(&clock),
    });
    let found = found(&config, &data_dir, &setup, &engine, &reports, &registry);
    let gateway = Gateway::start(
        GatewayDeps {
            config: gateway_config::gateway_config(&config),
            clock: Arc::clone(&clock),
            identity: identity.clone(),
            registry: registry.clone(),
            engine: Some(engine),
            trust,
            outbound,
            db: db.clone(),
            observer: Some(rollouts::observer(&rollouts, placement, &hub)),
            metrics: Arc::clone(&metrics),
            server_tls: server_tls.clone(),
            control: ControlPlane::new(control, tokio::runtime::Handle::current())
                .with_direct(Arc::new(inventory::Desks(inventory))),
            limiter: bus::limiter(&bus),
            version: OLLAMA_API_VERSION,
            seed: RandomState::new().build_hasher().finish(),
        },
        listener,
    )
    .map_err(|error| StartError::broken_part("gateway", &error))?;
    let gateway = Arc::new(gateway);
    let sampler = realtime::Sampler {
        hub: hub.clone(),
        identity: identity.clone(),
        registry: registry.clone(),
        figures: gateway.figures(),
        clock,
    };
    realtime::tell_figures(sampler, &tasks, &stop);
    let working = stop.child_token();
    let jobs = jobs::start(jobs, gateway.inside(), &tasks, &working);
    let settings = follow_settings(&system, identity, &gateway, &stop);
    tasks.spawn("memory", rest::give_memory_back_at_rest(stop.clone()));
    tracing::info!(address = %addr, "ready");
    Ok(Running {
        addr,
        agents_addr,
        url: base_url(addr, server_tls.as_ref()),
        setup_token: token_of(setup),
        auth_required: config.auth_required(),
        found,
        drain: std::time::Duration::from_secs(config.server.drain_seconds),
        gateway,
        metrics,
        certificate_asked,
        hub,
        jobs: (jobs, working),
        settings,
        registry,
        rollouts,
        tasks,
        stop,
        db,
        _data_dir: data_dir,
    })
}

fn address_of(listener: &std::net::TcpListener) -> Result<SocketAddr, StartError> {
    let address = listener.local_addr();
    address.map_err(|error| StartError::broken_part("listener", &error))
}

/// Returns the set-up token, when one was issued just now.
fn token_of(setup: SetupState) -> Option<Secret<String>> {
    match setup {
        SetupState::TokenIssued(token) => Some(token),
        SetupState::Done | SetupState::TokenPending => None,
    }
}

/// Returns where this machine reaches the listener.
fn base_url(addr: SocketAddr, server_tls: Option<&Arc<ServerTls>>) -> String {
    let certificate = server_tls.map(|tls| tls.certificate());
    listener::base_url(addr, certificate.as_deref())
}

/// Has the certificate read anew when its files change, or when the returned bell rings.
fn follow_certificate(
    server_tls: Option<&Arc<ServerTls>>,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Arc<Notify> {
    let asked = Arc::<Notify>::default();
    if let Some(tls) = server_tls {
        let (tls, clock) = (Arc::clone(tls), Arc::clone(clock));
        let following = tls::follow(tls, clock, Arc::clone(&asked), stop.clone());
        tasks.spawn("certificate", following);
    }
    asked
}

/// Applies the settings as they are, and then as they change.
fn follow_settings(
    system: &System,
    identity: Identity,
    gateway: &Arc<Gateway>,
    stop: &CancellationToken,
) -> (JoinHandle<()>, CancellationToken) {
    let following = stop.child_token();
    let mut changes = system.settings();
    let now = changes.borrow_and_update().clone();
    settings::apply(&now, &identity, gateway);
    let gateway = Arc::clone(gateway);
    let settings = settings::follow(changes, identity, gateway, following.clone());
    (tokio::spawn(settings), following)
}

/// Makes the client that calls nodes and providers, and says whom it trusts.
fn open_outbound(config: &Config) -> Result<(Trust, Client), StartError> {
    let trust = match &config.outbound.ca_file {
        Some(path) => {
            Trust::from_file(path).map_err(|error| StartError::part("outbound.ca_file", &error))?
        }
        None => Trust::default(),
    };
    let client = Client::new(ClientConfig {
        trust: trust.clone(),
        ..ClientConfig::new(Reach::Nodes)
    })
    .map_err(|error| StartError::part("outbound client", &error))?;
    Ok((trust, client))
}

async fn open_system(
    config: &Config,
    db: &Db,
    sealer: &Arc<Sealer>,
    clock: &Arc<dyn Clock>,
    identity: &Identity,
    registry: &Registry,
) -> Result<System, StartError> {
    System::open(SystemDeps {
        db: db.clone(),
        sealer: Arc::clone(sealer),
        clock: Arc::clone(clock),
        identity: identity.clone(),
        registry: registry.clone(),
        defaults: settings::defaults(config),
    })
    .await
    .map_err(|error| StartError::part("settings", &error))
}

async fn open_identity(
    config: &Config,
    db: &Db,
    sealer: &Arc<Sealer>,
    clock: &Arc<dyn Clock>,
    outbound: &Client,
) -> Result<(Identity, SetupState), StartError> {
    let auth = AuthConfig {
        required: config.auth_required(),
        loopback_only: config.listens_on_loopback(),
        admin_password: config.auth.admin_password.clone(),
        issuer: match &config.auth.issuer {
            Some(issuer) => issuer.clone().into(),
            None => AuthConfig::REQUIRED.issuer,
        },
        registration: config.auth.registration,
        audit_retention: match config.auth.audit_retention {
            Some(kept) => kept.0,
            None => AuthConfig::REQUIRED.audit_retention,
        },
        max_staleness: match config.auth.max_staleness {
            Some(most) => most.0,
            None => AuthConfig::REQUIRED.max_staleness,
        },
        oidc: match &config.server.public_url {
            Some(public_url) if !config.auth.oidc.is_empty() => Some(OidcConfig {
                public_url: public_url.clone(),
                providers: config.auth.oidc.iter().map(OidcSection::provider).collect(),
                client: outbound.clone(),
            }),
            _ => None,
        },
    };
    Identity::open(db.clone(), Arc::clone(sealer), Arc::clone(clock), auth)
        .await
        .map_err(|error| StartError::part("identities", &error))
}

/// Starts the engine. Reading the heads of many model files takes a moment, so that it happens beside the event loop.
async fn start_engine(
    config: &Config,
    data_dir: &DataDir,
    clock: &Arc<dyn Clock>,
) -> Result<(Engine, Vec<LoadReport>), StartError> {
    let mut engine_config = engine_config(config, data_dir.path());
    engine_config.clock = Arc::clone(clock);
    tokio::task::spawn_blocking(move || Engine::start(&engine_config))
        .await
        .map_err(|error| StartError::broken_part("embedded engine", &error))
}

async fn open_registry(
    config: &Config,
    agents: &AgentDoor,
    db: &Db,
    sealer: &Arc<Sealer>,
    clock: &Arc<dyn Clock>,
    outbound: &Client,
) -> Result<Registry, StartError> {
    let deps = ClusterDeps {
        db: db.clone(),
        sealer: Arc::clone(sealer),
        clock: Arc::clone(clock),
        client: outbound.clone(),
    };
    let cluster_config = ClusterConfig {
        probe_interval: config.probes.interval.0,
        probe_timeout: config.probes.timeout.0,
        check_timeout: config.probes.check_timeout.0,
        agents: agents.config(),
        ..ClusterConfig::default()
    };
    let failed = |error: cluster::NodeError| StartError::part("node registry", &error);
    let registry = Registry::open(deps, cluster_config).await.map_err(failed)?;
    let specs = config.nodes.iter().cloned().map(node_spec).collect();
    registry.sync_config(specs).await.map_err(failed)?;
    Ok(registry)
}

fn node_spec(section: NodeSection) -> NodeSpec {
    NodeSpec {
        kind: section.kind,
        api_key: section.api_key,
        tags: section.tags,
        region: section.region,
        weight: Some(section.weight),
        max_in_flight: section.max_in_flight,
        ..NodeSpec::new(section.name, section.url)
    }
}

/// Gathers what the banner tells.
fn found(
    config: &Config,
    data_dir: &DataDir,
    setup: &SetupState,
    engine: &Engine,
    reports: &[LoadReport],
    registry: &Registry,
) -> Found {
    let mut warnings = Vec::new();
    if matches!(setup, SetupState::TokenPending) {
        warnings.push(
            "there is no administrator yet: the set-up token was shown at the first start; without it, start once with REMUDA_ADMIN_PASSWORD set"
                .to_owned(),
        );
    }
    Found {
        data_dir: data_dir.path().to_owned(),
        database: database::describe(&config.store, data_dir.path()),
        config_file: None,
        models: engine.models().iter().map(embedded::describe).collect(),
        refused: reports
            .iter()
            .filter_map(|report| match &report.outcome {
                LoadOutcome::Loaded => None,
                LoadOutcome::Refused(reason) => Some(RefusedModel {
                    name: report.name.clone(),
                    reason: error::one_line(reason),
                }),
            })
            .collect(),
        nodes: registry
            .snapshot()
            .nodes
            .iter()
            .filter(|node| node.source != NodeSource::Embedded)
            .map(|node| FoundNode {
                name: node.name.to_string(),
                url: node
                    .url
                    .as_ref()
                    .map_or(String::new(), |url| url.as_str().to_owned()),
                source: node.source.as_str().to_owned(),
            })
            .collect(),
        warnings,
    }
}
