//! A roll-out as it is stored.

use std::time::Duration;

use primitives::{NodeId, RolloutId, Timestamp};
use scheduling::rollout::{Fault, Rule, Stage, Stages};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use web::ETag;

use super::split::RolloutSplit;

/// All callers, in hundredths of a percent.
pub(crate) const ALL: u32 = 10_000;

/// How far a roll-out has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RolloutState)]
pub(crate) enum State {
    /// It goes from stage to stage.
    Running,
    /// It stays in its stage until somebody lets it go on.
    Paused,
    /// All callers have the new version.
    Done,
    /// It took itself back.
    RolledBack,
    /// Somebody took it back.
    Aborted,
}

impl State {
    /// All states.
    pub(crate) const ALL: [Self; 5] = [
        Self::Running,
        Self::Paused,
        Self::Done,
        Self::RolledBack,
        Self::Aborted,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
            Self::Aborted => "aborted",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    pub(crate) const fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// What was wrong with a version that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// It failed.
    Errors,
    /// It was slow.
    Slow,
}

impl FaultKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Slow => "slow",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Errors, Self::Slow]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

impl From<&Fault> for FaultKind {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::Errors { .. } => Self::Errors,
            Fault::Slow { .. } => Self::Slow,
        }
    }
}

/// One roll-out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rollout {
    pub(crate) id: RolloutId,
    /// The key of the name that clients ask for, and the name.
    pub(crate) model: String,
    pub(crate) name: String,
    /// The key of the old version, and its name.
    pub(crate) old_model: String,
    pub(crate) old_name: String,
    /// The key of the new version, and its name.
    pub(crate) new_model: String,
    pub(crate) new_name: String,
    pub(crate) stages: Stages,
    pub(crate) rule: Rule,
    pub(crate) state: State,
    /// Absent before the first stage.
    pub(crate) stage: Option<u32>,
    /// Of the callers, in hundredths of a percent.
    pub(crate) share: u32,
    /// Where the new version is served in the stage at one node.
    pub(crate) node: Option<NodeId>,
    pub(crate) entered_at: Option<Timestamp>,
    /// Why it ended, or stands.
    pub(crate) reason: Option<String>,
    /// What was wrong, where it took itself back.
    pub(crate) fault: Option<FaultKind>,
    pub(crate) changed_by: String,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) closed_at: Option<Timestamp>,
}

impl Rollout {
    /// Returns the version of what is stored.
    pub(crate) fn etag(&self) -> ETag {
        ETag::of(&(self.id.to_string(), self.version))
    }

    /// Returns the present stage.
    pub(crate) fn stage_now(&self) -> Option<Stage> {
        self.stages.get(self.stage? as usize)
    }

    /// Returns the position of the stage that comes next; nothing in the last one.
    pub(crate) fn next_stage(&self) -> Option<u32> {
        let next = self.stage.map_or(0, |stage| stage + 1);
        ((next as usize) < self.stages.len()).then_some(next)
    }

    /// Returns the key of the version that those callers get who do not get the other one, and its name.
    pub(crate) fn standing(&self) -> (&str, &str) {
        if self.share == ALL {
            (&self.new_model, &self.new_name)
        } else {
            (&self.old_model, &self.old_name)
        }
    }

    /// Returns how it divides the callers of its name; nothing where they get what they ask for anyway.
    pub(crate) fn split(&self) -> Option<RolloutSplit> {
        if self.closed_at.is_some() || (self.share == 0 && self.old_model == self.model) {
            return None;
        }
        Some(RolloutSplit {
            id: self.id,
            model: self.model.clone(),
            old: self.old_model.clone(),
            new: self.new_model.clone(),
            share: self.share,
            stage: self.stage.filter(|_| self.state.is_active()),
            only: self.node,
        })
    }

    /// Enters a stage.
    pub(crate) fn enter(
        &mut self,
        stage: u32,
        old_nodes: u32,
        node: Option<NodeId>,
        now: Timestamp,
    ) {
        self.share = self.stages.share(stage as usize, old_nodes);
        self.stage = Some(stage);
        self.node = node.filter(|_| self.stage_now() == Some(Stage::Node));
        self.entered_at = Some(now);
    }

    /// Ends it. Where all callers get what they ask for then, it decides nothing any more.
    pub(crate) fn end(&mut self, state: State, reason: String, now: Timestamp) {
        self.state = state;
        self.reason = Some(reason);
        self.node = None;
        self.ended_at = Some(now);
        self.share = if state == State::Done { ALL } else { 0 };
        if self.split().is_none() {
            self.closed_at = Some(now);
        }
    }

    /// Notes a change before it is stored.
    pub(crate) fn change(&mut self, by: &str, now: Timestamp) {
        self.version += 1;
        self.changed_by = by.chars().take(200).collect();
        self.updated_at = now;
    }

    /// Shows it for the journal of changes.
    pub(crate) fn seen(&self) -> Value {
        let stages: Vec<String> = self.stages.iter().map(|stage| stage.to_string()).collect();
        json!({
            "model": self.name,
            "from": self.old_name,
            "to": self.new_name,
            "state": self.state.as_str(),
            "stage": self.stage_now().map(|stage| stage.to_string()),
            "stages": stages,
            "share_percent": f64::from(self.share) / 100.0,
            "reason": self.reason,
        })
    }
}

/// Reads stages as they are stored.
pub(crate) fn read_stages(text: &str) -> Option<Stages> {
    let stages: Option<Vec<Stage>> = text.split(',').map(|stage| stage.parse().ok()).collect();
    Stages::new(stages?).ok()
}

/// Writes them.
pub(crate) fn written_stages(stages: &Stages) -> String {
    let stages: Vec<String> = stages.iter().map(|stage| stage.to_string()).collect();
    stages.join(",")
}

/// The shortest and the longest time that a stage can be asked to last.
pub(crate) const HOLDS: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_hours(30 * 24);
/// How many requests a stage can be asked to see.
pub(crate) const REQUESTS: std::ops::RangeInclusive<u64> = 1..=1_000_000;
/// How many times the old median the new one can be allowed to be.
pub(crate) const SLOWER: std::ops::RangeInclusive<f64> = 1.0..=100.0;
