//! What is told of a model's replicas beside what nodes say: files on their way, the last failure, uses.

use std::collections::HashMap;
use std::sync::Arc;

use primitives::{NodeId, Timestamp};

use scheduling::placement::ActionKind;

use super::action::Status;
use super::look::Stock;
use crate::registry::Registry;

/// What is known of a model at a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplicaNote {
    /// Bytes that are there and bytes in all, while its files are on their way.
    pub(crate) syncing: Option<(u64, u64)>,
    /// Why the last action with it failed, and when.
    pub(crate) failed: Option<(String, Timestamp)>,
    /// Calls that have ended.
    pub(crate) requests: u64,
    /// When the last one did.
    pub(crate) last_used: Option<Timestamp>,
}

/// Notes by model and node.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplicaNotes(HashMap<String, HashMap<NodeId, ReplicaNote>>);

impl ReplicaNotes {
    /// Returns what is known of a model at a node.
    pub(crate) fn find(&self, key: &str, node: NodeId) -> Option<&ReplicaNote> {
        self.0.get(key)?.get(&node)
    }

    /// Lists the nodes that get a model's files at the moment, or did not get them.
    pub(crate) fn fetching(&self, key: &str) -> impl Iterator<Item = (NodeId, &ReplicaNote)> {
        let notes = self.0.get(key).into_iter().flatten();
        notes
            .filter(|(_, note)| note.syncing.is_some() || note.failed.is_some())
            .map(|(node, note)| (*node, note))
    }

    fn note(&mut self, key: &str, node: NodeId) -> &mut ReplicaNote {
        self.0
            .entry(key.to_owned())
            .or_default()
            .entry(node)
            .or_default()
    }
}

/// Shows what is stored.
pub(super) fn publish(registry: &Registry, stock: &Stock) {
    let mut notes = ReplicaNotes::default();
    for used in &*stock.uses {
        let note = notes.note(&used.model, used.node);
        note.requests = used.requests;
        note.last_used = Some(used.last_used_at);
    }
    for stored in &stock.open {
        let action = &stored.action;
        if stored.status == Status::Running
            && matches!(action.kind, ActionKind::Pull | ActionKind::Copy)
        {
            let total = stored.total_bytes.max(action.bytes.unwrap_or(0));
            notes.note(&action.key, action.node).syncing = Some((stored.done_bytes, total));
        }
    }
    let mut settled = std::collections::HashSet::new();
    for stored in &stock.ended {
        let action = &stored.action;
        if stored.status == Status::Cancelled || !settled.insert((&action.key, action.node)) {
            continue;
        }
        if let (Status::Failed, Some(error), Some(at)) =
            (stored.status, &stored.error, stored.ended_at)
        {
            notes.note(&action.key, action.node).failed = Some((error.clone(), at));
        }
    }
    registry.show_notes(Arc::new(notes));
}
