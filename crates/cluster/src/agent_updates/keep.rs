//! Looks after the roll-out that is under way, again and again; one process of all.

use std::collections::HashMap;
use std::time::Duration;

use ::store::StoreError;
use identity::journal::{self, Action, Actor};
use primitives::{Classify as _, NodeId, RolloutId, Timestamp};
use tokio_util::sync::CancellationToken;

use super::decide::{Agent, Moment, Standing, Verdict, decide};
use super::operations::{change, releases_of};
use super::record::{AgentRollout, AgentRolloutState, Asked};
use super::standing::{Sought, look_at_all};
use super::{AgentUpdates, Watched, WatchedAgent, store};

/// The time between two cleanings.
const CLEAN_EVERY: Duration = Duration::from_mins(10);
/// How long a release waits for its program.
const INCOMPLETE: Duration = Duration::from_hours(1);
/// Who changes a roll-out that nobody changes.
const ITSELF: &str = "remuda";

impl AgentUpdates {
    /// Looks after roll-outs until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        let mut cleaned_at = self.clock().now();
        let mut problem: Option<String> = None;
        loop {
            let looked = tokio::select! {
                () = stop.cancelled() => break,
                looked = self.look(&mut cleaned_at, &stop) => looked,
            };
            let seen = looked.err().map(|error| error.public_message());
            if seen != problem
                && let Some(problem) = &seen
            {
                tracing::warn!(problem, "roll-outs to agents stay as they are");
            }
            problem = seen;
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.inner.bell.notified() => {}
                () = tokio::time::sleep(self.inner.config.interval) => {}
            }
        }
        self.inner.giving.close();
        self.inner.giving.wait().await;
    }

    async fn look(
        &self,
        cleaned_at: &mut Timestamp,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut tx = self.db().read().await?;
        let open = store::find_open(&mut tx).await?;
        tx.commit().await?;
        self.inner.figures.show(open.as_ref());
        // Agents are linked to processes that listen for them.
        let listens = self.registry().inner.agents_config().listen.is_some();
        if let Some(rollout) = open
            && listens
        {
            if (self.inner.deps.duty)().await?.is_some() {
                self.go_on(rollout, stop).await?;
            } else {
                // Another process looks now: what this one has seen says nothing of the time until it looks again.
                *self.inner.watched.lock() = Watched::default();
            }
        }
        let now = self.clock().now();
        if now.since(*cleaned_at) >= CLEAN_EVERY {
            let mut tx = self.db().write().await?;
            let ended = now.before(self.inner.config.retention);
            store::forget(&mut tx, now.before(INCOMPLETE), ended).await?;
            tx.commit().await?;
            *cleaned_at = now;
        }
        Ok(())
    }

    /// Does what is due about a roll-out.
    async fn go_on(
        &self,
        rollout: AgentRollout,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut tx = self.db().read().await?;
        let asked = store::list_asked(&mut tx, rollout.id).await?;
        let releases = releases_of(&mut tx, rollout.agent_version).await?;
        tx.commit().await?;
        let attempt = rollout.id.to_string();
        let sought = Sought {
            attempt: &attempt,
            version: rollout.agent_version,
            releases: &releases,
        };
        let fleet = self.registry().snapshot();
        let now = self.clock().monotonic();
        let agents = {
            let mut watched = self.inner.watched.lock();
            if watched.rollout != Some(rollout.id) {
                watched.rollout = Some(rollout.id);
                watched.agents.clear();
            }
            // Once to see how they stand, and once more with what that says of how long they do.
            let agents = look_at_all(&sought, &fleet, &asked, &watched.agents, now);
            watched.note(&agents, now);
            look_at_all(&sought, &fleet, &asked, &watched.agents, now)
        };
        self.give_to_all(&rollout, &sought, &agents, stop);
        let before = rollout.clone();
        let mut after = rollout;
        let now = self.clock().now();
        let (action, failed) = match decide(&moment(&after), &agents) {
            Verdict::Hold(_) => return Ok(()),
            Verdict::Ask(nodes) => {
                let asked = nodes.iter().filter_map(|node| {
                    let agent = agents.iter().find(|agent| agent.node == *node)?;
                    Some(Asked {
                        node: *node,
                        name: agent.name.clone(),
                        stage: after.stage,
                        failed: None,
                        at: now,
                    })
                });
                let asked: Vec<Asked> = asked.collect();
                self.note_asked(after.id, &asked).await?;
                self.inner.bell.notify_one();
                return Ok(());
            }
            Verdict::Advance => {
                after.stage += 1;
                (Action::AgentRolloutAdvance, None)
            }
            Verdict::Done => {
                let reason = "all agents that can have the version have it".to_owned();
                after.end(AgentRolloutState::Done, reason, now);
                (Action::AgentRolloutDone, None)
            }
            Verdict::Fail { node, reason } => {
                after.end(AgentRolloutState::Failed, reason.clone(), now);
                (Action::AgentRolloutFail, Some((node, reason)))
            }
        };
        after.change(ITSELF, now);
        self.write_own_change(&before, &after, action, failed).await
    }

    async fn note_asked(&self, id: RolloutId, asked: &[Asked]) -> Result<(), StoreError> {
        let mut tx = self.db().write().await?;
        for one in asked {
            store::insert_asked(&mut tx, id, one).await?;
            tracing::info!(node = one.name, "an agent is asked to take another version");
        }
        tx.commit().await
    }

    async fn write_own_change(
        &self,
        before: &AgentRollout,
        after: &AgentRollout,
        action: Action,
        failed: Option<(NodeId, String)>,
    ) -> Result<(), StoreError> {
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        if !store::update_rollout(&mut tx, after).await? {
            return Ok(());
        }
        if let Some((node, reason)) = failed {
            store::fail_asked(&mut tx, after.id, node, &reason).await?;
        }
        let change = change(action, after, Some(before.seen()), Some(after.seen()));
        journal::record(&mut tx, after.updated_at, &Actor::system(), change).await?;
        tx.commit().await?;
        let (version, reason) = (after.agent_version, after.reason.as_deref());
        let stage = after.stage_now();
        if after.state == AgentRolloutState::Failed {
            tracing::error!(%version, reason, "the roll-out to agents has ended");
        } else {
            tracing::info!(%version, %stage, reason, "the roll-out to agents goes on");
        }
        self.inner.bell.notify_one();
        Ok(())
    }

    /// Begins to give the release to each agent that was asked and can take it.
    fn give_to_all(
        &self,
        rollout: &AgentRollout,
        sought: &Sought<'_>,
        agents: &[Agent],
        stop: &CancellationToken,
    ) {
        let waiting = agents.iter().filter(|agent| {
            let refused = agent.asked.as_ref().map(|asked| asked.refused.is_some());
            agent.standing == Standing::Ready && refused == Some(false)
        });
        let fleet = self.registry().snapshot();
        for agent in waiting {
            let link = fleet.find_node(agent.node);
            let link = link.and_then(|node| node.agent.as_ref()?.link());
            let Some((link, status)) = link.and_then(|link| Some((link.clone(), link.status()?)))
            else {
                continue;
            };
            let updates = status.updates.clone().unwrap_or_default();
            let Some(release) = sought.release_for(&updates) else {
                continue;
            };
            let is_first = {
                let mut watched = self.inner.watched.lock();
                let watched = watched.agents.get_mut(&agent.node);
                watched.is_some_and(|watched| !std::mem::replace(&mut watched.giving, true))
            };
            if is_first {
                let (updates, stop) = (self.clone(), stop.clone());
                let (rollout, node, release) = (rollout.id, agent.node, release.clone());
                self.inner.giving.spawn(async move {
                    let giving = Box::pin(updates.give(rollout, node, &link, &release));
                    stop.run_until_cancelled(giving).await;
                });
            }
        }
    }

    /// Lets an agent be given the release again.
    pub(super) fn given(&self, rollout: RolloutId, node: NodeId) {
        let mut watched = self.inner.watched.lock();
        if watched.rollout == Some(rollout)
            && let Some(watched) = watched.agents.get_mut(&node)
        {
            watched.giving = false;
        }
    }

    /// Returns what this process has seen of the agents of a roll-out.
    pub(super) fn watched_of(&self, rollout: RolloutId) -> HashMap<NodeId, WatchedAgent> {
        let watched = self.inner.watched.lock();
        if watched.rollout == Some(rollout) {
            watched.agents.clone()
        } else {
            HashMap::new()
        }
    }
}

/// Returns what a roll-out asks for now.
pub(super) fn moment(rollout: &AgentRollout) -> Moment {
    Moment {
        is_paused: rollout.state == AgentRolloutState::Paused,
        stage: rollout.stage_now(),
        is_last: rollout.stage as usize + 1 >= rollout.stages.len(),
        hold: rollout.hold,
        patience: rollout.patience,
    }
}
