//! What people do: start a roll-out, push it on, stop it, take it back.

use ::store::Tx;
use identity::journal::{self, Action, Actor, Change};
use primitives::{Cursor, Page, PageRequest, RolloutId, Timestamp};
use scheduling::rollout::{Rule, Stages};
use serde_json::Value;
use web::IfMatch;

use super::error::RolloutError;
use super::look::{Looked, count_usable, usable_nodes};
use super::record::{HOLDS, REQUESTS, Rollout, SLOWER, State};
use super::store::{self, MAX_OPEN};
use super::{ConfiguredNames, Rollouts};
use crate::name::{MAX_BYTES, model_key};

/// Who does something.
#[derive(Clone, Debug)]
pub(super) struct By {
    pub(super) actor: Actor,
    pub(super) name: String,
}

/// What is to be rolled out, and how.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) model: String,
    pub(super) to: String,
    pub(super) stages: Stages,
    pub(super) rule: Rule,
}

/// What is to be done about a roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next stage begins, whatever was seen.
    Promote,
    /// The last stage begins, whatever was seen.
    PromoteToAll,
    Pause,
    Resume,
    Abort,
    Close,
}

/// Describes a change for the journal.
pub(super) fn change(
    action: Action,
    rollout: &Rollout,
    old: Option<Value>,
    new: Option<Value>,
) -> Change {
    Change {
        action,
        org: None,
        subject: ("rollout", Some(rollout.id.to_string())),
        old,
        new,
    }
}

impl Start {
    fn check(&self) -> Result<(), RolloutError> {
        for (what, name) in [("model", &self.model), ("to", &self.to)] {
            let is_named = !name.trim().is_empty()
                && name.len() <= MAX_BYTES
                && !name.chars().any(char::is_control);
            if !is_named {
                return Err(RolloutError::Invalid(format!(
                    "{what}: a model's name has 1 to {MAX_BYTES} bytes and no control characters: write it as a node does, as \"llama3.2:3b\""
                )));
            }
        }
        let rule = &self.rule;
        let slower = |most: f64| SLOWER.contains(&most);
        for (kept, says) in [
            (
                model_key(&self.model) != model_key(&self.to),
                "to is the model itself: name another version",
            ),
            (
                HOLDS.contains(&rule.hold),
                "hold_seconds is 0 to 2592000, which is 30 days",
            ),
            (
                REQUESTS.contains(&rule.min_requests),
                "min_requests is 1 to 1000000",
            ),
            (
                (0.0..1.0).contains(&rule.max_error_rate),
                "max_error_rate is a share from 0 to less than 1, as 0.05 for 5 %",
            ),
            (
                rule.max_slower.is_none_or(slower),
                "max_slower is 1 to 100: leave it out to allow any speed",
            ),
        ] {
            if !kept {
                return Err(RolloutError::Invalid(says.to_owned()));
            }
        }
        Ok(())
    }

    /// Checks that the configuration leaves both names alone.
    fn check_names(&self, names: &ConfiguredNames) -> Result<(), RolloutError> {
        for name in [&self.model, &self.to] {
            let key = model_key(name);
            if let Some(model) = names.aliases.get(key.as_ref()) {
                return Err(RolloutError::Alias {
                    alias: shown(name),
                    model: model.clone(),
                });
            }
            if names.splits.contains(key.as_ref()) {
                return Err(RolloutError::Configured(shown(name)));
            }
        }
        Ok(())
    }
}

impl Rollouts {
    /// Starts a roll-out.
    pub(super) async fn start(&self, start: Start, by: &By) -> Result<Looked, RolloutError> {
        start.check()?;
        start.check_names(&self.inner.names.load())?;
        let fleet = self.registry().snapshot();
        let (model, new_model) = (
            model_key(&start.model).into_owned(),
            model_key(&start.to).into_owned(),
        );
        if fleet.replicas(&model).is_empty() {
            return Err(RolloutError::UnknownModel(shown(&start.model)));
        }
        let now = self.clock().now();
        let mut rollout = Rollout {
            id: RolloutId::generate(now),
            old_model: model.clone(),
            old_name: start.model.clone(),
            model,
            name: start.model,
            new_model,
            new_name: start.to,
            stages: start.stages,
            rule: start.rule,
            state: State::Running,
            stage: None,
            share: 0,
            node: None,
            entered_at: None,
            reason: None,
            fault: None,
            changed_by: by.name.clone(),
            version: 1,
            created_at: now,
            updated_at: now,
            ended_at: None,
            closed_at: None,
        };
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        self.take_place(&mut tx, &mut rollout, now).await?;
        if !store::insert_rollout(&mut tx, &rollout).await? {
            return Err(RolloutError::UnderWay {
                model: rollout.name,
                to: "another version".to_owned(),
            });
        }
        let started = change(Action::RolloutStart, &rollout, None, Some(rollout.seen()));
        journal::record(&mut tx, now, &by.actor, started).await?;
        tx.commit().await?;
        self.refresh().await?;
        self.inner.bell.notify_one();
        self.find(&rollout.id.to_string()).await
    }

    /// Looks whether other roll-outs leave room for one. One of the same name that has ended goes on in it: what its callers get is the
    /// old version then.
    async fn take_place(
        &self,
        tx: &mut Tx,
        rollout: &mut Rollout,
        now: Timestamp,
    ) -> Result<(), RolloutError> {
        let open = store::list_open(tx).await?;
        if open.len() >= MAX_OPEN as usize {
            return Err(RolloutError::TooMany);
        }
        for mut other in open {
            let versions = [&rollout.model, &rollout.new_model];
            if other.model == rollout.model {
                if other.state.is_active() {
                    return Err(RolloutError::UnderWay {
                        model: other.name,
                        to: other.new_name,
                    });
                }
                let (key, name) = other.standing();
                if key == rollout.new_model {
                    return Err(RolloutError::Invalid(format!(
                        "all callers of {} have {name} already",
                        other.name
                    )));
                }
                (rollout.old_model, rollout.old_name) = (key.to_owned(), name.to_owned());
                other.closed_at = Some(now);
                other.change(&rollout.changed_by, now);
                if !store::update_rollout(tx, &other).await? {
                    return Err(web::ChangedMeanwhile.into());
                }
                continue;
            }
            let taken = [&other.model, &other.old_model, &other.new_model];
            if let Some(version) = versions.into_iter().find(|version| taken.contains(version)) {
                return Err(RolloutError::Chain {
                    version: version.clone(),
                    model: other.name,
                });
            }
        }
        Ok(())
    }

    /// Does something about a roll-out, which is named by its id or by its model.
    pub(super) async fn step(
        &self,
        named: &str,
        step: Step,
        expected: &IfMatch,
        by: &By,
    ) -> Result<Looked, RolloutError> {
        let now = self.clock().now();
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        let before = load(&mut tx, named).await?;
        expected.check(|| before.etag())?;
        let mut after = before.clone();
        let action = self.apply(&mut after, step, by, now)?;
        after.change(&by.name, now);
        if !store::update_rollout(&mut tx, &after).await? {
            return Err(web::ChangedMeanwhile.into());
        }
        let change = change(action, &after, Some(before.seen()), Some(after.seen()));
        journal::record(&mut tx, now, &by.actor, change).await?;
        tx.commit().await?;
        self.refresh().await?;
        self.inner.bell.notify_one();
        self.find(&after.id.to_string()).await
    }

    fn apply(
        &self,
        rollout: &mut Rollout,
        step: Step,
        by: &By,
        now: Timestamp,
    ) -> Result<Action, RolloutError> {
        let wrong = |rollout: &Rollout, advice| RolloutError::State {
            model: rollout.name.clone(),
            state: state_text(rollout),
            advice,
        };
        if step == Step::Close {
            if rollout.state.is_active() || rollout.closed_at.is_some() {
                return Err(wrong(
                    rollout,
                    "only one that is done, or was taken back, and still decides can be closed",
                ));
            }
            rollout.closed_at = Some(now);
            return Ok(Action::RolloutClose);
        }
        if !rollout.state.is_active() {
            return Err(wrong(
                rollout,
                "it has ended: start another one, or close it with `remuda rollout close`",
            ));
        }
        match step {
            Step::Pause if rollout.state == State::Paused => {
                Err(wrong(rollout, "`remuda rollout resume` lets it go on"))
            }
            Step::Pause => {
                rollout.state = State::Paused;
                rollout.reason = Some(format!("paused by {}", by.name));
                Ok(Action::RolloutPause)
            }
            Step::Resume if rollout.state == State::Running => {
                Err(wrong(rollout, "it goes on by itself"))
            }
            Step::Resume => {
                rollout.state = State::Running;
                rollout.reason = None;
                Ok(Action::RolloutResume)
            }
            Step::Abort => {
                rollout.end(State::Aborted, format!("aborted by {}", by.name), now);
                Ok(Action::RolloutAbort)
            }
            Step::Promote | Step::PromoteToAll | Step::Close => {
                let Some(next) = rollout.next_stage() else {
                    rollout.end(State::Done, format!("ended by {}", by.name), now);
                    return Ok(Action::RolloutDone);
                };
                let fleet = self.registry().snapshot();
                let nodes = usable_nodes(&fleet, &rollout.new_model);
                if nodes.is_empty() {
                    return Err(RolloutError::Nowhere(rollout.new_name.clone()));
                }
                let last = u32::try_from(rollout.stages.len().saturating_sub(1)).unwrap_or(next);
                let stage = if step == Step::Promote { next } else { last };
                let old_nodes = count_usable(&fleet, &rollout.old_model);
                rollout.enter(stage, old_nodes, nodes.first().copied(), now);
                Ok(Action::RolloutAdvance)
            }
        }
    }

    /// Finds a roll-out by its id, or the newest one of a model.
    pub(super) async fn find(&self, named: &str) -> Result<Looked, RolloutError> {
        let mut tx = self.db().read().await?;
        let rollout = load(&mut tx, named).await?;
        let looked = self.look_at(&mut tx, rollout).await?;
        tx.commit().await?;
        Ok(looked)
    }

    /// Lists roll-outs, the newest first.
    pub(super) async fn list(
        &self,
        model: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Looked>, RolloutError> {
        let before = match page.cursor.as_deref() {
            Some(cursor) => Cursor::key(cursor)?,
            None => "\u{10ffff}".to_owned(),
        };
        let mut tx = self.db().read().await?;
        let bounds = (page.size() + 1, page.skipped());
        let found = store::list_rollouts(&mut tx, model, &before, bounds).await?;
        let mut looked = Vec::with_capacity(found.len());
        for rollout in found {
            looked.push(self.look_at(&mut tx, rollout).await?);
        }
        let total = store::count_rollouts(&mut tx, model).await?;
        tx.commit().await?;
        let key = |looked: &Looked| looked.rollout.id.to_string();
        Ok(Page::from_overfetched(looked, page.size(), key).of_total(total))
    }
}

async fn load(tx: &mut Tx, named: &str) -> Result<Rollout, RolloutError> {
    let found = match named.parse::<RolloutId>() {
        Ok(id) => store::find_rollout(tx, id).await?,
        Err(_) => store::find_newest(tx, &model_key(named)).await?,
    };
    found.ok_or_else(|| RolloutError::Unknown(shown(named)))
}

const fn state_text(rollout: &Rollout) -> &'static str {
    match rollout.state {
        State::Running => "under way",
        State::Paused => "paused",
        State::Done => "done",
        State::RolledBack => "taken back",
        State::Aborted => "aborted",
    }
}

/// Bounds what is repeated of a client's text.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
