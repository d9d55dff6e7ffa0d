//! `[agents]`: where agents of nodes are expected.

use std::net::SocketAddr;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use url::Url;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::Period;
use super::server::parse_address;

/// Where agents of nodes dial.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentsSection {
    /// Address and port, as `0.0.0.0:11441`. Unset: no agent can join or link. Port 0 takes a free one.
    #[serde(deserialize_with = "read_address")]
    pub listen: Option<SocketAddr>,
    /// Where agents reach that address, as `https://remuda.lan:11441`: what invitations name. Unset: the host that the inviting
    /// command itself talks to.
    pub url: Option<Url>,
    /// How long requests wait for an agent whose link is lost, at most 10 minutes. 35 s: partitions of 30 s, and the time to dial again.
    pub patience: Period,
    /// Whether agents that say on the local network that they belong nowhere are listed; false unless set. Nobody is let in by it.
    pub discovery: bool,
    /// The interfaces of this machine to listen on for that, by name. Unset: all.
    pub discovery_interfaces: Vec<String>,
}

impl Default for AgentsSection {
    fn default() -> Self {
        Self {
            listen: None,
            url: None,
            patience: Period::seconds(35),
            discovery: false,
            discovery_interfaces: Vec::new(),
        }
    }
}

impl AgentsSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        if self.patience > Period::seconds(600) {
            return Err(at.bad(
                ["agents", "patience"],
                "requests wait at most 10m for an agent".to_owned(),
            ));
        }
        if !self.discovery && !self.discovery_interfaces.is_empty() {
            return Err(at.bad(
                ["agents", "discovery_interfaces"],
                "nobody listens there: set discovery = true, too".to_owned(),
            ));
        }
        let Some(url) = &self.url else { return Ok(()) };
        if url.scheme() != "https" || !url.has_host() || !matches!(url.path(), "" | "/") {
            return Err(at.bad(
                ["agents", "url"],
                format!("{url} is not where agents dial: write it as https://remuda.lan:11441"),
            ));
        }
        Ok(())
    }
}

fn read_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_address(&text).map(Some).map_err(de::Error::custom)
}
