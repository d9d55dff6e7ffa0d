//! What people do: say what is wanted, apply the plan, call actions off.

use identity::journal::{self, Action as Journalled, Actor, Change};
use primitives::{Cursor, JobId, Page, PageRequest};
use scheduling::placement::Mode;
use serde_json::{Value, json};

use super::Placement;
use super::action::{CALLED_OFF, Origin, Status, Stored, plan_id};
use super::error::PlacementError;
use super::keep::in_order;
use super::policy::{Policy, Wanted};
use super::store::{self, ActionFilter, MAX_OPEN, MAX_POLICIES};
use crate::name::model_key;

/// What the journal shows of a policy.
fn seen(policy: &Policy) -> Value {
    json!({"mode": policy.mode.as_str(), "wanted": &policy.wanted})
}

fn change(
    action: Journalled,
    subject: (&'static str, &str),
    old: Option<Value>,
    new: Option<Value>,
) -> Change {
    Change {
        action,
        org: None,
        subject: (subject.0, Some(subject.1.to_owned())),
        old,
        new,
    }
}

impl Placement {
    /// Lists what is wanted, by model.
    pub(super) async fn list_policies(&self) -> Result<Vec<Policy>, PlacementError> {
        let mut tx = self.db().read().await?;
        let found = store::list_policies(&mut tx).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Finds what is wanted of a model.
    pub(super) async fn load_policy(&self, model: &str) -> Result<Policy, PlacementError> {
        let mut tx = self.db().read().await?;
        let found = store::find_policy(&mut tx, &model_key(model)).await?;
        tx.commit().await?;
        found.ok_or_else(|| PlacementError::NoPolicy(shown(model)))
    }

    /// Says what is wanted of a model, in place of what was.
    pub(super) async fn put_policy(
        &self,
        name: &str,
        mode: Mode,
        wanted: Wanted,
        by: &Actor,
    ) -> Result<Policy, PlacementError> {
        let now = self.clock().now();
        let mut policy = Policy::check(name, mode, wanted, now)?;
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        let before = store::find_policy(&mut tx, &policy.key).await?;
        match &before {
            Some(before) => policy.created_at = before.created_at,
            None if store::count_policies(&mut tx).await? >= MAX_POLICIES => {
                return Err(PlacementError::TooManyPolicies);
            }
            None => {}
        }
        store::put_policy(&mut tx, &policy).await?;
        let change = change(
            Journalled::PlacementEdit,
            ("model", &policy.name),
            before.as_ref().map(seen),
            Some(seen(&policy)),
        );
        journal::record(&mut tx, now, by, change).await?;
        tx.commit().await?;
        self.poke();
        Ok(policy)
    }

    /// Wants nothing of a model any more. What is there stays as it is.
    pub(super) async fn remove_policy(
        &self,
        model: &str,
        by: &Actor,
    ) -> Result<(), PlacementError> {
        let (key, now) = (model_key(model), self.clock().now());
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        let before = store::find_policy(&mut tx, &key)
            .await?
            .ok_or_else(|| PlacementError::NoPolicy(shown(model)))?;
        store::delete_policy(&mut tx, &key).await?;
        let change = change(
            Journalled::PlacementRemove,
            ("model", &before.name),
            Some(seen(&before)),
            None,
        );
        journal::record(&mut tx, now, by, change).await?;
        tx.commit().await?;
        self.poke();
        Ok(())
    }

    /// Has what is planned carried out: all of it, or the actions with these names in the plan.
    pub(super) async fn apply_plan(
        &self,
        chosen: Option<&[String]>,
        by: &Actor,
    ) -> Result<Vec<Stored>, PlacementError> {
        let (plan, stock) = self.plan_now().await?;
        if let Some(chosen) = chosen {
            let planned = |id: &String| plan.actions.iter().any(|action| plan_id(action) == *id);
            if let Some(missing) = chosen.iter().find(|id| !planned(id)) {
                return Err(PlacementError::NotPlanned(shown(missing)));
            }
        }
        let now = self.clock().now();
        let wanted = plan
            .actions
            .into_iter()
            .filter(|action| chosen.is_none_or(|chosen| chosen.contains(&plan_id(action))));
        let failures = stock.failures();
        let fresh: Vec<Stored> = wanted
            .map(|action| {
                let place = (action.node, action.key.as_str());
                let failed = failures.get(&place).map_or(0, |(count, _)| *count);
                Stored::queued(action, Origin::Applied, failed + 1, now)
            })
            .collect();
        if stock.open.len() + fresh.len() > MAX_OPEN as usize {
            return Err(PlacementError::TooManyActions);
        }
        let fresh = in_order(fresh);
        if fresh.is_empty() {
            return Ok(fresh);
        }
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        let mut applied = Vec::with_capacity(fresh.len());
        for stored in fresh {
            if store::insert_action(&mut tx, &stored).await? {
                applied.push(stored);
            }
        }
        let names: Vec<String> = applied
            .iter()
            .map(|stored| plan_id(&stored.action))
            .collect();
        let change = Change {
            action: Journalled::PlacementApply,
            org: None,
            subject: ("placement", None),
            old: None,
            new: Some(json!({"actions": names})),
        };
        journal::record(&mut tx, now, by, change).await?;
        tx.commit().await?;
        self.poke();
        Ok(applied)
    }

    /// Lists actions, the newest first.
    pub(super) async fn list_actions(
        &self,
        filter: &ActionFilter,
        page: &PageRequest,
    ) -> Result<Page<Stored>, PlacementError> {
        let before = match page.cursor.as_deref() {
            Some(cursor) => Cursor::key(cursor)?,
            None => "\u{10ffff}".to_owned(),
        };
        let mut tx = self.db().read().await?;
        let bounds = (page.size() + 1, page.skipped());
        let found = store::list_actions(&mut tx, filter, &before, bounds).await?;
        let total = store::count_actions(&mut tx, filter).await?;
        tx.commit().await?;
        let key = |stored: &Stored| stored.id.to_string();
        Ok(Page::from_overfetched(found, page.size(), key).of_total(total))
    }

    /// Calls an action off, also while it is carried out.
    pub(super) async fn cancel(&self, id: &str, by: &Actor) -> Result<Stored, PlacementError> {
        let unknown = || PlacementError::NoAction(shown(id));
        let id: JobId = id.parse().map_err(|_| unknown())?;
        let now = self.clock().now();
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        let found = store::find_action(&mut tx, id).await?.ok_or_else(unknown)?;
        if found.status.has_ended() || !store::cancel_action(&mut tx, id, CALLED_OFF, now).await? {
            return Err(PlacementError::Ended(found.status.as_str()));
        }
        let name = plan_id(&found.action);
        let change = change(
            Journalled::PlacementCancel,
            ("placement", &id.to_string()),
            Some(json!({"action": name, "status": found.status.as_str()})),
            None,
        );
        journal::record(&mut tx, now, by, change).await?;
        tx.commit().await?;
        // Another process sees it at its next note of the progress.
        self.cut(Some(id));
        self.poke();
        Ok(Stored {
            status: Status::Cancelled,
            error: Some(CALLED_OFF.to_owned()),
            ended_at: Some(now),
            ..found
        })
    }
}

/// Bounds what is repeated of a client's text.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
