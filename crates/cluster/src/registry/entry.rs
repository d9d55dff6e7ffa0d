//! One node in memory: its row, what probes learned, what calls showed, and the view made of them.

use std::sync::Arc;

use primitives::MonotonicTime;
use scheduling::{Health, Liveness, LivenessCause, LivenessEvent, LivenessVerdict};

use crate::activity::NodeActivity;
use crate::agents::AgentSeat;
use crate::model::{ModelView, NodeKind, NodeState, NodeView, Pressure, ServerFlavour};
use crate::probe::learned::Learned;
use crate::record::NodeRecord;

/// One node with everything known about it.
#[derive(Debug)]
pub(super) struct Entry {
    record: NodeRecord,
    kind: NodeKind,
    server: ServerFlavour,
    version: Option<Arc<str>>,
    models: Arc<[ModelView]>,
    slots: Option<u32>,
    pressure: Option<Pressure>,
    last_error: Option<Arc<str>>,
    liveness: Liveness,
    /// Progress that the record of liveness already contains.
    counted_progress: Option<MonotonicTime>,
    doubted_model: Option<Arc<str>>,
    died_at: Option<MonotonicTime>,
    /// Whether the node ever answered at its present address.
    answered: bool,
    pub(super) activity: Arc<NodeActivity>,
    agent: Option<Arc<AgentSeat>>,
    view: Option<Arc<NodeView>>,
    changed: bool,
}

impl Entry {
    pub(super) fn new(record: NodeRecord, agent: Option<Arc<AgentSeat>>) -> Self {
        Self {
            agent,
            kind: record.settings.kind,
            record,
            server: ServerFlavour::Other,
            version: None,
            models: Arc::default(),
            slots: None,
            pressure: None,
            last_error: None,
            liveness: Liveness::new(),
            counted_progress: None,
            doubted_model: None,
            died_at: None,
            answered: false,
            activity: Arc::default(),
            view: None,
            changed: true,
        }
    }

    pub(super) fn record(&self) -> &NodeRecord {
        &self.record
    }

    /// Takes over a changed row. What was learned from another address is forgotten. Returns whether that is so.
    pub(super) fn replace_record(
        &mut self,
        record: NodeRecord,
        agent: Option<Arc<AgentSeat>>,
    ) -> bool {
        if record == self.record {
            return false;
        }
        let moved = !record.settings.reaches_the_same_as(&self.record.settings);
        if moved {
            let activity = Arc::clone(&self.activity);
            *self = Self::new(record, agent);
            self.activity = activity;
        } else {
            self.record = record;
            self.changed = true;
        }
        moved
    }

    pub(super) fn learn(&mut self, learned: Learned, now: MonotonicTime) {
        self.answered = true;
        self.observe(LivenessEvent::ProbeAnswered, now);
        let same = self.kind == learned.found.kind
            && self.server == learned.found.server
            && self.version == learned.version
            && self.slots == learned.slots
            && self.pressure == learned.pressure
            && self.last_error.is_none()
            && *self.models == *learned.models;
        if same {
            return;
        }
        self.kind = learned.found.kind;
        self.server = learned.found.server;
        self.version = learned.version;
        self.slots = learned.slots;
        self.pressure = learned.pressure;
        self.models = learned.models.into();
        self.last_error = None;
        self.changed = true;
    }

    pub(super) fn fail(&mut self, error: &str) {
        if self.last_error.as_deref() != Some(error) {
            self.last_error = Some(error.into());
            self.changed = true;
        }
    }

    /// Takes note of what was seen, after the progress that came before it.
    pub(super) fn observe(&mut self, event: LivenessEvent, now: MonotonicTime) {
        self.count_progress();
        self.liveness.observe(event, now);
    }

    fn count_progress(&mut self) {
        let progress = self.activity.last_progress();
        if progress > self.counted_progress
            && let Some(at) = progress
        {
            self.counted_progress = progress;
            self.liveness.observe(LivenessEvent::Progress, at);
        }
    }

    pub(super) fn doubt(&mut self, model: &str) {
        self.doubted_model = Some(model.into());
    }

    /// Returns what to check with when only a one-token check can decide.
    pub(super) fn wanted_check(&mut self, now: MonotonicTime) -> Option<(NodeKind, ModelView)> {
        self.count_progress();
        if !self.liveness.wants_check(now, self.activity.in_flight()) {
            return None;
        }
        let model = crate::probe::check::choose(&self.models, self.doubted_model.as_deref())?;
        Some((self.kind, model.clone()))
    }

    /// Judges the node, and remembers since when it is dead.
    pub(super) fn judge(&mut self, now: MonotonicTime) -> LivenessVerdict {
        self.count_progress();
        let in_flight = self.activity.in_flight();
        let probes = self.server.working_probes();
        let verdict = self.liveness.verdict(now, in_flight, probes);
        if verdict.health == Health::Dead {
            self.died_at.get_or_insert(now);
        } else {
            self.died_at = None;
        }
        verdict
    }

    pub(super) fn died_at(&self) -> Option<MonotonicTime> {
        self.died_at
    }

    /// Tells whether the node ever answered at its present address.
    pub(super) fn was_alive(&self) -> bool {
        self.answered
    }

    pub(super) fn view(&self) -> Option<&Arc<NodeView>> {
        self.view.as_ref()
    }

    /// Makes the view anew if anything in it changed. Returns whether it did.
    pub(super) fn refresh(&mut self, verdict: LivenessVerdict, spared: bool) -> bool {
        let health = if spared {
            Health::Suspect
        } else {
            verdict.health
        };
        let state = self.state(verdict, spared);
        let same = !self.changed
            && self
                .view
                .as_ref()
                .is_some_and(|view| view.state == state && view.health == health);
        if same {
            return false;
        }
        self.changed = false;
        let settings = &self.record.settings;
        self.view = Some(Arc::new(NodeView {
            id: self.record.id,
            name: Arc::clone(&settings.name),
            kind: self.kind,
            server: self.server,
            url: Some(settings.url.clone()),
            credential: settings.credential.clone(),
            version: self.version.clone(),
            state,
            health,
            draining: self.record.draining,
            source: self.record.source,
            models: Arc::clone(&self.models),
            tags: Arc::clone(&settings.tags),
            region: settings.region.clone(),
            weight: settings.weight,
            max_in_flight: settings.max_in_flight,
            slots: self.slots,
            pressure: self.pressure,
            created_at: self.record.created_at,
            last_error: self.last_error.clone(),
            activity: Arc::clone(&self.activity),
            agent: self.agent.clone(),
        }));
        true
    }

    fn state(&self, verdict: LivenessVerdict, spared: bool) -> NodeState {
        if self.record.draining {
            return NodeState::Draining;
        }
        // What the last probe said is closer to the cause than how often it said so.
        let reason = || -> Arc<str> {
            match (verdict.cause, &self.last_error) {
                (
                    LivenessCause::CallsUnanswered(_)
                    | LivenessCause::CheckFailed
                    | LivenessCause::WorkingInSilence,
                    _,
                )
                | (_, None) => verdict.cause.to_string().into(),
                (_, Some(error)) => Arc::clone(error),
            }
        };
        match verdict.health {
            _ if spared => NodeState::Suspect {
                reason: format!(
                    "most nodes look dead at once, so the fault may be here; this one: {}",
                    reason()
                )
                .into(),
            },
            Health::Alive => NodeState::Ready,
            Health::Busy => NodeState::Busy,
            Health::Suspect if verdict.cause == LivenessCause::NeverSeen => NodeState::New,
            Health::Suspect => NodeState::Suspect { reason: reason() },
            Health::Dead => NodeState::Unhealthy { reason: reason() },
        }
    }
}
