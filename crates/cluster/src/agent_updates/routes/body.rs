//! Roll-outs to agents as they look on the wire.

use primitives::{RolloutId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::decide::{Agent, Standing};
use super::super::operations::Looked;
use super::super::record::{AgentRolloutState, Asked};

/// How an agent stands towards the version.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AgentStanding)]
pub(super) enum StandingName {
    /// It is linked with it, or a later one.
    Updated,
    /// It can take it, and is asked in its turn.
    Waiting,
    /// It is taking or trying it.
    UnderWay,
    /// It has not come back with it.
    Failed,
    /// It is not linked.
    Away,
    /// It cannot have it.
    LeftOut,
    /// It was asked, in a roll-out that has ended.
    Asked,
}

/// An agent in a roll-out.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct RolloutAgentBody {
    /// The node.
    node: String,
    /// How it stands.
    standing: StandingName,
    /// The number of the stage in which it was asked, from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<u32>,
    /// Why it stands so, where that needs saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl RolloutAgentBody {
    fn now(agent: Agent, asked: Option<&Asked>) -> Self {
        let (standing, reason) = match agent.standing {
            Standing::There { serves: true } => (StandingName::Updated, None),
            Standing::There { serves: false } => (
                StandingName::Updated,
                Some("its node does not answer".to_owned()),
            ),
            Standing::Ready => (StandingName::Waiting, None),
            Standing::UnderWay => (StandingName::UnderWay, None),
            Standing::Failed(reason) => (StandingName::Failed, Some(reason)),
            Standing::Away(reason) => (StandingName::Away, Some(reason)),
            Standing::LeftOut(reason) => (StandingName::LeftOut, Some(reason)),
        };
        Self {
            node: agent.name,
            standing,
            stage: asked.map(|asked| asked.stage + 1),
            reason,
        }
    }

    fn then(asked: Asked) -> Self {
        Self {
            node: asked.name,
            standing: if asked.failed.is_some() {
                StandingName::Failed
            } else {
                StandingName::Asked
            },
            stage: Some(asked.stage + 1),
            reason: asked.failed,
        }
    }
}

/// A roll-out of a version to agents.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AgentRolloutBody {
    /// Its id.
    #[schema(value_type = String)]
    id: RolloutId,
    /// The version that agents get.
    version: String,
    /// How far it has come.
    state: AgentRolloutState,
    /// The present stage, `node` or percent of the agents.
    stage: String,
    /// Its number, from 1 on.
    stage_number: u32,
    /// All stages.
    stages: Vec<String>,
    /// How long all agents of a stage are linked with the version before the next stage begins.
    hold_seconds: u64,
    /// How long an agent may take to be linked with it.
    patience_seconds: u64,
    /// What it waits for, where it goes from stage to stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
    /// Why it has ended, or who has paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// All agents while it is under way, those that were asked afterwards; by name.
    agents: Vec<RolloutAgentBody>,
    /// Who changed it last: a person's or key's name, or `remuda` where it went on by itself.
    changed_by: String,
    /// When it was started.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

impl From<Looked> for AgentRolloutBody {
    fn from(looked: Looked) -> Self {
        let Looked {
            rollout,
            asked,
            agents,
            waits_for,
        } = looked;
        let agents = if rollout.state.is_active() {
            let row = |agent: &Agent| asked.iter().find(|asked| asked.node == agent.node);
            let now = agents.into_iter().map(|agent| {
                let row = row(&agent);
                RolloutAgentBody::now(agent, row)
            });
            now.collect()
        } else {
            asked.into_iter().map(RolloutAgentBody::then).collect()
        };
        Self {
            id: rollout.id,
            version: rollout.agent_version.to_string(),
            state: rollout.state,
            stage: rollout.stage_now().to_string(),
            stage_number: rollout.stage + 1,
            stages: rollout
                .stages
                .iter()
                .map(|stage| stage.to_string())
                .collect(),
            hold_seconds: rollout.hold.as_secs(),
            patience_seconds: rollout.patience.as_secs(),
            waits_for,
            reason: rollout.reason,
            agents,
            changed_by: rollout.changed_by,
            created_at: rollout.created_at,
            updated_at: rollout.updated_at,
            ended_at: rollout.ended_at,
        }
    }
}
