//! Carrying actions out: who goes first, what is looked at once more before it is done, and how it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::store::StoreError;
use identity::journal::{self, Actor, Change};
use primitives::{JobId, NodeId};
use scheduling::placement::{ActionKind, Forbidden, Removal};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::action::{Status, Stored};
use super::node_calls::{self, Progress};
use super::{Placement, store};
use crate::probe::ollama::list_models;

/// The time between two notes of how far an action has come.
const BEAT: Duration = Duration::from_secs(2);
/// Loads at one node at a time, and fetches.
const AT_A_NODE: usize = 1;

/// How an action went.
enum Outcome {
    Done,
    Failed(String),
    /// It is not to be done any more.
    Dropped(String),
}

/// What is carried out at the moment.
#[derive(Default)]
struct Busy {
    fetches: usize,
    fetches_at: BTreeMap<NodeId, usize>,
    loads_at: BTreeMap<NodeId, usize>,
}

impl Busy {
    fn count(&mut self, stored: &Stored) {
        let node = stored.action.node;
        match stored.action.kind {
            ActionKind::Pull | ActionKind::Copy => {
                self.fetches += 1;
                *self.fetches_at.entry(node).or_default() += 1;
            }
            ActionKind::Load => *self.loads_at.entry(node).or_default() += 1,
            ActionKind::Unload | ActionKind::Delete => {}
        }
    }

    fn has_room(&self, stored: &Stored, max_pulls: usize) -> bool {
        let node = &stored.action.node;
        let at = |counts: &BTreeMap<NodeId, usize>| counts.get(node).copied().unwrap_or(0);
        match stored.action.kind {
            ActionKind::Pull | ActionKind::Copy => {
                self.fetches < max_pulls && at(&self.fetches_at) < AT_A_NODE
            }
            ActionKind::Load => at(&self.loads_at) < AT_A_NODE,
            ActionKind::Unload | ActionKind::Delete => true,
        }
    }
}

/// Tells whether an action has to wait for an earlier one: one with the same model at the same node, or one that makes room for it.
fn waits_for(stored: &Stored, earlier: &Stored) -> bool {
    let (one, other) = (&stored.action, &earlier.action);
    let makes_room = matches!(
        (one.kind, other.kind),
        (ActionKind::Load, ActionKind::Unload)
            | (ActionKind::Pull | ActionKind::Copy, ActionKind::Delete)
    );
    one.node == other.node && (one.key == other.key || makes_room)
}

/// Tells whether an action waits for a maintenance window.
pub(super) const fn needs_window(kind: ActionKind) -> bool {
    matches!(
        kind,
        ActionKind::Pull | ActionKind::Copy | ActionKind::Delete
    )
}

impl Placement {
    /// Tells whether files may be fetched and deleted now.
    pub(super) fn is_window_open(&self) -> bool {
        let (windows, now) = (&self.inner.config.windows, self.clock().now());
        windows.is_empty() || windows.iter().any(|window| window.is_open(now))
    }

    /// Begins what waits and may begin. `open` is in the order in which it was planned.
    pub(super) async fn begin_due(&self, open: &[Stored], term: u64) -> Result<(), StoreError> {
        let mut busy = Busy::default();
        for stored in open
            .iter()
            .filter(|stored| stored.status == Status::Running)
        {
            busy.count(stored);
        }
        let is_window_open = self.is_window_open();
        for (place, stored) in open.iter().enumerate() {
            let earlier = open.iter().take(place);
            let may_begin = stored.status == Status::Queued
                && (is_window_open || !needs_window(stored.action.kind))
                && busy.has_room(stored, self.inner.config.max_pulls)
                && !earlier
                    .into_iter()
                    .any(|earlier| waits_for(stored, earlier));
            if may_begin && self.begin(stored, term).await? {
                busy.count(stored);
            }
        }
        Ok(())
    }

    async fn begin(&self, stored: &Stored, term: u64) -> Result<bool, StoreError> {
        let (action, now) = (&stored.action, self.clock().now());
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        if !store::begin_action(&mut tx, stored.id, term, now).await? {
            return Ok(false);
        }
        let change = Change {
            action: match action.kind {
                ActionKind::Pull | ActionKind::Copy => journal::Action::ModelPull,
                ActionKind::Load => journal::Action::ModelLoad,
                ActionKind::Unload => journal::Action::ModelUnload,
                ActionKind::Delete => journal::Action::ModelDelete,
            },
            org: None,
            subject: ("model", Some(action.model.to_string())),
            old: None,
            new: Some(json!({
                "nodes": [&*action.node_name],
                "placement_action": stored.id.to_string(),
                "why": &action.why,
            })),
        };
        journal::record(&mut tx, now, &Actor::system(), change).await?;
        tx.commit().await?;
        tracing::info!(
            action = %stored.id,
            kind = action.kind.as_str(),
            model = &*action.model,
            node = &*action.node_name,
            why = action.why,
            "placement action begins"
        );
        let stop = CancellationToken::new();
        self.inner.running.lock().insert(stored.id, stop.clone());
        let (placement, stored) = (self.clone(), stored.clone());
        self.inner.tasks.spawn(async move {
            placement.run(&stored, term, &stop).await;
            placement.inner.running.lock().remove(&stored.id);
            placement.poke();
        });
        Ok(true)
    }

    async fn run(&self, stored: &Stored, term: u64, stop: &CancellationToken) {
        let progress = Arc::new(Progress::default());
        let outcome = tokio::select! {
            outcome = self.attempt(stored, term, &progress) => outcome,
            // Called off, or somebody else's now: what was begun is cut by dropping it.
            () = self.follow(stored.id, term, &progress) => return,
            () = stop.cancelled() => return,
        };
        let action = &stored.action;
        let (status, error) = match &outcome {
            Outcome::Done => (Status::Done, None),
            Outcome::Failed(why) => (Status::Failed, Some(why.as_str())),
            Outcome::Dropped(why) => (Status::Cancelled, Some(why.as_str())),
        };
        let (kind, node) = (action.kind.as_str(), &*action.node_name);
        match &error {
            Some(error) => {
                tracing::warn!(action = %stored.id, kind, model = &*action.model, node, error, "placement action ended");
            }
            None => {
                tracing::info!(action = %stored.id, kind, model = &*action.model, node, "placement action done");
            }
        }
        self.registry().look_again(action.node);
        let (done, _) = progress.read();
        self.inner.figures.ended(action.kind, status, done);
        if let Err(error) = self.end(stored.id, term, (status, error), &progress).await {
            // Its row stays as it is: whoever has the duty next does it again.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the end of a placement action is not stored"
            );
        }
    }

    async fn end(
        &self,
        id: JobId,
        term: u64,
        (status, error): (Status, Option<&str>),
        progress: &Progress,
    ) -> Result<(), StoreError> {
        let mut tx = self.db().write().await?;
        store::note_progress(&mut tx, id, term, progress.read()).await?;
        let now = self.clock().now();
        store::end_action(&mut tx, id, term, status, error, now).await?;
        tx.commit().await
    }

    /// Stores how far an action has come, until it is not this process's any more.
    async fn follow(&self, id: JobId, term: u64, progress: &Progress) {
        loop {
            tokio::time::sleep(BEAT).await;
            let noted = async {
                let mut tx = self.db().write_with(::store::Durability::Relaxed).await?;
                let is_ours = store::note_progress(&mut tx, id, term, progress.read()).await?;
                tx.commit().await?;
                Ok::<_, StoreError>(is_ours)
            };
            match noted.await {
                Ok(true) => {}
                Ok(false) => return,
                // Nobody can take it over while the database is away.
                Err(error) => {
                    tracing::debug!(error = %error, "the progress of a placement action is not stored");
                }
            }
        }
    }

    /// Looks once more, and does it.
    async fn attempt(&self, stored: &Stored, term: u64, progress: &Progress) -> Outcome {
        let action = &stored.action;
        let snapshot = self.registry().snapshot();
        let Some(node) = snapshot.find_node(action.node) else {
            return Outcome::Dropped("the node is gone".to_owned());
        };
        let Some(contact) = self.registry().contact(action.node) else {
            return Outcome::Dropped("the node is gone".to_owned());
        };
        let models = match list_models(&contact).await {
            Ok(models) => models,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        let stock = match self.read_stock(None).await {
            Ok(stock) => stock,
            Err(error) => return Outcome::Failed(primitives::Classify::public_message(&error)),
        };
        let view = self.view_with(&stock, node, &models);
        let has_it = view
            .find_node(action.node)
            .is_some_and(|node| node.has(&action.key));
        let removal = match action.kind {
            ActionKind::Unload => Some(Removal::Memory),
            ActionKind::Delete => Some(Removal::Files),
            ActionKind::Pull | ActionKind::Copy if has_it => Some(Removal::Replacement),
            ActionKind::Pull | ActionKind::Copy => None,
            ActionKind::Load if has_it => None,
            ActionKind::Load => {
                return Outcome::Dropped("the node does not have its files".to_owned());
            }
        };
        if let Some(removal) = removal {
            match view.forbids(removal, action.node, &action.key) {
                None => {}
                // As it should be already.
                Some(Forbidden::Absent) => return Outcome::Done,
                Some(why) => return Outcome::Dropped(format!("not done: {why}")),
            }
        }
        if action.kind == ActionKind::Copy {
            let pulling = async || node_calls::carry_out(&contact, action, None, progress).await;
            return match self.copy(stored, term, &view, progress, pulling).await {
                Ok(()) => Outcome::Done,
                Err(why) => Outcome::Failed(why),
            };
        }
        let known = node
            .models
            .iter()
            .find(|model| crate::name::model_key(&model.name) == action.key.as_str());
        match node_calls::carry_out(&contact, action, known, progress).await {
            Ok(()) => Outcome::Done,
            Err(why) => Outcome::Failed(why),
        }
    }

    /// Cuts what this process carries out, all of it or one action.
    pub(super) fn cut(&self, which: Option<JobId>) {
        let running = self.inner.running.lock();
        for (id, stop) in &*running {
            if which.is_none_or(|which| which == *id) {
                stop.cancel();
            }
        }
    }
}
