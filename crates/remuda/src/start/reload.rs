//! Taking over a changed configuration while requests are under way.

use super::gateway_config::gateway_config;
use super::rollouts::configured_names;
use super::{Running, node_spec};
use crate::config::{Config, ConfigError, ConfigValues, KeyPath, Loaded, applies_at_once};

/// What holds of the configuration.
#[derive(Debug)]
pub struct Standing {
    /// What the program was started with.
    started: ConfigValues,
    /// What it was read as last.
    latest: ConfigValues,
}

impl Standing {
    /// Notes what the program was started with.
    pub fn new(started: ConfigValues) -> Self {
        Self {
            latest: started.clone(),
            started,
        }
    }
}

impl Running {
    /// Takes over what another reading of the configuration changes and what needs no restart: nodes, models, aliases, routing,
    /// limits, and how embeddings share calls; the certificate is read anew, too. The log says what changed, and what waits for a restart. After a mistake in the
    /// configuration all stays as it was, and the log says what the mistake is.
    pub async fn reload(&self, read: Result<Loaded, ConfigError>, standing: &mut Standing) {
        self.certificate_asked.notify_one();
        let applied = match read {
            Ok(loaded) => self.take_over(loaded, standing).await,
            Err(error) => {
                tracing::error!(%error, "the configuration cannot be used: the one before holds");
                false
            }
        };
        self.metrics.configuration_read(applied);
    }

    async fn take_over(&self, loaded: Loaded, standing: &mut Standing) -> bool {
        if let Err(error) = self.follow_nodes(&loaded.config).await {
            tracing::error!(%error, "the nodes of the configuration cannot be used: the one before holds");
            return false;
        }
        self.gateway.configure(gateway_config(&loaded.config));
        self.rollouts.configure(configured_names(&loaded.config));
        let applied = standing.latest.changed(&loaded.values);
        let applied = named(applied.iter().filter(|key| applies_at_once(key)));
        tracing::info!(changed = applied, "the configuration was read again");
        let waiting = standing.started.changed(&loaded.values);
        let waiting = named(waiting.iter().filter(|key| !applies_at_once(key)));
        if !waiting.is_empty() {
            tracing::warn!(
                keys = waiting,
                "changed in the configuration, but in use only after a restart"
            );
        }
        standing.latest = loaded.values;
        true
    }

    async fn follow_nodes(&self, config: &Config) -> Result<(), cluster::NodeError> {
        let specs = config.nodes.iter().cloned().map(node_spec);
        self.registry.sync_config(specs.collect()).await?;
        Ok(())
    }
}

fn named<'k>(keys: impl Iterator<Item = &'k KeyPath>) -> String {
    let names: Vec<String> = keys.map(ToString::to_string).collect();
    names.join(", ")
}
