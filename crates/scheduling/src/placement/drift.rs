//! One name, different files: which of them is right, and who has others.

use std::collections::BTreeMap;
use std::sync::Arc;

use primitives::{NodeId, Timestamp};

use super::view::{Copy, FleetView, Node};

/// A model whose files differ between nodes that answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The model's key.
    pub key: String,
    /// Its files, those that are taken to be right first.
    pub sides: Vec<DriftSide>,
}

/// Nodes with the same files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftSide {
    /// The digest of the files.
    pub digest: Arc<str>,
    /// When the last of these nodes got them.
    pub newest: Option<Timestamp>,
    /// The nodes.
    pub nodes: Vec<NodeId>,
}

/// Returns a model's files by digest, those taken to be right first: the ones that were fetched last, as that is what fetching anew
/// gives; the most common ones where nobody knows when.
fn sides<'v>(copies: impl Iterator<Item = (&'v Node, &'v Copy)>) -> Vec<DriftSide> {
    let mut by_digest: BTreeMap<Arc<str>, DriftSide> = BTreeMap::new();
    for (node, copy) in copies {
        let Some(digest) = copy.digest.as_ref().filter(|_| !copy.arriving) else {
            continue;
        };
        let side = by_digest
            .entry(Arc::clone(digest))
            .or_insert_with(|| DriftSide {
                digest: Arc::clone(digest),
                newest: None,
                nodes: Vec::new(),
            });
        side.newest = side.newest.max(copy.modified_at);
        side.nodes.push(node.id);
    }
    let mut sides: Vec<DriftSide> = by_digest.into_values().collect();
    let rank = |side: &DriftSide| (side.newest, side.nodes.len());
    sides.sort_by(|a, b| rank(b).cmp(&rank(a)).then_with(|| a.digest.cmp(&b.digest)));
    sides
}

/// Returns the digest that is taken to be right for a model.
pub(super) fn right_digest(view: &FleetView, key: &str) -> Option<Arc<str>> {
    let copies = fresh(view).filter_map(|node| Some((node, node.find_copy(key)?)));
    sides(copies).into_iter().next().map(|side| side.digest)
}

/// Finds every model whose files differ.
pub(super) fn find(view: &FleetView) -> Vec<Drift> {
    let mut by_key: BTreeMap<&str, Vec<(&Node, &Copy)>> = BTreeMap::new();
    for node in fresh(view) {
        for copy in &node.copies {
            by_key.entry(&copy.key).or_default().push((node, copy));
        }
    }
    by_key
        .into_iter()
        .filter_map(|(key, copies)| {
            let sides = sides(copies.into_iter());
            (sides.len() > 1).then(|| Drift {
                key: key.to_owned(),
                sides,
            })
        })
        .collect()
}

fn fresh(view: &FleetView) -> impl Iterator<Item = &Node> {
    view.nodes.iter().filter(|node| view.is_fresh(node))
}
