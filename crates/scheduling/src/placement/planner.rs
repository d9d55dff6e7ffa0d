//! Makes the plan: for one model after the other, first where its files should be, then where it should be in memory, then what may go.

use std::sync::Arc;

use primitives::NodeId;

use super::candidates::{self, Fit};
use super::desired::{Desired, Mode};
use super::drift::{self, Drift};
use super::guard::Removal;
use super::plan::{Action, ActionKind, Plan, Unmet};
use super::removal;
use super::view::{FleetView, Node};

/// The most actions of a plan; what is left follows when these are done.
const MAX_ACTIONS: usize = 1_000;

/// The most times that the whole is gone through: what one model gives up, another may need.
const MOST_ROUNDS: usize = 16;

/// Plans what brings the fleet from what it is to what is wanted of it.
pub fn plan(view: &FleetView) -> Plan {
    let mut planner = Planner {
        view: view.clone(),
        plan: Plan::default(),
    };
    let mut desired: Vec<&Desired> = view
        .desired
        .iter()
        .filter(|desired| desired.mode != Mode::Off)
        .collect();
    desired.sort_by(|a, b| a.key.cmp(&b.key));
    for _ in 0..MOST_ROUNDS {
        let before = planner.plan.actions.len();
        // What is missing in the end counts.
        planner.plan.unmet.clear();
        planner.go_through(&desired);
        let added = planner.plan.actions.len() - before;
        if added == 0 || planner.plan.actions.len() >= MAX_ACTIONS {
            break;
        }
    }
    let mut plan = planner.plan;
    plan.actions.truncate(MAX_ACTIONS);
    plan.drift = drift::find(view);
    plan
}

/// A plan in the making, with the fleet as it would be.
pub(super) struct Planner {
    pub(super) view: FleetView,
    pub(super) plan: Plan,
}

/// What an action is about, beside what and where.
pub(super) struct Because {
    pub(super) why: String,
    pub(super) effect: String,
    pub(super) bytes: Option<u64>,
}

impl Planner {
    fn go_through(&mut self, desired: &[&Desired]) {
        let drift = drift::find(&self.view);
        for desired in desired {
            if let Some(apart) = drift.iter().find(|drift| drift.key == desired.key) {
                self.repair(desired, apart);
            }
            self.place_files(desired);
        }
        for desired in desired {
            self.load(desired);
        }
        for desired in desired {
            removal::plan(self, desired);
        }
    }

    /// Adds an action and goes on as if it were done.
    pub(super) fn act(
        &mut self,
        kind: ActionKind,
        (desired, key, model): (&Desired, &str, Arc<str>),
        node: (NodeId, Arc<str>),
        because: Because,
    ) {
        let action = Action {
            kind,
            key: key.to_owned(),
            model,
            node: node.0,
            node_name: node.1,
            from: None,
            context: None,
            cause: desired.key.clone(),
            mode: desired.mode,
            why: because.why,
            bytes: because.bytes,
            effect: because.effect,
        };
        self.push(action);
    }

    fn push(&mut self, action: Action) {
        self.view.apply(&action, false);
        self.plan.actions.push(action);
    }

    fn miss(&mut self, desired: &Desired, reason: String) {
        self.plan.unmet.push(Unmet {
            key: desired.key.clone(),
            reason,
        });
    }

    /// Fetches a model's files, from another node where both can.
    fn fetch(&mut self, desired: &Desired, node: NodeId, why: String, effect: String) {
        let Some(node) = self.view.find_node(node) else {
            return;
        };
        let right = drift::right_digest(&self.view, &desired.key);
        let source = self.view.nodes.iter().find(|other| {
            let has_them = other
                .find_copy(&desired.key)
                .is_some_and(|copy| !copy.arriving && right.is_some() && copy.digest == right);
            other.shares_files && self.view.is_usable(other) && other.id != node.id && has_them
        });
        let from = source.filter(|_| node.shares_files).map(|source| source.id);
        let action = Action {
            kind: if from.is_some() {
                ActionKind::Copy
            } else {
                ActionKind::Pull
            },
            key: desired.key.clone(),
            model: spelled(desired, node),
            node: node.id,
            node_name: Arc::clone(&node.name),
            from,
            context: None,
            cause: desired.key.clone(),
            mode: desired.mode,
            why,
            bytes: self.view.weights_bytes(&desired.key),
            effect,
        };
        self.push(action);
    }

    /// Has the right files fetched where others are.
    fn repair(&mut self, desired: &Desired, drift: &Drift) {
        let Some(right) = drift.sides.first() else {
            return;
        };
        let digest: String = right.digest.chars().take(12).collect();
        for side in drift.sides.iter().skip(1) {
            for id in &side.nodes {
                let Some(node) = self.view.find_node(*id) else {
                    continue;
                };
                let forbidden = self.view.forbids(Removal::Replacement, *id, &desired.key);
                let obstacle = candidates::standing_obstacle(&self.view, desired, node);
                let name = Arc::clone(&node.name);
                let obstacle = forbidden
                    .map(|forbidden| forbidden.to_string())
                    .or(obstacle.map(|obstacle| format!("the node is {obstacle}")));
                if let Some(obstacle) = obstacle {
                    self.miss(
                        desired,
                        format!("{name} has other files, and they stay for now: {obstacle}"),
                    );
                    continue;
                }
                self.fetch(
                    desired,
                    *id,
                    format!("its files differ from those fetched last, {digest}"),
                    format!("{name} has the files that fetching gives today"),
                );
            }
        }
    }

    fn place_files(&mut self, desired: &Desired) {
        let key = desired.key.as_str();
        for id in &desired.pinned {
            let Some(node) = self.view.find_node(*id) else {
                self.miss(
                    desired,
                    format!("it is pinned to {id}, and there is no such node"),
                );
                continue;
            };
            if node.find_copy(key).is_some() {
                continue;
            }
            let name = Arc::clone(&node.name);
            if let Some(obstacle) = candidates::for_pinned(&self.view, desired, node) {
                let reason =
                    format!("it is pinned to {name}, and there the obstacle is: {obstacle}");
                self.miss(desired, reason);
                continue;
            }
            let effect = format!("{name} has it on disk");
            self.fetch(desired, *id, "it is pinned to the node".to_owned(), effect);
        }
        let wanted = desired.on_disk_with(self.view.wanted_loaded(desired)) as usize;
        loop {
            let holders = self.view.nodes.iter().filter(|node| {
                node.suits(desired)
                    && self.view.counts_files_of(node)
                    && node.find_copy(key).is_some()
            });
            let present = holders.count();
            if present >= wanted || self.plan.actions.len() >= MAX_ACTIONS {
                return;
            }
            match candidates::for_files(&self.view, desired) {
                Ok(node) => {
                    let (id, name) = (node.id, Arc::clone(&node.name));
                    let why = format!(
                        "{present} of {wanted} wanted copies are there, and {name} {}",
                        match candidates::fit(&self.view, desired, node) {
                            Fit::Free => "has memory free for it",
                            Fit::Unknown => "does not tell its memory",
                            Fit::Crowded | Fit::TooSmall => "can make room for it",
                        }
                    );
                    let effect = format!("{} of {wanted} copies on disk", present + 1);
                    self.fetch(desired, id, why, effect);
                }
                Err(obstacles) => {
                    let reason = format!("{present} of {wanted} copies on disk: {obstacles}");
                    return self.miss(desired, reason);
                }
            }
        }
    }

    fn load(&mut self, desired: &Desired) {
        let key = desired.key.as_str();
        let wanted = self.view.wanted_loaded(desired) as usize;
        loop {
            let held = self.view.nodes.iter().filter(|node| {
                node.suits(desired) && self.view.is_usable(node) && self.view.is_kept(node, desired)
            });
            let warm_missing = desired.keep_warm
                && desired.pinned.iter().any(|id| {
                    self.view.find_node(*id).is_some_and(|node| {
                        self.view.is_usable(node)
                            && node.has(key)
                            && !self.view.is_kept(node, desired)
                    })
                });
            let present = held.count();
            if (present >= wanted && !warm_missing) || self.plan.actions.len() >= MAX_ACTIONS {
                return;
            }
            if !self.load_one(desired, present, wanted) {
                return;
            }
        }
    }

    /// Plans one load. Returns whether there may be more.
    fn load_one(&mut self, desired: &Desired, present: usize, wanted: usize) -> bool {
        let key = desired.key.as_str();
        let found = candidates::for_memory(&self.view, desired);
        let only_pinned = present >= wanted;
        let free: Vec<(NodeId, Fit)> = found
            .iter()
            .filter(|(node, _)| {
                !self.view.is_kept(node, desired) && (desired.pins(node.id) || !only_pinned)
            })
            .map(|(node, fit)| (node.id, *fit))
            .collect();
        for (id, fit) in free {
            if fit == Fit::Crowded && !removal::make_room(self, desired, id) {
                continue;
            }
            let needed = self.view.needed_bytes(key, desired.context);
            let Some(node) = self.view.find_node(id) else {
                continue;
            };
            let there = node.find_copy(key).and_then(|copy| copy.in_memory);
            let name = Arc::clone(&node.name);
            let why = match (there, fit) {
                (Some(_), _) => format!("it is in the memory of {name} and would go when unused"),
                (None, Fit::Unknown) => format!(
                    "{present} of {wanted} wanted nodes have it in memory; whether {name} has room is not known"
                ),
                (None, _) => format!(
                    "{present} of {wanted} wanted nodes have it in memory, and {name} has room"
                ),
            };
            let action = Action {
                kind: ActionKind::Load,
                key: desired.key.clone(),
                model: spelled(desired, node),
                node: id,
                node_name: Arc::clone(&name),
                from: None,
                context: self
                    .view
                    .wanted_context(desired)
                    .max(there.and_then(|memory| memory.context)),
                cause: desired.key.clone(),
                mode: desired.mode,
                why,
                bytes: needed,
                effect: format!("{name} answers without loading it first"),
            };
            self.push(action);
            return true;
        }
        let waits = self
            .view
            .nodes
            .iter()
            .filter_map(|node| node.find_copy(key))
            .any(|copy| copy.arriving);
        // Files on their way are loaded when they are there.
        if present < wanted && !waits {
            self.miss(
                desired,
                format!("{present} of {wanted} nodes have it in memory: no other node that has its files has, or can make, the room"),
            );
        }
        false
    }
}

/// Returns the name by which a node knows a model, or will.
fn spelled(desired: &Desired, node: &Node) -> Arc<str> {
    match node.find_copy(&desired.key) {
        Some(copy) => Arc::clone(&copy.name),
        None => desired.name.as_str().into(),
    }
}
