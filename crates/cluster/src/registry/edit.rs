//! Adding, changing, draining and removing nodes: first the database, then the snapshot.

use std::sync::Arc;

use ::store::Tx;
use identity::journal::{self, Action, Actor};
use primitives::NodeId;
use web::{ETag, IfMatch};

use super::fleet::Change;
use super::{MAX_NODES, Registry};
use crate::error::NodeError;
use crate::model::{NodeKind, NodeSource, NodeView};
use crate::probe::learned::Learned;
use crate::record::{NodeRecord, version_at};
use crate::spec::{EMBEDDED_NAME, NodeEdit, NodeSettings, NodeSpec};
use crate::store;

/// A node that was added.
#[derive(Clone, Debug)]
pub struct AddedNode {
    /// The node, with what was found at its address.
    pub node: Arc<NodeView>,
    /// Why nothing was found there yet, if so.
    pub warning: Option<String>,
}

/// A node that was changed.
#[derive(Clone, Debug)]
pub struct EditedNode {
    /// The node as it is now.
    pub node: Arc<NodeView>,
    /// Why nothing was found at its new address yet, if so.
    pub warning: Option<String>,
}

impl Registry {
    /// Adds a node after asking what answers at its address. Where nothing answers, the node is added with a warning and used
    /// as soon as it comes up; where something answers that cannot be used, it is refused.
    pub async fn add_node(&self, spec: NodeSpec, by: &Actor) -> Result<AddedNode, NodeError> {
        let settings = spec.check()?;
        self.refuse_taken(&settings, None)?;
        let (learned, warning) = self.meet(&settings).await?;
        let node = self.insert(settings, NodeSource::Api, learned, by).await?;
        Ok(AddedNode { node, warning })
    }

    /// Changes a node while it is as `expected` says. A new address is asked first, as when adding.
    pub async fn edit_node(
        &self,
        key: &str,
        edit: NodeEdit,
        expected: &IfMatch,
        by: &Actor,
    ) -> Result<EditedNode, NodeError> {
        let before = self.editable(key)?;
        expected.check(|| before.version())?;
        let through_agent = before.settings.kind == NodeKind::Agent;
        if through_agent && (edit.url.is_some() || edit.kind.is_some()) {
            return Err(NodeError::ThroughAgent(before.settings.name.to_string()));
        }
        let settings = edit.apply(&before.settings)?;
        self.refuse_taken(&settings, Some(before.id))?;
        let (learned, warning) = if settings.reaches_the_same_as(&before.settings) {
            (None, None)
        } else {
            self.meet(&settings).await?
        };
        let _writing = self.inner.writing.lock().await;
        // While the address was asked, somebody may have drained or removed the node.
        let present = self.editable(key)?;
        expected.check(|| present.version())?;
        let record = NodeRecord {
            settings,
            updated_at: self.inner.clock.now(),
            ..present.clone()
        };
        self.write(&record, &present, expected, by).await?;
        let node = self.publish(record, learned)?;
        Ok(EditedNode { node, warning })
    }

    /// Lets a node finish what it has and gives it nothing new. Draining twice is the same as once.
    pub async fn drain_node(&self, key: &str) -> Result<Arc<NodeView>, NodeError> {
        self.drain_node_by(key, &Actor::system()).await
    }

    /// The same on somebody's behalf.
    pub async fn drain_node_by(&self, key: &str, by: &Actor) -> Result<Arc<NodeView>, NodeError> {
        self.set_draining(key, true, by).await
    }

    /// Gives a node new work again.
    pub async fn undrain_node(&self, key: &str, by: &Actor) -> Result<Arc<NodeView>, NodeError> {
        self.set_draining(key, false, by).await
    }

    /// Removes a node. Requests in flight there finish. A server found on this machine is not adopted again.
    pub async fn remove_node(&self, key: &str, by: &Actor) -> Result<(), NodeError> {
        let _writing = self.inner.writing.lock().await;
        let record = self.editable(key)?;
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        store::delete_node(&mut tx, record.id).await?;
        let change = record.change(Action::NodeRemove, Some(record.seen()), None);
        journal::record(&mut tx, self.inner.clock.now(), by, change).await?;
        if record.source == NodeSource::Discovered {
            store::decline_adoption(&mut tx, record.settings.url.as_str()).await?;
        }
        tx.commit().await?;
        self.inner.change(|fleet| fleet.remove(record.id));
        self.stop_probing(record.id);
        tracing::info!(node = &*record.settings.name, "node removed");
        Ok(())
    }

    /// Finds a node by id or name.
    pub fn load_node(&self, key: &str) -> Result<Arc<NodeView>, NodeError> {
        let snapshot = self.snapshot();
        let by_id = key.parse().ok().and_then(|id| snapshot.find_node(id));
        by_id
            .or_else(|| snapshot.find_node_named(key))
            .cloned()
            .ok_or_else(|| NodeError::Unknown(shown(key)))
    }

    /// Returns the version of what can be changed of a node; nothing for the embedded engine, of which nothing can be.
    pub fn node_version(&self, id: NodeId) -> Option<ETag> {
        let fleet = self.inner.fleet.lock();
        fleet.find(id).map(NodeRecord::version)
    }

    async fn set_draining(
        &self,
        key: &str,
        draining: bool,
        by: &Actor,
    ) -> Result<Arc<NodeView>, NodeError> {
        let _writing = self.inner.writing.lock().await;
        let present = self.load_record(key)?;
        let changes = present.draining != draining;
        let old = present.seen();
        let record = NodeRecord {
            draining,
            updated_at: self.inner.clock.now(),
            ..present
        };
        // Written even when nothing seems to change: another process may have changed it a moment ago.
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        if !store::update_draining(&mut tx, record.id, draining, record.updated_at).await? {
            return Err(NodeError::Unknown(record.settings.name.to_string()));
        }
        if changes {
            let action = if draining {
                Action::NodeDrain
            } else {
                Action::NodeUndrain
            };
            let change = record.change(action, Some(old), Some(record.seen()));
            journal::record(&mut tx, record.updated_at, by, change).await?;
        }
        tx.commit().await?;
        if changes {
            tracing::info!(node = &*record.settings.name, draining, "draining changed");
        }
        self.publish(record, None)
    }

    /// Stores a new node and shows it.
    pub(super) async fn insert(
        &self,
        settings: NodeSettings,
        source: NodeSource,
        learned: Option<Learned>,
        by: &Actor,
    ) -> Result<Arc<NodeView>, NodeError> {
        let _writing = self.inner.writing.lock().await;
        self.refuse_taken(&settings, None)?;
        let now = self.inner.clock.now();
        let record = NodeRecord {
            id: NodeId::generate(now),
            settings,
            source,
            draining: false,
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        self.insert_record(&mut tx, &record, by).await?;
        tx.commit().await?;
        self.publish(record, learned)
    }

    /// Stores a new node within the caller's transaction, which has begun with [`journal::begin`].
    pub(crate) async fn insert_record(
        &self,
        tx: &mut Tx,
        record: &NodeRecord,
        by: &Actor,
    ) -> Result<(), NodeError> {
        let stored = record.to_stored(&self.inner.sealer)?;
        store::insert_node(tx, stored)
            .await
            .map_err(|error| name_conflict(error, &record.settings.name))?;
        let change = record.change(Action::NodeAdd, None, Some(record.seen()));
        journal::record(tx, record.created_at, by, change).await?;
        Ok(())
    }

    async fn write(
        &self,
        record: &NodeRecord,
        before: &NodeRecord,
        expected: &IfMatch,
        by: &Actor,
    ) -> Result<(), NodeError> {
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        // Another process may have changed it since this one looked.
        if let Some(at) = store::node_changed_at(&mut tx, record.id).await? {
            expected.check(|| version_at(record.id, at))?;
        }
        let stored = record.to_stored(&self.inner.sealer)?;
        let exists = store::update_node(&mut tx, stored)
            .await
            .map_err(|error| name_conflict(error, &record.settings.name))?;
        if !exists {
            return Err(NodeError::Unknown(record.settings.name.to_string()));
        }
        let change = record.change(
            Action::NodeEdit,
            Some(before.seen()),
            Some(record.seen_after(before)),
        );
        journal::record(&mut tx, record.updated_at, by, change).await?;
        Ok(tx.commit().await?)
    }

    /// Shows a stored node, with what was just learned about it.
    pub(crate) fn publish(
        &self,
        record: NodeRecord,
        learned: Option<Learned>,
    ) -> Result<Arc<NodeView>, NodeError> {
        let (now, civil) = (self.inner.clock.monotonic(), self.inner.clock.now());
        let (id, name) = (record.id, Arc::clone(&record.settings.name));
        let change = self.inner.change(|fleet| {
            let change = fleet.put(record);
            if let Some(learned) = learned {
                fleet.learned(id, learned, now, civil);
            }
            change
        });
        if change == Change::Probe {
            self.probe_from_now_on(id);
        }
        self.load_node(&name)
    }

    /// Asks what answers at an address: what was learned, or why nothing was yet.
    pub(super) async fn meet(
        &self,
        settings: &NodeSettings,
    ) -> Result<(Option<Learned>, Option<String>), NodeError> {
        match Box::pin(self.prober(settings).probe()).await {
            Ok(learned) => Ok((Some(learned), None)),
            Err(error) if error.is_passing() => Ok((
                None,
                Some(format!("{error}: the node is used as soon as it answers")),
            )),
            Err(error) => Err(NodeError::NotAModelServer {
                url: settings.url.to_string(),
                reason: error.to_string(),
            }),
        }
    }

    pub(crate) fn refuse_taken(
        &self,
        settings: &NodeSettings,
        except: Option<NodeId>,
    ) -> Result<(), NodeError> {
        let fleet = self.inner.fleet.lock();
        let mut count = 0;
        for other in fleet.records().filter(|record| Some(record.id) != except) {
            count += 1;
            if other.settings.name == settings.name {
                return Err(NodeError::NameTaken(settings.name.to_string()));
            }
            if other.settings.url == settings.url {
                return Err(NodeError::UrlTaken {
                    url: settings.url.to_string(),
                    name: other.settings.name.to_string(),
                });
            }
        }
        if count >= MAX_NODES {
            return Err(NodeError::TooManyNodes(count));
        }
        Ok(())
    }

    fn load_record(&self, key: &str) -> Result<NodeRecord, NodeError> {
        let view = self.load_node(key)?;
        if &*view.name == EMBEDDED_NAME {
            return Err(NodeError::Embedded);
        }
        let fleet = self.inner.fleet.lock();
        fleet
            .find(view.id)
            .cloned()
            .ok_or_else(|| NodeError::Unknown(shown(key)))
    }

    fn editable(&self, key: &str) -> Result<NodeRecord, NodeError> {
        let record = self.load_record(key)?;
        if record.source == NodeSource::Config {
            return Err(NodeError::Configured(record.settings.name.to_string()));
        }
        Ok(record)
    }
}

pub(super) fn name_conflict(error: ::store::StoreError, name: &str) -> NodeError {
    if error.is_conflict("nodes_name") {
        NodeError::NameTaken(name.to_owned())
    } else {
        error.into()
    }
}

/// Bounds what is repeated of a client's text.
fn shown(key: &str) -> String {
    key.chars().take(80).collect()
}
