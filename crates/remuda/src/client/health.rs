//! What `GET /health` says, and what a person can do about it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A server's health.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Health {
    /// `ok` or `degraded`.
    pub(crate) status: String,
    /// The server's version.
    pub(crate) version: Option<String>,
    /// Its parts by name.
    pub(crate) components: BTreeMap<String, Component>,
}

/// One part of a server.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Component {
    /// `ok`, `degraded` or `down`.
    pub(crate) status: String,
    /// The same in words.
    #[serde(default)]
    pub(crate) detail: String,
}

impl Component {
    /// Returns true when all is as it should be.
    pub(crate) fn is_ok(&self) -> bool {
        self.status == "ok"
    }
}

/// Says what to do about a part that is not well.
pub(crate) fn remedy(component: &str) -> &'static str {
    match component {
        "fleet" => "`remuda node list` shows which node is missing, `remuda node show NAME` why",
        "database" => "what happens until it is back is recorded afterwards",
        "redis" => "start Redis, or correct [redis] url: the running server connects by itself",
        "certificate" => "renew it, or correct its files: the running server takes them by itself",
        _ => "the server's log has the reason",
    }
}
