//! Looks after roll-outs again and again: every process stores what it counted and publishes the splits, one of all decides.

use std::time::Duration;

use ::store::StoreError;
use identity::journal::{self, Action, Actor};
use primitives::{Classify as _, Timestamp};
use scheduling::rollout::{Stage, Verdict};
use tokio_util::sync::CancellationToken;

use super::Rollouts;
use super::look::{count_usable, read_seen, usable_nodes, verdict};
use super::operations::change;
use super::record::{FaultKind, Rollout, State};
use super::split::RolloutSplit;
use super::store;

/// The time between two cleanings.
const CLEAN_EVERY: Duration = Duration::from_mins(10);
/// Who changes a roll-out that nobody changes.
pub(super) const ITSELF: &str = "remuda";

impl Rollouts {
    /// Looks after roll-outs until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        let mut cleaned_at = self.clock().now();
        let mut problem: Option<String> = None;
        loop {
            let looked = tokio::select! {
                () = stop.cancelled() => break,
                looked = self.look(&mut cleaned_at) => looked,
            };
            let seen = looked.err().map(|error| error.public_message());
            if seen != problem
                && let Some(problem) = &seen
            {
                tracing::warn!(problem, "roll-outs stay as they are");
            }
            problem = seen;
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.inner.bell.notified() => {}
                () = tokio::time::sleep(self.inner.config.interval) => {}
            }
        }
        // What was counted last is not lost where the database is there.
        drop(tokio::time::timeout(Duration::from_secs(2), self.store_counts()).await);
    }

    async fn look(&self, cleaned_at: &mut Timestamp) -> Result<(), StoreError> {
        self.store_counts().await?;
        let open = self.refresh().await?;
        self.inner.figures.show(&open);
        if open.iter().any(|rollout| rollout.state.is_active())
            && (self.inner.deps.duty)().await?.is_some()
        {
            let mut has_changed = false;
            let active = open.into_iter().filter(|rollout| rollout.state.is_active());
            for rollout in active {
                has_changed |= self.go_on(rollout).await?;
            }
            if has_changed {
                let open = self.refresh().await?;
                self.inner.figures.show(&open);
            }
        }
        let now = self.clock().now();
        if now.since(*cleaned_at) >= CLEAN_EVERY {
            let mut tx = self.db().write().await?;
            store::forget(&mut tx, now.before(self.inner.config.retention)).await?;
            tx.commit().await?;
            *cleaned_at = now;
        }
        Ok(())
    }

    /// Publishes the splits as the rows say now, and returns the rows that decide something.
    pub(super) async fn refresh(&self) -> Result<Vec<Rollout>, StoreError> {
        let _one_at_a_time = self.inner.publishing.lock().await;
        let mut tx = self.db().read().await?;
        let open = store::list_open(&mut tx).await?;
        tx.commit().await?;
        let splits: Vec<RolloutSplit> = open.iter().filter_map(Rollout::split).collect();
        self.registry().show_rollouts(splits.into());
        Ok(open)
    }

    /// Does what is due about a roll-out. Returns whether that was anything.
    async fn go_on(&self, mut rollout: Rollout) -> Result<bool, StoreError> {
        // Nothing is seen of it while the configuration decides.
        if self.inner.names.load().splits.contains(&rollout.model) {
            return Ok(false);
        }
        let mut tx = self.db().read().await?;
        let seen = read_seen(&mut tx, &rollout).await?;
        tx.commit().await?;
        let fleet = self.registry().snapshot();
        let now = self.clock().now();
        let before = rollout.clone();
        let action = match verdict(&rollout, &seen, &fleet, now) {
            Verdict::Hold(_) => {
                let nodes = usable_nodes(&fleet, &rollout.new_model);
                let is_gone = |node| !nodes.contains(&node);
                if rollout.stage_now() != Some(Stage::Node)
                    || nodes.is_empty()
                    || !rollout.node.is_none_or(is_gone)
                {
                    return Ok(false);
                }
                // Its node is away, and another one has the new version.
                rollout.node = nodes.first().copied();
                Action::RolloutAdvance
            }
            Verdict::Advance => {
                let Some(next) = rollout.next_stage() else {
                    return Ok(false);
                };
                let old_nodes = count_usable(&fleet, &rollout.old_model);
                let node = usable_nodes(&fleet, &rollout.new_model).first().copied();
                rollout.enter(next, old_nodes, node, now);
                Action::RolloutAdvance
            }
            Verdict::RollBack(fault) => {
                rollout.fault = Some(FaultKind::from(&fault));
                rollout.end(State::RolledBack, fault.to_string(), now);
                Action::RolloutRollBack
            }
            Verdict::Done => {
                let reason = "all stages are behind it".to_owned();
                rollout.end(State::Done, reason, now);
                Action::RolloutDone
            }
        };
        rollout.change(ITSELF, now);
        if !self.write_own_change(&before, &rollout, action).await? {
            return Ok(false);
        }
        self.inner.figures.decided(action);
        report(&rollout, action);
        Ok(true)
    }

    async fn write_own_change(
        &self,
        before: &Rollout,
        after: &Rollout,
        action: Action,
    ) -> Result<bool, StoreError> {
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        if !store::update_rollout(&mut tx, after).await? {
            return Ok(false);
        }
        let change = change(action, after, Some(before.seen()), Some(after.seen()));
        journal::record(&mut tx, after.updated_at, &Actor::system(), change).await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn report(rollout: &Rollout, action: Action) {
    let (model, to, share) = (
        &*rollout.name,
        &*rollout.new_name,
        f64::from(rollout.share) / 100.0,
    );
    let reason = rollout.reason.as_deref();
    if action == Action::RolloutRollBack {
        tracing::warn!(model, to, reason, "the roll-out is taken back");
    } else {
        let stage = rollout.stage_now().map(|stage| stage.to_string());
        tracing::info!(model, to, stage, share, reason, "the roll-out goes on");
    }
}
