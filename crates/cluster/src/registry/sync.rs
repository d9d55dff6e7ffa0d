//! Makes the stored nodes follow the configuration file.

use std::collections::HashSet;

use identity::journal::{self, Action, Actor};
use primitives::NodeId;

use super::edit::name_conflict;
use super::{MAX_NODES, Registry};
use crate::error::NodeError;
use crate::model::NodeSource;
use crate::record::NodeRecord;
use crate::spec::{NodeSettings, NodeSpec};
use crate::store;

/// What following the configuration file changed, by node name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigSync {
    /// Nodes that are new in the file.
    pub added: Vec<String>,
    /// Nodes that the file describes differently now.
    pub updated: Vec<String>,
    /// Nodes that no longer stand in the file.
    pub removed: Vec<String>,
    /// Nodes of that name that came from elsewhere and belong to the file now.
    pub taken_over: Vec<String>,
}

impl Registry {
    /// Makes the configured nodes exactly those of `specs`, in one transaction, matched by name. Nodes that were added in other
    /// ways stay, unless the file names them: then the file counts. Whether a node drains is left as it is.
    pub async fn sync_config(&self, specs: Vec<NodeSpec>) -> Result<ConfigSync, NodeError> {
        let outcome = self.follow(check_all(specs)?).await?;
        if outcome != ConfigSync::default() {
            self.reload().await?;
        }
        Ok(outcome)
    }

    async fn follow(&self, wanted: Vec<NodeSettings>) -> Result<ConfigSync, NodeError> {
        let _writing = self.inner.writing.lock().await;
        let present: Vec<NodeRecord> = self.inner.fleet.lock().records().cloned().collect();
        let plan = Plan::make(wanted, &present);
        if plan.is_empty() {
            return Ok(ConfigSync::default());
        }
        let now = self.inner.clock.now();
        let by = Actor::system();
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        for record in &plan.remove {
            store::delete_node(&mut tx, record.id).await?;
            let change = record.change(Action::NodeRemove, Some(record.seen()), None);
            journal::record(&mut tx, now, &by, change).await?;
        }
        for (present, settings) in &plan.update {
            let record = NodeRecord {
                settings: settings.clone(),
                source: NodeSource::Config,
                updated_at: now,
                ..present.clone()
            };
            store::update_node(&mut tx, record.to_stored(&self.inner.sealer)?).await?;
            let (old, new) = (Some(present.seen()), Some(record.seen_after(present)));
            let change = record.change(Action::NodeEdit, old, new);
            journal::record(&mut tx, now, &by, change).await?;
        }
        for settings in &plan.add {
            let record = NodeRecord {
                id: NodeId::generate(now),
                settings: settings.clone(),
                source: NodeSource::Config,
                draining: false,
                created_at: now,
                updated_at: now,
            };
            let stored = record.to_stored(&self.inner.sealer)?;
            store::insert_node(&mut tx, stored)
                .await
                .map_err(|error| name_conflict(error, &record.settings.name))?;
            let change = record.change(Action::NodeAdd, None, Some(record.seen()));
            journal::record(&mut tx, now, &by, change).await?;
        }
        tx.commit().await?;
        let outcome = plan.outcome();
        for name in &outcome.taken_over {
            tracing::warn!(
                node = name,
                "the configuration file names this node: it is changed only there from now on"
            );
        }
        Ok(outcome)
    }
}

fn check_all(specs: Vec<NodeSpec>) -> Result<Vec<NodeSettings>, NodeError> {
    if specs.len() > MAX_NODES {
        return Err(NodeError::TooManyNodes(specs.len()));
    }
    let mut names = HashSet::new();
    let mut urls = HashSet::new();
    let mut all = Vec::with_capacity(specs.len());
    for spec in specs {
        let name = spec.name.clone();
        let wrong = |reason: String| NodeError::Configuration {
            name: name.chars().take(80).collect(),
            reason,
        };
        let settings = spec.check().map_err(|error| wrong(error.to_string()))?;
        if !names.insert(settings.name.clone()) {
            return Err(wrong(
                "the name stands there twice: give each node its own".to_owned(),
            ));
        }
        if !urls.insert(settings.url.clone()) {
            return Err(wrong(format!(
                "{} stands there twice: leave one out",
                settings.url
            )));
        }
        all.push(settings);
    }
    Ok(all)
}

/// What has to change.
#[derive(Debug, Default)]
struct Plan {
    add: Vec<NodeSettings>,
    update: Vec<(NodeRecord, NodeSettings)>,
    remove: Vec<NodeRecord>,
}

impl Plan {
    fn make(wanted: Vec<NodeSettings>, present: &[NodeRecord]) -> Self {
        let mut plan = Self {
            remove: present
                .iter()
                .filter(|record| record.source == NodeSource::Config)
                .filter(|record| {
                    wanted
                        .iter()
                        .all(|settings| settings.name != record.settings.name)
                })
                .cloned()
                .collect(),
            ..Self::default()
        };
        for settings in wanted {
            match present
                .iter()
                .find(|record| record.settings.name == settings.name)
            {
                None => plan.add.push(settings),
                Some(record)
                    if record.settings != settings || record.source != NodeSource::Config =>
                {
                    plan.update.push((record.clone(), settings));
                }
                Some(_) => {}
            }
        }
        plan
    }

    fn is_empty(&self) -> bool {
        self.add.is_empty() && self.update.is_empty() && self.remove.is_empty()
    }

    fn outcome(&self) -> ConfigSync {
        let name = |settings: &NodeSettings| settings.name.to_string();
        let is_ours = |record: &NodeRecord| record.source == NodeSource::Config;
        ConfigSync {
            added: self.add.iter().map(name).collect(),
            updated: self
                .update
                .iter()
                .filter(|(record, _)| is_ours(record))
                .map(|(_, settings)| name(settings))
                .collect(),
            removed: self
                .remove
                .iter()
                .map(|record| name(&record.settings))
                .collect(),
            taken_over: self
                .update
                .iter()
                .filter(|(record, _)| !is_ours(record))
                .map(|(_, settings)| name(settings))
                .collect(),
        }
    }
}
