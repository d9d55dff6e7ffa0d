//! Looking at an address before it becomes a node.

use std::sync::Arc;

use super::Registry;
use crate::error::NodeError;
use crate::model::{ModelView, NodeKind, ServerFlavour};
use crate::node_url::NodeUrl;
use crate::spec::NodeAddress;

/// What stands at an address.
#[derive(Clone, Debug)]
pub struct CheckedNode {
    /// The address as it would be kept.
    pub url: NodeUrl,
    /// Which API it speaks; `Unknown` where nothing answers.
    pub kind: NodeKind,
    /// Which program answers there.
    pub server: ServerFlavour,
    /// The program's version.
    pub version: Option<Arc<str>>,
    /// Requests it works on at the same time, where it tells.
    pub slots: Option<u32>,
    /// Its models, by name.
    pub models: Vec<ModelView>,
    /// The node of the fleet that has this address already.
    pub known_as: Option<Arc<str>>,
    /// Why nothing was found there, where that may pass.
    pub warning: Option<String>,
}

impl Registry {
    /// Asks what answers at an address, and changes nothing.
    ///
    /// # Errors
    /// When the address is not valid, or something answers there that cannot be used.
    pub async fn check_node(&self, address: NodeAddress) -> Result<CheckedNode, NodeError> {
        let settings = address.check()?;
        let (learned, warning) = self.meet(&settings).await?;
        let known_as = {
            let fleet = self.inner.fleet.lock();
            let mut records = fleet.records();
            records
                .find(|record| record.settings.url == settings.url)
                .map(|record| record.settings.name.clone())
        };
        let found = learned.as_ref().map(|learned| learned.found);
        Ok(CheckedNode {
            kind: found.map_or(NodeKind::Unknown, |found| found.kind),
            server: found.map_or(ServerFlavour::Other, |found| found.server),
            url: settings.url,
            known_as,
            warning,
            version: learned.as_ref().and_then(|learned| learned.version.clone()),
            slots: learned.as_ref().and_then(|learned| learned.slots),
            models: learned.map(|learned| learned.models).unwrap_or_default(),
        })
    }
}
