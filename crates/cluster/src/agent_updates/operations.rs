//! What people do: start a roll-out, stop it, let it go on, end it.

use std::time::Duration;

use ::store::Tx;
use agent_proto::Version;
use identity::journal::{self, Action, Actor, Change};
use primitives::{Cursor, Page, PageRequest, RolloutId};
use scheduling::rollout::Stages;
use serde_json::Value;
use web::IfMatch;

use super::AgentUpdates;
use super::decide::{Agent, Verdict, decide};
use super::error::AgentUpdateError;
use super::keep::moment;
use super::record::{AgentRollout, AgentRolloutState, Asked, HOLDS, PATIENCES, Release};
use super::standing::{Sought, look_at_all};
use super::store;

/// Who does something.
#[derive(Clone, Debug)]
pub(super) struct By {
    pub(super) actor: Actor,
    pub(super) name: String,
}

/// What is to be rolled out, and how.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) version: Version,
    pub(super) stages: Stages,
    pub(super) hold: Duration,
    pub(super) patience: Duration,
}

/// What is to be done about a roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Pause,
    Resume,
    Abort,
}

/// A roll-out with how agents stand towards it.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub(super) rollout: AgentRollout,
    pub(super) asked: Vec<Asked>,
    /// All agents while it is under way; nothing afterwards.
    pub(super) agents: Vec<Agent>,
    /// What it waits for, where it goes from stage to stage.
    pub(super) waits_for: Option<String>,
}

/// Describes a change for the journal.
pub(super) fn change(
    action: Action,
    rollout: &AgentRollout,
    old: Option<Value>,
    new: Option<Value>,
) -> Change {
    Change {
        action,
        org: None,
        subject: ("agent_rollout", Some(rollout.id.to_string())),
        old,
        new,
    }
}

/// Returns the releases of a version that can be given out.
pub(super) async fn releases_of(
    tx: &mut Tx,
    version: Version,
) -> Result<Vec<Release>, ::store::StoreError> {
    let mut releases = store::list_releases(tx).await?;
    releases.retain(|one| one.completed_at.is_some() && one.manifest.version == version);
    Ok(releases)
}

impl AgentUpdates {
    /// Starts a roll-out.
    pub(super) async fn start(&self, start: Start, by: &By) -> Result<Looked, AgentUpdateError> {
        if !HOLDS.contains(&start.hold) {
            return Err(AgentUpdateError::Invalid(
                "hold_seconds is 0 to 2592000, which is 30 days",
            ));
        }
        if !PATIENCES.contains(&start.patience) {
            return Err(AgentUpdateError::Invalid(
                "patience_seconds is 10 to 86400, which is a day",
            ));
        }
        let now = self.clock().now();
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        if let Some(open) = store::find_open(&mut tx).await? {
            let version = open.agent_version.to_string();
            return Err(AgentUpdateError::UnderWay(version));
        }
        if releases_of(&mut tx, start.version).await?.is_empty() {
            let version = start.version.to_string();
            return Err(AgentUpdateError::UnknownVersion(version));
        }
        let rollout = AgentRollout {
            id: RolloutId::generate(now),
            agent_version: start.version,
            stages: start.stages,
            hold: start.hold,
            patience: start.patience,
            state: AgentRolloutState::Running,
            stage: 0,
            reason: None,
            changed_by: by.name.clone(),
            version: 1,
            created_at: now,
            updated_at: now,
            ended_at: None,
        };
        store::insert_rollout(&mut tx, &rollout).await?;
        let started = change(
            Action::AgentRolloutStart,
            &rollout,
            None,
            Some(rollout.seen()),
        );
        journal::record(&mut tx, now, &by.actor, started).await?;
        tx.commit().await?;
        self.inner.bell.notify_one();
        self.find(&rollout.id.to_string()).await
    }

    /// Does something about a roll-out, named by its id, or `latest`.
    pub(super) async fn step(
        &self,
        named: &str,
        step: Step,
        expected: &IfMatch,
        by: &By,
    ) -> Result<Looked, AgentUpdateError> {
        let now = self.clock().now();
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        let before = load(&mut tx, named).await?;
        expected.check(|| before.etag())?;
        let mut after = before.clone();
        let fits = match step {
            Step::Pause => before.state == AgentRolloutState::Running,
            Step::Resume => before.state == AgentRolloutState::Paused,
            Step::Abort => before.state.is_active(),
        };
        if !fits {
            return Err(AgentUpdateError::State {
                version: before.agent_version.to_string(),
                state: state_text(before.state),
            });
        }
        let action = match step {
            Step::Pause => {
                after.state = AgentRolloutState::Paused;
                after.reason = Some(format!("paused by {}", by.name));
                Action::AgentRolloutPause
            }
            Step::Resume => {
                after.state = AgentRolloutState::Running;
                after.reason = None;
                Action::AgentRolloutResume
            }
            Step::Abort => {
                after.end(
                    AgentRolloutState::Aborted,
                    format!("aborted by {}", by.name),
                    now,
                );
                Action::AgentRolloutAbort
            }
        };
        after.change(&by.name, now);
        if !store::update_rollout(&mut tx, &after).await? {
            return Err(web::ChangedMeanwhile.into());
        }
        let change = change(action, &after, Some(before.seen()), Some(after.seen()));
        journal::record(&mut tx, now, &by.actor, change).await?;
        tx.commit().await?;
        self.inner.bell.notify_one();
        self.find(&after.id.to_string()).await
    }

    /// Finds a roll-out by its id, or the newest one as `latest`.
    pub(super) async fn find(&self, named: &str) -> Result<Looked, AgentUpdateError> {
        let mut tx = self.db().read().await?;
        let rollout = load(&mut tx, named).await?;
        let looked = self.look_at(&mut tx, rollout).await?;
        tx.commit().await?;
        Ok(looked)
    }

    /// Lists roll-outs, the newest first.
    pub(super) async fn list(&self, page: &PageRequest) -> Result<Page<Looked>, AgentUpdateError> {
        let before = match page.cursor.as_deref() {
            Some(cursor) => Cursor::key(cursor)?,
            None => "\u{10ffff}".to_owned(),
        };
        let mut tx = self.db().read().await?;
        let bounds = (page.size() + 1, page.skipped());
        let found = store::list_rollouts(&mut tx, &before, bounds).await?;
        let mut looked = Vec::with_capacity(found.len());
        for rollout in found {
            looked.push(self.look_at(&mut tx, rollout).await?);
        }
        let total = store::count_rollouts(&mut tx).await?;
        tx.commit().await?;
        let key = |looked: &Looked| looked.rollout.id.to_string();
        Ok(Page::from_overfetched(looked, page.size(), key).of_total(total))
    }

    /// Looks how agents stand.
    async fn look_at(
        &self,
        tx: &mut Tx,
        rollout: AgentRollout,
    ) -> Result<Looked, ::store::StoreError> {
        let asked = store::list_asked(tx, rollout.id).await?;
        let (mut agents, mut waits_for) = (Vec::new(), None);
        if rollout.state.is_active() {
            let releases = releases_of(tx, rollout.agent_version).await?;
            let attempt = rollout.id.to_string();
            let sought = Sought {
                attempt: &attempt,
                version: rollout.agent_version,
                releases: &releases,
            };
            let fleet = self.registry().snapshot();
            let watched = self.watched_of(rollout.id);
            let now = self.clock().monotonic();
            agents = look_at_all(&sought, &fleet, &asked, &watched, now);
            if let Verdict::Hold(hold) = decide(&moment(&rollout), &agents) {
                waits_for = Some(hold.to_string());
            }
        }
        Ok(Looked {
            rollout,
            asked,
            agents,
            waits_for,
        })
    }
}

async fn load(tx: &mut Tx, named: &str) -> Result<AgentRollout, AgentUpdateError> {
    let found = match named.parse::<RolloutId>() {
        Ok(id) => store::find_rollout(tx, id).await?,
        Err(_) if named == "latest" => store::find_newest(tx).await?,
        Err(_) => None,
    };
    found.ok_or_else(|| AgentUpdateError::UnknownRollout(named.chars().take(80).collect()))
}

const fn state_text(state: AgentRolloutState) -> &'static str {
    match state {
        AgentRolloutState::Running => "under way",
        AgentRolloutState::Paused => "paused",
        AgentRolloutState::Done => "done",
        AgentRolloutState::Failed => "stopped: an agent failed",
        AgentRolloutState::Aborted => "aborted",
    }
}
