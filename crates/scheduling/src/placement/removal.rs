//! What may go: from memory where fewer are wanted or another model needs the room, from disk after long disuse.

use std::cmp::Reverse;
use std::sync::Arc;

use primitives::{NodeId, Timestamp};

use super::desired::Desired;
use super::guard::{Forbidden, Removal};
use super::plan::ActionKind;
use super::planner::{Because, Planner};
use super::view::{Copy, FleetView};

/// Plans what goes of a model of which there is more than wanted.
pub(super) fn plan(planner: &mut Planner, desired: &Desired) {
    if desired.max_loaded.is_some() {
        unload_surplus(planner, desired);
    }
    if desired.retention.is_some() {
        delete_unused(planner, desired);
    }
}

/// Takes idle models of others from a node's memory until a model fits. Returns whether it then does; where it would not, none goes.
pub(super) fn make_room(planner: &mut Planner, desired: &Desired, node: NodeId) -> bool {
    let view = &planner.view;
    let Some(needed) = view.needed_bytes(&desired.key, desired.context) else {
        return false;
    };
    let Some(found) = view.find_node(node) else {
        return false;
    };
    let mut free = found.free_bytes().unwrap_or(0);
    let mut idle: Vec<&Copy> = found
        .copies
        .iter()
        .filter(|copy| copy.key != desired.key && copy.in_memory.is_some())
        .filter(|copy| view.forbids(Removal::Memory, node, &copy.key).is_none())
        .collect();
    idle.sort_by_key(|copy| (copy.last_used, copy.key.clone()));
    let mut going = Vec::new();
    for copy in idle {
        if free >= needed {
            break;
        }
        let bytes = copy.in_memory.and_then(|memory| memory.bytes).unwrap_or(0);
        free = free.saturating_add(bytes);
        going.push((copy.key.clone(), Arc::clone(&copy.name), bytes));
    }
    if free < needed {
        return false;
    }
    let name = Arc::clone(&found.name);
    for (key, model, bytes) in going {
        let because = Because {
            why: format!("it is unused, and {} needs its room", desired.name),
            effect: format!("{name} has room for {}", desired.name),
            bytes: Some(bytes),
        };
        let place = (node, Arc::clone(&name));
        planner.act(ActionKind::Unload, (desired, &key, model), place, because);
    }
    true
}

fn unload_surplus(planner: &mut Planner, desired: &Desired) {
    let wanted = planner.view.wanted_loaded(desired) as usize;
    loop {
        let view = &planner.view;
        let held: Vec<(NodeId, Arc<str>, &Copy)> = view
            .nodes
            .iter()
            .filter(|node| view.is_usable(node))
            .filter_map(|node| {
                Some((
                    node.id,
                    Arc::clone(&node.name),
                    node.find_copy(&desired.key)?,
                ))
            })
            // What is not told to stay goes by itself.
            .filter(|(.., copy)| copy.in_memory.is_some_and(|memory| memory.stays))
            .collect();
        let present = held.len();
        if present <= wanted {
            return;
        }
        let may_go = held
            .into_iter()
            .filter(|(id, ..)| view.forbids(Removal::Memory, *id, &desired.key).is_none())
            .min_by_key(|(_, name, copy)| (copy.last_used, Reverse(name.clone())));
        let Some((id, name, copy)) = may_go else {
            return;
        };
        let because = Because {
            why: format!("{present} nodes have it in memory, and the demand asks for {wanted}"),
            effect: format!("{name} has its memory free again"),
            bytes: copy.in_memory.and_then(|memory| memory.bytes),
        };
        let model = Arc::clone(&copy.name);
        let what = (desired, desired.key.as_str(), model);
        planner.act(ActionKind::Unload, what, (id, name), because);
    }
}

/// Returns since when a copy is unused; `None` when nobody knows.
fn unused_since(copy: &Copy) -> Option<Timestamp> {
    copy.last_used.max(copy.modified_at)
}

fn delete_unused(planner: &mut Planner, desired: &Desired) {
    let Some(retention) = desired.retention else {
        return;
    };
    let candidates = |view: &FleetView| -> Vec<(NodeId, Timestamp)> {
        let mut found: Vec<(NodeId, Timestamp)> = view
            .nodes
            .iter()
            .filter_map(|node| {
                let copy = node.find_copy(&desired.key)?;
                let since = unused_since(copy)?;
                (view.now.since(since) >= retention).then_some((node.id, since))
            })
            .collect();
        found.sort_by_key(|(id, since)| (*since, *id));
        found
    };
    for (id, since) in candidates(&planner.view) {
        let view = &planner.view;
        let in_memory = match view.forbids(Removal::Files, id, &desired.key) {
            None => false,
            // From memory first; then the files may go.
            Some(Forbidden::InMemory) => {
                if view.forbids(Removal::Memory, id, &desired.key).is_some() {
                    continue;
                }
                true
            }
            Some(_) => continue,
        };
        let Some(node) = view.find_node(id) else {
            continue;
        };
        let Some(copy) = node.find_copy(&desired.key) else {
            continue;
        };
        let (name, model, size) = (
            Arc::clone(&node.name),
            Arc::clone(&copy.name),
            copy.size_bytes,
        );
        let held = copy.in_memory.and_then(|memory| memory.bytes);
        let days = view.now.since(since).as_secs() / 86_400;
        let what = || (desired, desired.key.as_str(), Arc::clone(&model));
        if in_memory {
            let because = Because {
                why: "its files are to be deleted there".to_owned(),
                effect: format!("{name} has its memory free again"),
                bytes: held,
            };
            let place = (id, Arc::clone(&name));
            planner.act(ActionKind::Unload, what(), place, because);
        }
        let because = Because {
            why: format!("more copies than wanted, and this one is unused for {days} days"),
            effect: format!("{name} has the room on its disk again"),
            bytes: size,
        };
        planner.act(ActionKind::Delete, what(), (id, name), because);
    }
}
