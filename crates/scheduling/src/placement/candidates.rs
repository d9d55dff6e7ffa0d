//! Which node gets a model, and what stands in the way of the others.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::desired::Desired;
use super::view::{FleetView, Node, Standing};

/// Part of a disk that stays free, in percent of what is put there.
const DISK_MARGIN_PERCENT: u64 = 10;

/// Whether a model fits into a node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It does, beside what is there.
    Free,
    /// Nobody knows how much memory there is, or how much it needs.
    Unknown,
    /// It does when others go.
    Crowded,
    /// It does not.
    TooSmall,
}

/// Judges whether a model fits.
pub(super) fn fit(view: &FleetView, desired: &Desired, node: &Node) -> Fit {
    let Some(needed) = view.needed_bytes(&desired.key, desired.context) else {
        return Fit::Unknown;
    };
    if node.memory_bytes.is_some_and(|total| needed > total) {
        return Fit::TooSmall;
    }
    match node.free_bytes() {
        Some(free) if needed <= free => Fit::Free,
        Some(_) => Fit::Crowded,
        None => Fit::Unknown,
    }
}

/// Why a node cannot get a model's files.
fn obstacle(view: &FleetView, desired: &Desired, node: &Node) -> Option<&'static str> {
    if !node.suits(desired) {
        return Some("not of the wanted tags, region or GPU memory");
    }
    if let Some(obstacle) = standing_obstacle(view, desired, node) {
        return Some(obstacle);
    }
    let room = view.weights_bytes(&desired.key).unwrap_or(0);
    let room = room.saturating_add(room / 100 * DISK_MARGIN_PERCENT);
    if node.disk_free_bytes.is_some_and(|free| free < room) {
        return Some("no room on the disk");
    }
    (fit(view, desired, node) == Fit::TooSmall).then_some("too little memory")
}

/// Why a node cannot be told to do something with a model.
pub(super) fn standing_obstacle(
    view: &FleetView,
    desired: &Desired,
    node: &Node,
) -> Option<&'static str> {
    match node.standing {
        Standing::Draining => return Some("draining"),
        Standing::Unreachable => return Some("not answering"),
        Standing::Fixed => return Some("without commands about models"),
        Standing::Usable if !view.is_fresh(node) => return Some("not heard of lately"),
        Standing::Usable => {}
    }
    let again = node.failing.get(&desired.key)?;
    (view.now < *again).then_some("waiting after a failure")
}

/// Chooses the node that gets a model's files: where it fits without others going, with the most free memory, then the most free disk.
///
/// # Errors
/// What stands in the way, in words.
pub(super) fn for_files<'v>(view: &'v FleetView, desired: &Desired) -> Result<&'v Node, String> {
    let without = view.nodes.iter().filter(|node| {
        let has_it = node.find_copy(&desired.key).is_some();
        !has_it
    });
    let (mut free, mut obstacles) = (Vec::new(), Vec::new());
    for node in without {
        match obstacle(view, desired, node) {
            Some(obstacle) => obstacles.push(obstacle),
            None => free.push(node),
        }
    }
    free.into_iter()
        .min_by_key(|node| {
            (
                fit(view, desired, node),
                Reverse(node.free_bytes()),
                Reverse(node.disk_free_bytes),
                node.name.clone(),
            )
        })
        .ok_or_else(|| told(&obstacles))
}

/// Tells what stands in the way of a pinned node.
pub(super) fn for_pinned(view: &FleetView, desired: &Desired, node: &Node) -> Option<&'static str> {
    obstacle(view, desired, node)
}

/// Lists the nodes that could have a model in memory, the best first: those that have it there already, then as in [`for_files`].
pub(super) fn for_memory<'v>(view: &'v FleetView, desired: &Desired) -> Vec<(&'v Node, Fit)> {
    let mut found: Vec<(&Node, Fit)> = view
        .nodes
        .iter()
        .filter(|node| {
            node.suits(desired)
                && node.has(&desired.key)
                && standing_obstacle(view, desired, node).is_none()
                && !must_end_first(view, desired, node)
        })
        .map(|node| {
            let is_there = node
                .find_copy(&desired.key)
                .is_some_and(|copy| copy.in_memory.is_some());
            let fit = if is_there {
                Fit::Free
            } else {
                fit(view, desired, node)
            };
            (node, fit)
        })
        .filter(|(_, fit)| *fit != Fit::TooSmall)
        .collect();
    found.sort_by_key(|(node, fit)| {
        let is_there = node
            .find_copy(&desired.key)
            .is_some_and(|copy| copy.in_memory.is_some());
        (
            !desired.pins(node.id),
            !is_there,
            *fit,
            Reverse(node.free_bytes()),
            node.name.clone(),
        )
    });
    found
}

/// Tells whether loading a model would interrupt what runs on it: it would have to be loaded anew for a larger context.
fn must_end_first(view: &FleetView, desired: &Desired, node: &Node) -> bool {
    node.find_copy(&desired.key).is_some_and(|copy| {
        let wanted = view.wanted_context(desired);
        let fits = copy
            .in_memory
            .is_none_or(|memory| memory.has_context(wanted));
        copy.in_use && !fits
    })
}

/// Counts obstacles, in words.
fn told(obstacles: &[&'static str]) -> String {
    if obstacles.is_empty() {
        return "no other node is there".to_owned();
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for obstacle in obstacles {
        *counts.entry(obstacle).or_default() += 1;
    }
    let told: Vec<String> = counts
        .iter()
        .map(|(obstacle, count)| match count {
            1 => format!("one node is {obstacle}"),
            count => format!("{count} nodes are {obstacle}"),
        })
        .collect();
    told.join(", ")
        .replace("is no room", "has no room")
        .replace("are no room", "have no room")
        .replace("is too little", "has too little")
        .replace("are too little", "have too little")
}
