//! Roll-outs as they look on the wire.

use primitives::{RolloutId, Timestamp};
use scheduling::rollout::Observed;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Rollouts;
use super::super::look::Looked;
use super::super::record::State;

/// What was seen of a version in the present stage.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct VersionBody {
    /// Its name.
    model: String,
    /// Requests that count: not those that were the client's fault, or that the client cancelled.
    requests: u64,
    /// Those that failed, or whose answer broke off.
    failed: u64,
    /// The share that failed, 0 to 1; absent without requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_rate: Option<f64>,
    /// The median time to the first token in milliseconds, within 5 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_token_ms: Option<f64>,
}

impl VersionBody {
    fn new(model: String, seen: &Observed) -> Self {
        let median = seen.first_tokens.median();
        Self {
            model,
            requests: seen.counted(),
            failed: seen.failed,
            error_rate: seen.error_rate(),
            first_token_ms: median.map(|median| median.as_secs_f64() * 1e3),
        }
    }
}

/// A roll-out.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct RolloutBody {
    /// Its id.
    #[schema(value_type = String)]
    id: RolloutId,
    /// The name that clients ask for.
    model: String,
    /// The version that callers had before, with what was seen of it in the present stage.
    from: VersionBody,
    /// The version that is rolled out, likewise.
    to: VersionBody,
    /// How far it has come.
    state: State,
    /// Whether it decides which version callers get.
    in_effect: bool,
    /// The present stage, `node` or percent of the callers; absent before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    /// Its number, from 1 on; 0 before the first one.
    stage_number: u32,
    /// All stages.
    stages: Vec<String>,
    /// The share of callers who get the new version, in percent.
    share_percent: f64,
    /// The node that serves the new version in the stage `node`.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// How long each stage lasts at least.
    hold_seconds: u64,
    /// How many requests of the new version each stage sees at least.
    min_requests: u64,
    /// The share of requests that may fail, 0 to 1.
    max_error_rate: f64,
    /// How many times the old version's median time to the first token the new one's may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_slower: Option<f64>,
    /// What it waits for, where it goes from stage to stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
    /// Why it has ended, or who has paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Ids of requests that showed the fault, or failed in the present stage: at most 20.
    requests: Vec<String>,
    /// Who changed it last: a person's or key's name, or `remuda` where it went on by itself.
    changed_by: String,
    /// When it was started.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// When the present stage began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    entered_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

impl RolloutBody {
    pub(super) fn new(looked: Looked, rollouts: &Rollouts) -> Self {
        let Looked {
            rollout,
            seen,
            shown,
            waits_for,
        } = looked;
        let snapshot = rollouts.registry().snapshot();
        let node = rollout.node.map(|id| {
            let found = snapshot.find_node(id);
            found.map_or_else(|| id.to_string(), |node| node.name.to_string())
        });
        let stage = rollout.stage_now().map(|stage| stage.to_string());
        Self {
            id: rollout.id,
            stages: rollout
                .stages
                .iter()
                .map(|stage| stage.to_string())
                .collect(),
            model: rollout.name,
            from: VersionBody::new(rollout.old_name, &seen.old),
            to: VersionBody::new(rollout.new_name, &seen.new),
            state: rollout.state,
            in_effect: rollout.closed_at.is_none(),
            stage,
            stage_number: rollout.stage.map_or(0, |stage| stage + 1),
            share_percent: f64::from(rollout.share) / 100.0,
            node,
            hold_seconds: rollout.rule.hold.as_secs(),
            min_requests: rollout.rule.min_requests,
            max_error_rate: rollout.rule.max_error_rate,
            max_slower: rollout.rule.max_slower,
            waits_for,
            reason: rollout.reason,
            requests: shown,
            changed_by: rollout.changed_by,
            created_at: rollout.created_at,
            updated_at: rollout.updated_at,
            entered_at: rollout.entered_at,
            ended_at: rollout.ended_at,
        }
    }
}
