//! A node's row, opened: what the fleet keeps in memory of what the database keeps.

use std::sync::Arc;

use identity::journal::{Action, Change};
use primitives::{NodeId, Secret, Timestamp};
use serde_json::{Value, json};
use store::{SealError, Sealer};
use web::ETag;

use crate::model::{NodeKind, NodeSource};
use crate::node_url::NodeUrl;
use crate::spec::NodeSettings;
use crate::store::StoredNode;

/// One node as the database knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeRecord {
    pub(crate) id: NodeId,
    pub(crate) settings: NodeSettings,
    pub(crate) source: NodeSource,
    pub(crate) draining: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// Names the place that a credential is sealed for, so that it opens in no other row.
pub(crate) fn place(id: NodeId) -> String {
    format!("nodes|credential|{id}")
}

/// Returns the version of a node that was last changed at this time.
pub(crate) fn version_at(id: NodeId, changed_at: Timestamp) -> ETag {
    ETag::of(&(id.to_string(), changed_at))
}

impl NodeRecord {
    /// Shows the node for the journal of changes: everything that people say about it, and of its credential only whether there
    /// is one.
    pub(crate) fn seen(&self) -> Value {
        json!({
            "name": &*self.settings.name,
            "url": self.settings.url.to_string(),
            "kind": self.settings.kind.as_str(),
            "has_credential": self.settings.credential.is_some(),
            "tags": &*self.settings.tags,
            "region": self.settings.region.as_deref(),
            "weight": self.settings.weight,
            "max_in_flight": self.settings.max_in_flight,
            "draining": self.draining,
            "source": self.source.as_str(),
        })
    }

    /// Shows the node after a change from `before`, which may have been of its credential alone.
    pub(crate) fn seen_after(&self, before: &Self) -> Value {
        let mut seen = self.seen();
        let credential = &self.settings.credential;
        if credential.is_some() && *credential != before.settings.credential {
            seen["credential"] = json!("another one");
        }
        seen
    }

    /// Returns its version, which changes with every change that is stored.
    pub(crate) fn version(&self) -> ETag {
        version_at(self.id, self.updated_at)
    }

    /// Describes a change of it.
    pub(crate) fn change(&self, action: Action, old: Option<Value>, new: Option<Value>) -> Change {
        Change {
            action,
            org: None,
            subject: ("node", Some(self.id.to_string())),
            old,
            new,
        }
    }

    /// Makes the row to store: the credential is sealed.
    pub(crate) fn to_stored(&self, sealer: &Sealer) -> Result<StoredNode, SealError> {
        let credential_sealed = self
            .settings
            .credential
            .as_ref()
            .map(|credential| sealer.seal(&place(self.id), credential.expose().as_bytes()))
            .transpose()?;
        Ok(StoredNode {
            id: self.id,
            name: self.settings.name.to_string(),
            url: self.settings.url.to_string(),
            kind: self.settings.kind.as_str().to_owned(),
            credential_sealed,
            tags: self.settings.tags.to_vec(),
            region: self.settings.region.as_deref().map(str::to_owned),
            weight: f64::from(self.settings.weight),
            draining: self.draining,
            source: self.source.as_str().to_owned(),
            max_in_flight: self.settings.max_in_flight,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }

    /// Opens a row. A credential that cannot be opened is left out with a warning: the node then says what it misses itself.
    /// A row that no rule of ours would have written is left out whole.
    pub(crate) fn open(stored: StoredNode, sealer: &Sealer) -> Option<Self> {
        let url: NodeUrl = match stored.url.parse() {
            Ok(url) => url,
            Err(error) => {
                tracing::error!(node = stored.name, error = %error, "a stored node has an unusable address and is left out");
                return None;
            }
        };
        let Some(source) = NodeSource::from_name(&stored.source) else {
            tracing::error!(
                node = stored.name,
                source = stored.source,
                "a stored node has an unknown source and is left out"
            );
            return None;
        };
        let credential = stored.credential_sealed.as_deref().and_then(|sealed| {
            open_credential(stored.id, sealed, sealer)
                .inspect_err(|error| {
                    tracing::error!(node = stored.name, error = %error, "a node's stored key cannot be opened: enter it again");
                })
                .ok()
        });
        Some(Self {
            id: stored.id,
            settings: NodeSettings {
                name: stored.name.into(),
                url,
                kind: stored.kind.parse().unwrap_or(NodeKind::Unknown),
                credential,
                tags: stored.tags.into(),
                region: stored.region.map(Into::into),
                weight: stored.weight as f32,
                max_in_flight: stored.max_in_flight,
            },
            source,
            draining: stored.draining,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        })
    }
}

fn open_credential(
    id: NodeId,
    envelope: &[u8],
    sealer: &Sealer,
) -> Result<Arc<Secret<String>>, SealError> {
    let bytes = sealer.open(&place(id), envelope)?;
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| SealError::Damaged)?;
    Ok(Arc::new(Secret::new(text.to_owned())))
}
