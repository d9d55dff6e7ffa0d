//! The fleet in the planner's words.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ::store::StoreError;
use primitives::{NodeId, Timestamp};
use scheduling::Health;
use scheduling::placement::{Copy, DemandState, FleetView, InMemory, ModelFacts, Node, Standing};

use super::Placement;
use super::action::{CALLED_OFF, Status, Stored, wait_after};
use super::policy::Policy;
use super::store::{self, ModelUse};
use crate::model::{ModelView, NodeKind, NodeView};
use crate::name::model_key;

/// Failures older than this are forgotten.
const FAILURES_COUNT_FOR: Duration = Duration::from_hours(24);
/// A model that is to go from memory only in a year or later stays until it is told to go.
const FOR_GOOD: Duration = Duration::from_hours(365 * 24);

/// What is stored of placement at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Stock {
    pub(super) policies: Vec<Policy>,
    pub(super) open: Vec<Stored>,
    pub(super) ended: Vec<Stored>,
    pub(super) uses: Arc<Vec<ModelUse>>,
    pub(super) demand: BTreeMap<String, DemandState>,
}

/// A model at a node, with how often it failed there since its last success, and when it did last.
pub(super) type Failures<'s> = HashMap<(NodeId, &'s str), (u32, Timestamp)>;

impl Stock {
    /// Gathers what failed. Whoever says anew what is wanted of a model wants it tried again: what was before is forgotten.
    pub(super) fn failures(&self) -> Failures<'_> {
        let changed: HashMap<&str, Timestamp> = self
            .policies
            .iter()
            .map(|policy| (policy.key.as_str(), policy.updated_at))
            .collect();
        let (mut failures, mut settled) = (Failures::new(), HashSet::new());
        // The last ones come first.
        for stored in &self.ended {
            let place = (stored.action.node, stored.action.key.as_str());
            let is_old = changed
                .get(place.1)
                .is_some_and(|changed| stored.created_at < *changed);
            if is_old || settled.contains(&place) {
                continue;
            }
            match (stored.status, stored.ended_at) {
                (Status::Failed, Some(at)) => {
                    failures.entry(place).or_insert((0, at)).0 += 1;
                }
                (Status::Done, _) => {
                    settled.insert(place);
                }
                _ => {}
            }
        }
        failures
    }

    /// Gathers which nodes are left alone with which models for now: after failures, and for a while after something was not done because
    /// it was not to be done any more.
    pub(super) fn holds(&self) -> HashMap<(NodeId, &str), Timestamp> {
        let mut holds: HashMap<(NodeId, &str), Timestamp> = self
            .failures()
            .into_iter()
            .map(|(place, (count, last))| (place, last.after(wait_after(count))))
            .collect();
        let dropped = self.ended.iter().filter(|stored| {
            let by_person = stored.error.as_deref() == Some(CALLED_OFF);
            stored.status == Status::Cancelled && stored.started_at.is_some() && !by_person
        });
        for stored in dropped {
            let place = (stored.action.node, stored.action.key.as_str());
            if let Some(at) = stored.ended_at {
                let until = holds.entry(place).or_insert(at);
                *until = (*until).max(at.after(wait_after(1)));
            }
        }
        holds
    }
}

impl Placement {
    /// Reads what is stored. Uses are read unless some are given.
    pub(super) async fn read_stock(
        &self,
        uses: Option<Arc<Vec<ModelUse>>>,
    ) -> Result<Stock, StoreError> {
        let now = self.clock().now();
        let mut tx = self.db().read().await?;
        let uses = match uses {
            Some(uses) => uses,
            None => Arc::new(store::list_uses(&mut tx).await?),
        };
        let stock = Stock {
            policies: store::list_policies(&mut tx).await?,
            open: store::list_open(&mut tx).await?,
            ended: store::list_ended(&mut tx, now.before(FAILURES_COUNT_FOR)).await?,
            uses,
            demand: store::list_demand(&mut tx).await?.into_iter().collect(),
        };
        tx.commit().await?;
        Ok(stock)
    }

    /// Makes the view of the fleet as it is, without what is under way.
    pub(super) fn fleet_view(&self, stock: &Stock) -> FleetView {
        let (now, config) = (self.clock().now(), &self.inner.config);
        let last_used: HashMap<(&str, NodeId), Timestamp> = stock
            .uses
            .iter()
            .map(|used| ((used.model.as_str(), used.node), used.last_used_at))
            .collect();
        let snapshot = self.registry().snapshot();
        let holds = stock.holds();
        let mut facts = BTreeMap::new();
        let nodes = snapshot.nodes.iter().map(|view| {
            let used = |key: &str| {
                let stored = last_used.get(&(key, view.id)).copied();
                stored.max(self.last_use_here(key, view.id))
            };
            for model in &*view.models {
                add_facts(&mut facts, model);
            }
            let mut node = plain_node(view);
            node.copies = copies(view, &view.models, now, used);
            for policy in &stock.policies {
                if let Some(until) = holds.get(&(view.id, policy.key.as_str())) {
                    node.failing.insert(policy.key.clone(), *until);
                }
            }
            node
        });
        FleetView {
            now,
            fresh_for: config.fresh_for,
            absent_for: config.absent_for,
            quiet_for: config.quiet_for,
            nodes: nodes.collect(),
            desired: stock.policies.iter().map(Policy::desired).collect(),
            facts,
            extra: stock
                .demand
                .iter()
                .map(|(model, state)| (model.clone(), state.extra))
                .collect(),
        }
    }

    /// Makes the view with one node as it says that it is at this moment.
    pub(super) fn view_with(
        &self,
        stock: &Stock,
        node: &NodeView,
        models: &[ModelView],
    ) -> FleetView {
        let mut view = self.fleet_view(stock);
        let now = view.now;
        if let Some(found) = view.nodes.iter_mut().find(|other| other.id == node.id) {
            let used: HashMap<String, Option<Timestamp>> = found
                .copies
                .iter()
                .map(|copy| (copy.key.clone(), copy.last_used))
                .collect();
            found.seen_at = Some(now);
            found.copies = copies(node, models, now, |key| used.get(key).copied().flatten());
        }
        view
    }
}

/// Tells whether a node's server knows the commands about models.
pub(super) fn is_managed(view: &NodeView) -> bool {
    view.kind == NodeKind::Ollama
}

fn plain_node(view: &NodeView) -> Node {
    let status = view
        .agent
        .as_ref()
        .and_then(|seat| seat.link())
        .and_then(|link| link.status());
    let status = status.as_deref();
    let gpu = |read: fn(&agent_proto::v1::Gpu) -> Option<u64>| -> Option<u64> {
        let gpus = &status?.gpus;
        if gpus.is_empty() {
            return None;
        }
        gpus.iter().map(read).sum()
    };
    let gpu_total = gpu(|gpu| gpu.memory_total_bytes);
    let gpu_used = gpu(|gpu| gpu.memory_used_bytes);
    let machine = status
        .and_then(|status| status.memory)
        .filter(|memory| memory.total_bytes > 0);
    let (total, free) = match gpu_total {
        Some(total) => (Some(total), gpu_used.map(|used| total.saturating_sub(used))),
        None => (
            machine.map(|memory| memory.total_bytes),
            machine.map(|memory| memory.available_bytes),
        ),
    };
    Node {
        id: view.id,
        name: Arc::clone(&view.name),
        tags: view.tags.to_vec(),
        region: view.region.as_deref().map(str::to_owned),
        standing: match view.health {
            _ if !is_managed(view) => Standing::Fixed,
            _ if view.draining => Standing::Draining,
            Health::Dead => Standing::Unreachable,
            _ => Standing::Usable,
        },
        seen_at: view.last_seen(),
        gpu_bytes: gpu_total,
        memory_bytes: total,
        memory_free_bytes: free,
        // Which disk the models are on is not told: the roomiest one.
        disk_free_bytes: status
            .and_then(|status| status.disks.iter().map(|disk| disk.available_bytes).max()),
        shares_files: status
            .and_then(|status| status.sharing.as_ref())
            .is_some_and(|sharing| !sharing.addresses.is_empty()),
        copies: Vec::new(),
        failing: BTreeMap::new(),
    }
}

fn copies(
    node: &NodeView,
    models: &[ModelView],
    now: Timestamp,
    last_used: impl Fn(&str) -> Option<Timestamp>,
) -> Vec<Copy> {
    // Which model a call runs on is not counted for each node: while any runs, all in memory count as in use.
    let busy = node.activity.in_flight() > 0;
    models
        .iter()
        .map(|model| {
            let key = model_key(&model.name).into_owned();
            let last_used = last_used(&key);
            Copy {
                name: Arc::clone(&model.name),
                digest: model.digest.clone(),
                size_bytes: model.size_bytes,
                modified_at: model.modified_at,
                in_memory: model.loaded.map(|loaded| InMemory {
                    bytes: loaded
                        .vram_bytes
                        .filter(|bytes| *bytes > 0)
                        .or(loaded.size_bytes),
                    context: loaded.context,
                    stays: loaded
                        .expires_at
                        .is_none_or(|expires| expires > now.after(FOR_GOOD)),
                }),
                in_use: busy && model.loaded.is_some(),
                last_used,
                arriving: false,
                key,
            }
        })
        .collect()
}

fn add_facts(facts: &mut BTreeMap<String, ModelFacts>, model: &ModelView) {
    let known = facts
        .entry(model_key(&model.name).into_owned())
        .or_default();
    known.weights_bytes = known.weights_bytes.max(model.size_bytes);
    known.max_context = known.max_context.max(model.context_length);
    if known.shape.is_none() {
        known.shape = model.shape.as_deref().cloned();
    }
}
