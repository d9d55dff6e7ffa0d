//! Configuration: one TOML file, the environment above it, command-line flags above both.
//!
//! Each section stands in a file of its own and checks itself. Every mistake is one line that names the place (file and
//! line, environment variable or flag), the key and what to do; an unknown key is refused with the nearest known one.
//! Nothing here touches the network or writes anything.

mod agents;
mod auth;
mod cache;
mod changes;
mod coalescing;
mod discovery;
mod engine;
mod environment;
mod error;
mod inventory;
mod jobs;
mod layers;
mod limits;
mod log;
mod nodes;
mod oidc;
mod origin;
mod outbound;
mod placement;
mod probes;
mod quantity;
mod queue;
mod realtime;
mod redis;
mod requests;
mod routing;
mod schema;
mod server;
mod statistics;
mod store;
mod suggest;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use primitives::Secret;
use scheduling::queue::QueueLimits;
use serde::Deserialize;

pub use agents::AgentsSection;
pub use auth::AuthSection;
pub use cache::{CacheRuleSection, CacheSection, CacheStore, CacheStrategy, CachedResource};
pub use changes::ConfigValues;
pub(crate) use changes::applies_at_once;
pub use coalescing::CoalescingSection;
pub use discovery::DiscoverySection;
pub(crate) use discovery::LOCAL_OLLAMA;
pub use engine::EngineSection;
pub use environment::Environment;
pub use error::ConfigError;
pub use inventory::InventorySection;
pub use jobs::JobsSection;
pub use limits::LimitsSection;
pub use log::{LogFormat, LogSection};
pub use nodes::NodeSection;
pub use oidc::{OidcRoleSection, OidcSection};
pub use origin::{KeyPath, Origins, Place};
pub use outbound::OutboundSection;
pub use placement::PlacementSection;
pub use probes::ProbesSection;
pub use quantity::{ByteSize, Period};
pub use realtime::RealtimeSection;
pub use redis::RedisSection;
pub use requests::RequestsSection;
pub use routing::{ModelSection, RoutingSection};
pub use server::ServerSection;
pub(crate) use server::{DEFAULT_PORT, parse_address};
pub use statistics::StatisticsSection;
pub use store::StoreSection;

/// Everything that can be configured. `Default` is what `remuda up` uses on a fresh machine, less the data directory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listening, limits, data directory, drain.
    pub server: ServerSection,
    /// Who must present a key.
    pub auth: AuthSection,
    /// The database.
    pub store: StoreSection,
    /// Redis, for several replicas.
    pub redis: RedisSection,
    /// Kept answers of the control plane.
    pub cache: CacheSection,
    /// The embedded engine.
    pub engine: EngineSection,
    /// How nodes are chosen.
    pub routing: RoutingSection,
    /// How embedding requests share calls.
    pub coalescing: CoalescingSection,
    /// Settings of single models, by model name.
    pub models: BTreeMap<String, ModelSection>,
    /// Other names for models: alias to model.
    pub aliases: BTreeMap<String, String>,
    /// How many requests may wait for a node.
    pub queue: QueueLimits,
    /// What callers may use.
    pub limits: LimitsSection,
    /// The WebSocket hub.
    pub realtime: RealtimeSection,
    /// Work that is accepted to be done later.
    pub jobs: JobsSection,
    /// Where models are, and who sees to it.
    pub placement: PlacementSection,
    /// The hardware inventory.
    pub inventory: InventorySection,
    /// Request records.
    pub requests: RequestsSection,
    /// What is kept longer than request records.
    pub statistics: StatisticsSection,
    /// Calls to nodes.
    pub outbound: OutboundSection,
    /// Logs.
    pub log: LogSection,
    /// Nodes that the file describes.
    pub nodes: Vec<NodeSection>,
    /// How often and how long nodes are probed.
    pub probes: ProbesSection,
    /// Servers that are found without being configured.
    pub discovery: DiscoverySection,
    /// Where agents of nodes dial.
    pub agents: AgentsSection,
}

/// What the command line says; it wins over the environment and the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config FILE`
    pub file: Option<PathBuf>,
    /// `--listen ADDR`
    pub listen: Option<std::net::SocketAddr>,
    /// `--data DIR`
    pub data_dir: Option<PathBuf>,
    /// `--model PATH`, added to those of the file.
    pub models: Vec<PathBuf>,
    /// `--models-dir DIR`
    pub models_dir: Option<PathBuf>,
}

/// A checked configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Lines that a person should see although nothing is wrong enough to stop.
    pub warnings: Vec<String>,
    /// What the file and the environment say, to be compared with another reading.
    pub values: ConfigValues,
}

impl Config {
    /// Reads the file, overlays the environment and the flags, fills in defaults that depend on the machine, and checks all.
    ///
    /// Without `--config` and `REMUDA_CONFIG` the file is `remuda/remuda.toml` in the user's configuration directory, if it is there.
    pub fn load(environment: &Environment, overrides: &Overrides) -> Result<Loaded, ConfigError> {
        let file = choose_file(environment, overrides);
        let text = file.as_deref().map(read_file).transpose()?;
        let layers::Built {
            mut config,
            mut origins,
            values,
        } = match (&file, &text) {
            (Some(path), Some(text)) => layers::build(Some((path, text)), environment)?,
            _ => layers::build(None, environment)?,
        };
        config.apply(overrides, &mut origins);
        config.fill_in(environment)?;
        config.check(&origins)?;
        let warnings = config.warnings();
        Ok(Loaded {
            config,
            file,
            warnings,
            values,
        })
    }

    /// Reads a configuration from TOML text alone: no environment, no flags. For tests and tools.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let built = layers::build(
            Some((Path::new("configuration"), text)),
            &Environment::default(),
        )?;
        built.config.check(&built.origins)?;
        Ok(built.config)
    }

    /// Checks values that are well-formed but make no sense, alone or together.
    pub fn check(&self, origins: &Origins) -> Result<(), ConfigError> {
        self.server.check(origins)?;
        self.auth.check(origins)?;
        oidc::check(&self.auth.oidc, self.server.public_url.as_ref(), origins)?;
        self.store.check(origins)?;
        self.redis.check(origins)?;
        self.cache.check(self.redis.url.is_some(), origins)?;
        self.engine.check(origins)?;
        self.routing.check(origins)?;
        self.coalescing.check(origins)?;
        queue::check(&self.queue, origins)?;
        self.limits.check(origins)?;
        self.realtime.check(origins)?;
        self.jobs.check(origins)?;
        self.placement.check(origins)?;
        self.inventory.check(origins)?;
        self.requests.check(origins)?;
        self.statistics.check(origins)?;
        self.probes.check(origins)?;
        self.discovery.check(origins)?;
        self.agents.check(origins)?;
        self.log.check(origins)?;
        nodes::check(&self.nodes, origins)?;
        routing::check(&self.models, &self.aliases, origins)
    }

    /// Returns true when inference needs a key: always beyond loopback, by choice on it.
    pub fn auth_required(&self) -> bool {
        self.auth.required.unwrap_or(false) || !self.listens_on_loopback()
    }

    /// Returns true when only this machine can reach the listener.
    pub fn listens_on_loopback(&self) -> bool {
        self.server.listen.ip().is_loopback()
    }

    fn apply(&mut self, overrides: &Overrides, origins: &mut Origins) {
        if let Some(listen) = overrides.listen {
            self.server.listen = listen;
            origins.set_flag(["server", "listen"], "--listen");
        }
        if let Some(dir) = &overrides.data_dir {
            self.server.data_dir = Some(dir.clone());
            origins.set_flag(["server", "data_dir"], "--data");
        }
        if !overrides.models.is_empty() {
            self.engine.models.extend(overrides.models.iter().cloned());
            origins.set_flag(["engine", "models"], "--model");
        }
        if let Some(dir) = &overrides.models_dir {
            self.engine.models_dir = Some(dir.clone());
            origins.set_flag(["engine", "models_dir"], "--models-dir");
        }
    }

    fn fill_in(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        if self.server.data_dir.is_none() {
            self.server.data_dir = Some(
                environment
                    .data_home()
                    .map(|home| home.join("remuda"))
                    .ok_or(ConfigError::NoHome)?,
            );
        }
        if self.auth.admin_password.is_none() {
            self.auth.admin_password = environment
                .get("REMUDA_ADMIN_PASSWORD")
                .map(|password| Secret::new(password.to_owned()));
        }
        for provider in &mut self.auth.oidc {
            provider.fill_in(environment);
        }
        if self.discovery.ollama_url.is_none() {
            self.discovery.ollama_url = environment
                .get("OLLAMA_HOST")
                .and_then(discovery::ollama_host_url);
        }
        Ok(())
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.listens_on_loopback() && self.auth.required == Some(false) {
            warnings.push(format!(
                "[auth] required = false has no effect: {} is reachable from other machines, so every call needs a key",
                self.server.listen
            ));
        }
        warnings
    }
}

fn choose_file(environment: &Environment, overrides: &Overrides) -> Option<PathBuf> {
    overrides
        .file
        .clone()
        .or_else(|| environment.get("REMUDA_CONFIG").map(PathBuf::from))
        .or_else(|| {
            environment
                .config_home()
                .map(|home| home.join("remuda").join("remuda.toml"))
                .filter(|path| path.exists())
        })
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let bytes = std::fs::read(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        reason: source.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|_| ConfigError::Unreadable {
        path: path.to_owned(),
        reason: "it is not UTF-8 text".to_owned(),
    })
}

#[cfg(test)]
mod tests;
