//! What changed between two snapshots of the fleet.

use std::collections::HashMap;
use std::sync::Arc;

use cluster::{FleetSnapshot, ModelView, NodeView, Registry};
use primitives::NodeId;
use scheduling::Health;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::topic::Topic;

/// Changes of one kind that are told one by one. More at once are told as one message that asks to read the list anew.
const TOLD_ONE_BY_ONE: usize = 500;

/// A node came, went, or changed its state.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct NodeStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<NodeId>,
    /// The state, as in the list of nodes; `deleted` for one that is gone.
    status: &'static str,
    details: NodeDetails,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct NodeDetails {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<usize>,
    /// How many changes there were, where they are not told one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<usize>,
}

/// A node got, lost, loaded or unloaded a model.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct ModelUpdate {
    /// The model's name, which is its id in the fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<Arc<str>>,
    /// `added`, `removed`, `loaded`, `unloaded`, or `many`.
    action: &'static str,
    details: ModelDetails,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct ModelDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<NodeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<usize>,
}

impl Hub {
    /// Publishes what changes in the fleet, until `stop`.
    pub async fn follow_fleet(self, registry: Registry, stop: CancellationToken) {
        let mut generations = registry.subscribe();
        let mut seen = registry.snapshot();
        while let Some(Ok(())) = stop.run_until_cancelled(generations.changed()).await {
            generations.borrow_and_update();
            let snapshot = registry.snapshot();
            let (nodes, models) = changes(&seen, &snapshot);
            self.publish_all(Topic::NodeStatus, &nodes, |changes| NodeStatus {
                node_id: None,
                status: "many",
                details: NodeDetails {
                    action: "many",
                    changes: Some(changes),
                    ..NodeDetails::default()
                },
            });
            self.publish_all(Topic::ModelUpdate, &models, |changes| ModelUpdate {
                model_id: None,
                action: "many",
                details: ModelDetails {
                    changes: Some(changes),
                    ..ModelDetails::default()
                },
            });
            seen = snapshot;
        }
    }

    fn publish_all<T: Serialize>(&self, topic: Topic, all: &[T], many: impl FnOnce(usize) -> T) {
        if all.len() > TOLD_ONE_BY_ONE {
            self.publish(topic, &many(all.len()));
        } else {
            for one in all {
                self.publish(topic, one);
            }
        }
    }
}

/// Returns what changed.
fn changes(old: &FleetSnapshot, new: &FleetSnapshot) -> (Vec<NodeStatus>, Vec<ModelUpdate>) {
    let (mut nodes, mut models) = (Vec::new(), Vec::new());
    for node in &new.nodes {
        match old.find_node(node.id) {
            Some(before) if Arc::ptr_eq(before, node) => {}
            Some(before) => {
                if before.state != node.state || before.name != node.name {
                    nodes.push(status(node, "node_updated"));
                }
                compare_models(before, node, &mut models);
            }
            None => {
                nodes.push(status(node, "node_added"));
                let added = node.models.iter();
                models.extend(added.map(|model| update(node, model, "added")));
            }
        }
    }
    for node in &old.nodes {
        if new.find_node(node.id).is_none() {
            nodes.push(NodeStatus {
                node_id: Some(node.id),
                status: "deleted",
                details: NodeDetails {
                    action: "node_removed",
                    name: Some(Arc::clone(&node.name)),
                    ..NodeDetails::default()
                },
            });
            let removed = node.models.iter();
            models.extend(removed.map(|model| update(node, model, "removed")));
        }
    }
    (nodes, models)
}

fn status(node: &NodeView, action: &'static str) -> NodeStatus {
    NodeStatus {
        node_id: Some(node.id),
        status: node.state.as_str(),
        details: NodeDetails {
            action,
            name: Some(Arc::clone(&node.name)),
            reason: node.state.reason().map(str::to_owned),
            routable: Some(!node.draining && node.health != Health::Dead),
            models: Some(node.models.len()),
            changes: None,
        },
    }
}

fn update(node: &NodeView, model: &ModelView, action: &'static str) -> ModelUpdate {
    ModelUpdate {
        model_id: Some(Arc::clone(&model.name)),
        action,
        details: ModelDetails {
            node_id: Some(node.id),
            node: Some(Arc::clone(&node.name)),
            changes: None,
        },
    }
}

fn compare_models(before: &NodeView, node: &NodeView, found: &mut Vec<ModelUpdate>) {
    if Arc::ptr_eq(&before.models, &node.models) {
        return;
    }
    let old: HashMap<&str, &ModelView> = before
        .models
        .iter()
        .map(|model| (&*model.name, model))
        .collect();
    let mut kept = 0;
    for model in &*node.models {
        let action = match old.get(&*model.name) {
            None => "added",
            Some(old) => {
                kept += 1;
                match (old.loaded.is_some(), model.loaded.is_some()) {
                    (false, true) => "loaded",
                    (true, false) => "unloaded",
                    _ => continue,
                }
            }
        };
        found.push(update(node, model, action));
    }
    if kept < old.len() {
        let gone = before
            .models
            .iter()
            .filter(|old| !node.models.iter().any(|model| model.name == old.name));
        found.extend(gone.map(|model| update(node, model, "removed")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::{Loaded, NodeActivity, NodeKind, NodeSource, NodeState, ServerFlavour};
    use primitives::Timestamp;

    const NOW: Timestamp = Timestamp::from_micros(0);

    fn node(name: &str, models: &[(&str, bool)], state: NodeState) -> NodeView {
        let models = models.iter().map(|(name, loaded)| ModelView {
            loaded: loaded.then(Loaded::default),
            ..ModelView::named(*name)
        });
        NodeView {
            id: NodeId::generate(NOW),
            name: name.into(),
            kind: NodeKind::Ollama,
            server: ServerFlavour::Ollama,
            url: None,
            credential: None,
            version: None,
            state,
            health: Health::Alive,
            draining: false,
            source: NodeSource::Api,
            models: models.collect(),
            tags: Arc::default(),
            region: None,
            weight: 1.0,
            max_in_flight: None,
            slots: None,
            pressure: None,
            created_at: NOW,
            last_error: None,
            activity: Arc::new(NodeActivity::new()),
            agent: None,
        }
    }

    fn snapshot(nodes: &[&NodeView]) -> FleetSnapshot {
        let nodes = nodes.iter().map(|node| Arc::new((*node).clone()));
        FleetSnapshot::new(1, nodes.collect())
    }

    fn told(old: &FleetSnapshot, new: &FleetSnapshot) -> Vec<String> {
        let (nodes, models) = changes(old, new);
        let nodes = nodes.iter().map(|node| {
            let name = node.details.name.as_deref().unwrap_or_default();
            format!("{} {name} {}", node.details.action, node.status)
        });
        let models = models.iter().map(|model| {
            let name = model.model_id.as_deref().unwrap_or_default();
            format!("{} {name}", model.action)
        });
        nodes.chain(models).collect()
    }

    #[test]
    fn each_change_is_told_once() {
        let one = node("one", &[("a", false), ("b", true)], NodeState::Ready);
        let empty = snapshot(&[]);
        let full = snapshot(&[&one]);
        assert_eq!(
            told(&empty, &full),
            ["node_added one ready", "added a", "added b"]
        );
        assert_eq!(
            told(&full, &empty),
            ["node_removed one deleted", "removed a", "removed b"]
        );
        let loaded = [("a", true), ("c", false)].map(|(name, loaded)| ModelView {
            loaded: loaded.then(Loaded::default),
            ..ModelView::named(name)
        });
        let changed = NodeView {
            models: loaded.into(),
            state: NodeState::Unhealthy {
                reason: "no answer".into(),
            },
            ..one.clone()
        };
        assert_eq!(
            told(&full, &snapshot(&[&changed])),
            [
                "node_updated one unhealthy",
                "loaded a",
                "added c",
                "removed b"
            ]
        );
        assert!(told(&full, &full).is_empty());
        assert!(told(&full, &snapshot(&[&one])).is_empty(), "an equal view");
    }
}
