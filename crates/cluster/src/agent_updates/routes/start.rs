//! `POST /api/v1/agent-rollouts`.

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use identity::Admin;
use scheduling::rollout::{InvalidStages, Stage, Stages};
use serde::Deserialize;
use utoipa::ToSchema;
use web::{JsonBody, Problem, Tagged};

use super::super::AgentUpdates;
use super::super::error::AgentUpdateError;
use super::super::operations::Start;
use super::body::AgentRolloutBody;
use super::by;

/// What is to be rolled out to agents, and how.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StartAgentRolloutRequest {
    /// The version: that of a release, or of several for different targets.
    #[schema(example = "0.2.0")]
    version: String,
    /// Its stages: `node`, one agent, which can only be the first, and percent of the agents, which rise to 100. `node`, `10`, `100` when absent.
    #[serde(default = "stages")]
    #[schema(max_items = 20, example = json!(["node", "10", "100"]))]
    stages: Vec<String>,
    /// How long all agents of a stage are to be linked with the version before the next one begins.
    #[serde(default = "hold")]
    #[schema(maximum = 2_592_000)]
    hold_seconds: u64,
    /// How long an agent may take to be linked with it, 10 s to a day.
    #[serde(default = "patience")]
    #[schema(minimum = 10, maximum = 86_400)]
    patience_seconds: u64,
}

fn stages() -> Vec<String> {
    ["node", "10", "100"].map(str::to_owned).to_vec()
}

const fn hold() -> u64 {
    300
}

const fn patience() -> u64 {
    900
}

impl StartAgentRolloutRequest {
    fn read(self) -> Result<Start, AgentUpdateError> {
        let stages: Result<Vec<Stage>, InvalidStages> =
            self.stages.iter().map(|stage| stage.parse()).collect();
        Ok(Start {
            version: self.version.parse()?,
            stages: Stages::new(stages?)?,
            hold: Duration::from_secs(self.hold_seconds),
            patience: Duration::from_secs(self.patience_seconds),
        })
    }
}

/// Starts to roll a version out to agents, one first
///
/// Only agents that believe the key of the release are asked. The first one that is not back with the version ends the roll-out; agents go
/// back to the version before by themselves.
#[utoipa::path(post, path = "/api/v1/agent-rollouts", operation_id = "start_agent_rollout", tag = "nodes",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = StartAgentRolloutRequest, security(("bearer" = [])),
    responses(
        (status = 201, description = "The roll-out.", body = AgentRolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "No complete release has the version.", body = Problem),
        (status = 409, description = "A roll-out is under way.", body = Problem),
    ))]
pub(super) async fn start_agent_rollout(
    admin: Admin,
    State(updates): State<AgentUpdates>,
    JsonBody(request): JsonBody<StartAgentRolloutRequest>,
) -> Result<(StatusCode, Tagged<JsonBody<AgentRolloutBody>>), Problem> {
    let looked = updates.start(request.read()?, &by(&admin)).await?;
    let version = looked.rollout.etag();
    Ok((
        StatusCode::CREATED,
        Tagged(version, JsonBody(looked.into())),
    ))
}
