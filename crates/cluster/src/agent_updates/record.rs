//! Releases and roll-outs as they are stored.

use std::ops::RangeInclusive;
use std::time::Duration;

use agent_proto::{Manifest, Version};
use primitives::{NodeId, RolloutId, Timestamp};
use scheduling::rollout::{Stage, Stages};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use web::ETag;

/// How long a stage can be asked to last.
pub(crate) const HOLDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(30 * 24);
/// How long an agent can be given to be back with the version.
pub(crate) const PATIENCES: RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_hours(24);

/// A release.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    /// `VERSION-TARGET`.
    pub(crate) id: String,
    pub(crate) manifest: Manifest,
    pub(crate) created_by: String,
    pub(crate) created_at: Timestamp,
    /// From when on it can be given out.
    pub(crate) completed_at: Option<Timestamp>,
}

impl Release {
    /// Names the release of a version for a target.
    pub(crate) fn id_of(manifest: &Manifest) -> String {
        format!("{}-{}", manifest.version, manifest.target)
    }

    /// Shows it for the journal of changes.
    pub(crate) fn seen(&self) -> Value {
        json!({
            "version": self.manifest.version.to_string(),
            "target": self.manifest.target,
            "sha256": self.manifest.sha256.to_string(),
            "update_key": self.manifest.key.to_string(),
        })
    }
}

/// How far a roll-out to agents has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AgentRolloutState {
    /// It goes from stage to stage.
    Running,
    /// It asks no further agents until somebody lets it go on.
    Paused,
    /// All agents that can have the version have it.
    Done,
    /// An agent did not come back with the version.
    Failed,
    /// Somebody ended it.
    Aborted,
}

impl AgentRolloutState {
    pub(crate) const ALL: [Self; 5] = [
        Self::Running,
        Self::Paused,
        Self::Done,
        Self::Failed,
        Self::Aborted,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
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

/// A roll-out of a version to agents.
#[derive(Clone, Debug)]
pub(crate) struct AgentRollout {
    pub(crate) id: RolloutId,
    pub(crate) agent_version: Version,
    pub(crate) stages: Stages,
    /// How long all agents of a stage are to be linked with the version before the next one begins.
    pub(crate) hold: Duration,
    /// How long an agent may take to be so.
    pub(crate) patience: Duration,
    pub(crate) state: AgentRolloutState,
    pub(crate) stage: u32,
    /// Why it ended, or stands.
    pub(crate) reason: Option<String>,
    pub(crate) changed_by: String,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
}

/// An agent that was asked to take the version.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) stage: u32,
    /// Why it did not.
    pub(crate) failed: Option<String>,
    pub(crate) at: Timestamp,
}

impl AgentRollout {
    /// Returns the version of what is stored.
    pub(crate) fn etag(&self) -> ETag {
        ETag::of(&(self.id.to_string(), self.version))
    }

    pub(crate) fn stage_now(&self) -> Stage {
        self.stages.get(self.stage as usize).unwrap_or(Stage::Node)
    }

    /// Notes a change before it is stored.
    pub(crate) fn change(&mut self, by: &str, now: Timestamp) {
        self.version += 1;
        self.changed_by = by.chars().take(200).collect();
        self.updated_at = now;
    }

    pub(crate) fn end(&mut self, state: AgentRolloutState, reason: String, now: Timestamp) {
        self.state = state;
        self.reason = Some(reason);
        self.ended_at = Some(now);
    }

    /// Shows it for the journal of changes.
    pub(crate) fn seen(&self) -> Value {
        json!({
            "agent_version": self.agent_version.to_string(),
            "state": self.state.as_str(),
            "stage": self.stage_now().to_string(),
            "stages": self.stages.iter().map(|stage| stage.to_string()).collect::<Vec<_>>(),
            "reason": self.reason,
        })
    }
}
