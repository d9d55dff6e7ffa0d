//! The reconciler: looks at the fleet again and again, in one process of all, and brings it nearer to what is wanted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ::store::StoreError;
use primitives::{Classify as _, JobId, Timestamp};
use scheduling::placement::{FleetView, Mode, ModelDemand, Plan, plan};
use tokio_util::sync::CancellationToken;

use super::action::{Origin, Status, Stored};
use super::look::Stock;
use super::store::{self, MAX_OPEN, ModelUse};
use super::{Placement, Reconciler, replica_notes};

/// Uses are stored and read at every third look, and after this time at the latest.
const USES_EVERY: (u32, Duration) = (3, Duration::from_secs(15));
/// The duty is believed to be held for so long after it was last confirmed; less than its lease.
const HELD_FOR: Duration = Duration::from_secs(12);
/// An action that waits for longer is not done any more.
const WAITS_AT_MOST: Duration = Duration::from_hours(24);
/// The time between two cleanings.
const CLEAN_EVERY: Duration = Duration::from_mins(10);
/// Uses are forgotten after this time: longer than the longest retention.
const USES_KEPT: Duration = Duration::from_hours(24 * 3_660);

/// What the loop remembers from one look to the next.
#[derive(Default)]
struct Memory {
    uses: Arc<Vec<ModelUse>>,
    uses_at: Option<Timestamp>,
    held_at: Option<Timestamp>,
    cleaned_at: Option<Timestamp>,
}

impl Placement {
    /// Looks at the fleet and does what is due, until `stop`. What is under way then is cut, and done again by whoever has the duty next.
    pub async fn keep(self, stop: CancellationToken) {
        let mut memory = Memory::default();
        loop {
            let looked = tokio::select! {
                () = stop.cancelled() => break,
                looked = self.look(&mut memory) => looked,
            };
            let problem = looked.err().map(|error| error.public_message());
            {
                let mut state = self.inner.state.lock();
                if state.problem != problem
                    && let Some(problem) = &problem
                {
                    tracing::warn!(problem, "placement cannot look at the fleet");
                }
                state.problem = problem;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.inner.bell.notified() => {}
                () = tokio::time::sleep(self.inner.config.interval) => {}
            }
        }
        self.cut(None);
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    async fn look(&self, memory: &mut Memory) -> Result<(), StoreError> {
        let now = self.clock().now();
        let due = |at: Option<Timestamp>, every| at.is_none_or(|at| now.since(at) >= every);
        let (looks, at_most) = USES_EVERY;
        let uses_every = self
            .inner
            .config
            .interval
            .saturating_mul(looks)
            .min(at_most);
        if due(memory.uses_at, uses_every) {
            self.store_uses().await?;
            let mut tx = self.db().read().await?;
            memory.uses = Arc::new(store::list_uses(&mut tx).await?);
            tx.commit().await?;
            memory.uses_at = Some(now);
        }
        let stock = self.read_stock(Some(Arc::clone(&memory.uses))).await?;
        replica_notes::publish(self.registry(), &stock);
        // Where nothing is wanted nobody needs the duty.
        if stock.policies.is_empty() && stock.open.is_empty() {
            self.note(None, now);
            return Ok(());
        }
        let term = match (self.inner.deps.duty)().await {
            Ok(term) => term,
            Err(error) => {
                if due(memory.held_at, HELD_FOR) {
                    self.cut(None);
                }
                return Err(error);
            }
        };
        let Some(term) = term else {
            self.cut(None);
            self.note(None, now);
            return Ok(());
        };
        memory.held_at = Some(now);
        self.reconcile(stock, term, memory).await?;
        self.note(Some(term), now);
        Ok(())
    }

    fn note(&self, term: Option<u64>, now: Timestamp) {
        *self.inner.state.lock() = Reconciler {
            term,
            looked_at: Some(now),
            problem: None,
        };
    }

    async fn reconcile(
        &self,
        mut stock: Stock,
        term: u64,
        memory: &mut Memory,
    ) -> Result<(), StoreError> {
        self.take_back(&mut stock).await?;
        self.call_off(&mut stock).await?;
        let mut view = self.fleet_view(&stock);
        self.follow_demand(&mut stock, &mut view).await?;
        let made = plan_beside(view, &stock);
        self.inner.figures.planned(&made, &stock.open);
        if self.enqueue_auto(&made, &stock).await? {
            let mut tx = self.db().read().await?;
            stock.open = store::list_open(&mut tx).await?;
            tx.commit().await?;
        }
        self.begin_due(&stock.open, term).await?;
        let now = self.clock().now();
        if memory
            .cleaned_at
            .is_none_or(|at| now.since(at) >= CLEAN_EVERY)
        {
            let mut tx = self.db().write().await?;
            let kept = self.inner.config.retention;
            store::forget_actions(&mut tx, now.before(kept)).await?;
            store::forget_uses(&mut tx, now.before(USES_KEPT)).await?;
            tx.commit().await?;
            memory.cleaned_at = Some(now);
        }
        Ok(())
    }

    /// Makes actions wait again that are under way for nobody: their process is gone, or has lost the duty.
    async fn take_back(&self, stock: &mut Stock) -> Result<(), StoreError> {
        let ours: HashSet<JobId> = self.inner.running.lock().keys().copied().collect();
        let lost = |stored: &Stored| stored.status == Status::Running && !ours.contains(&stored.id);
        if !stock.open.iter().any(lost) {
            return Ok(());
        }
        let mut tx = self.db().write().await?;
        for stored in stock.open.iter_mut().filter(|stored| lost(stored)) {
            store::requeue_action(&mut tx, stored.id).await?;
            stored.status = Status::Queued;
            tracing::info!(action = %stored.id, "placement action is taken over");
        }
        tx.commit().await
    }

    /// Calls off what waits and is not wanted any more.
    async fn call_off(&self, stock: &mut Stock) -> Result<(), StoreError> {
        let now = self.clock().now();
        let policies = &stock.policies;
        let why = |stored: &Stored| -> Option<&'static str> {
            if stored.status != Status::Queued {
                return None;
            }
            if now.since(stored.created_at) > WAITS_AT_MOST {
                return Some("it waited for a day");
            }
            let mode = policies
                .iter()
                .find(|policy| policy.key == stored.action.cause)
                .map(|policy| policy.mode);
            match (stored.origin, mode) {
                (_, None | Some(Mode::Off)) => Some("nothing is wanted of the model any more"),
                (Origin::Auto, Some(Mode::Suggest)) => Some("the model's mode is suggest now"),
                _ => None,
            }
        };
        let off: Vec<(JobId, &'static str)> = stock
            .open
            .iter()
            .filter_map(|stored| Some((stored.id, why(stored)?)))
            .collect();
        if off.is_empty() {
            return Ok(());
        }
        let mut tx = self.db().write().await?;
        for (id, why) in &off {
            store::cancel_action(&mut tx, *id, why, now).await?;
        }
        tx.commit().await?;
        stock
            .open
            .retain(|stored| !off.iter().any(|(id, _)| *id == stored.id));
        Ok(())
    }

    /// Looks at the demand, and remembers what changed of it.
    async fn follow_demand(
        &self,
        stock: &mut Stock,
        view: &mut FleetView,
    ) -> Result<(), StoreError> {
        let calls = self.calls(&stock.uses, view.now);
        let mut changed = Vec::new();
        for desired in view.desired.clone() {
            let Some(most) = desired.max_loaded else {
                continue;
            };
            let before = stock.demand.get(&desired.key).copied().unwrap_or_default();
            let holders = view.nodes.iter().filter(|node| {
                let copy = node.find_copy(&desired.key);
                view.is_usable(node) && copy.is_some_and(|copy| copy.in_memory.is_some())
            });
            let demand = ModelDemand {
                calls: calls.get(&desired.key).copied().unwrap_or(0.0),
                loaded: u32::try_from(holders.count()).unwrap_or(u32::MAX),
            };
            let bounds = (desired.loaded_with(0), most);
            let after = before.after(demand, bounds, &self.inner.config.demand, view.now);
            if after != before {
                view.extra.insert(desired.key.clone(), after.extra);
                stock.demand.insert(desired.key.clone(), after);
                changed.push((desired.key, after));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let mut tx = self.db().write_with(::store::Durability::Relaxed).await?;
        for (model, state) in &changed {
            store::put_demand(&mut tx, model, state).await?;
        }
        tx.commit().await
    }

    /// Queues what may be done without asking. Returns whether there was anything.
    async fn enqueue_auto(&self, made: &Plan, stock: &Stock) -> Result<bool, StoreError> {
        let room = (MAX_OPEN as usize).saturating_sub(stock.open.len());
        let now = self.clock().now();
        let (failures, holds) = (stock.failures(), stock.holds());
        let mut left_alone = HashSet::new();
        let mut fresh = Vec::new();
        let auto = made
            .actions
            .iter()
            .filter(|action| action.mode == Mode::Auto);
        for action in auto.take(room) {
            let place = (action.node, action.key.as_str());
            let is_held = holds.get(&place).is_some_and(|until| now < *until);
            // What comes after it at the node may build on it.
            if is_held || left_alone.contains(&action.node) {
                left_alone.insert(action.node);
                continue;
            }
            let failed = failures.get(&place).map_or(0, |(count, _)| *count);
            let stored = Stored::queued(action.clone(), Origin::Auto, failed + 1, now);
            fresh.push(stored);
        }
        if fresh.is_empty() {
            return Ok(false);
        }
        let mut tx = self.db().write().await?;
        for stored in in_order(fresh) {
            store::insert_action(&mut tx, &stored).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Makes the plan of this moment, beside what is under way.
    pub(super) async fn plan_now(&self) -> Result<(Plan, Stock), StoreError> {
        let stock = self.read_stock(None).await?;
        let view = self.fleet_view(&stock);
        let made = plan_beside(view, &stock);
        Ok((made, stock))
    }
}

/// What was done is seen at the next probe that begins after it: a probe takes this long at most, as a rule.
const SEEN_AFTER: Duration = Duration::from_secs(1);

/// Plans what is to be done beside what waits and is under way, and what was done since the nodes were last looked at.
fn plan_beside(mut view: FleetView, stock: &Stock) -> Plan {
    for stored in stock.ended.iter().rev() {
        let seen = view
            .find_node(stored.action.node)
            .and_then(|node| node.seen_at);
        let is_unseen = stored
            .ended_at
            .zip(seen)
            .is_some_and(|(ended, seen)| seen < ended.after(SEEN_AFTER));
        if stored.status == Status::Done && is_unseen {
            view.apply(&stored.action, false);
        }
    }
    for stored in &stock.open {
        view.apply(&stored.action, true);
    }
    plan(&view)
}

/// Gives actions ids that sort as they were planned: ids of one moment do not by themselves.
pub(super) fn in_order(mut actions: Vec<Stored>) -> Vec<Stored> {
    let mut ids: Vec<JobId> = actions.iter().map(|stored| stored.id).collect();
    ids.sort_unstable();
    for (stored, id) in actions.iter_mut().zip(ids) {
        stored.id = id;
    }
    actions
}
