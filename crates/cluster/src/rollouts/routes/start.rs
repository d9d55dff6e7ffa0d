//! `POST /api/v1/rollouts`.

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use identity::Admin;
use scheduling::rollout::{InvalidStages, Rule, Stage, Stages};
use serde::Deserialize;
use utoipa::ToSchema;
use web::{JsonBody, Problem, Tagged};

use super::super::operations::Start;
use super::super::{RolloutError, Rollouts};
use super::body::RolloutBody;
use super::by;

/// What is to be rolled out, and how.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StartRequest {
    /// The name that clients ask for: a model of the fleet.
    #[schema(example = "llama3.2:3b")]
    model: String,
    /// The version that is rolled out: another model.
    #[schema(example = "llama3.2:3b-q8")]
    to: String,
    /// Its stages: `node`, which can only be the first, and percent of the callers, which rise to 100. `node`, `10`, `100` when absent.
    #[serde(default = "stages")]
    #[schema(max_items = 20, example = json!(["node", "10", "100"]))]
    stages: Vec<String>,
    /// How long each stage lasts at least.
    #[serde(default = "hold")]
    #[schema(maximum = 2_592_000)]
    hold_seconds: u64,
    /// How many requests of the new version each stage sees at least.
    #[serde(default = "min_requests")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    min_requests: u64,
    /// The share of requests that may fail, 0 to less than 1.
    #[serde(default = "max_error_rate")]
    #[schema(minimum = 0, exclusive_maximum = 1)]
    max_error_rate: f64,
    /// How many times the old version's median time to the first token the new one's may be. Absent: any.
    #[schema(minimum = 1, maximum = 100)]
    max_slower: Option<f64>,
}

fn stages() -> Vec<String> {
    ["node", "10", "100"].map(str::to_owned).to_vec()
}

const fn hold() -> u64 {
    600
}

const fn min_requests() -> u64 {
    50
}

const fn max_error_rate() -> f64 {
    0.05
}

impl StartRequest {
    fn read(self) -> Result<Start, RolloutError> {
        let stages: Result<Vec<Stage>, InvalidStages> =
            self.stages.iter().map(|stage| stage.parse()).collect();
        Ok(Start {
            model: self.model,
            to: self.to,
            stages: Stages::new(stages?)?,
            rule: Rule {
                hold: Duration::from_secs(self.hold_seconds),
                min_requests: self.min_requests,
                max_error_rate: self.max_error_rate,
                max_slower: self.max_slower,
            },
        })
    }
}

/// Starts to roll a new version of a model out
///
/// The first stage begins once the new version is on as many nodes as the stage takes.
#[utoipa::path(post, path = "/api/v1/rollouts", operation_id = "start_rollout", tag = "models",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = StartRequest, security(("bearer" = [])),
    responses(
        (status = 201, description = "The roll-out.", body = RolloutBody, headers(("ETag" = String, description = "Its version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "No node has the model.", body = Problem),
        (status = 409, description = "The name, or one of the versions, is decided about already.", body = Problem),
    ))]
pub(super) async fn start_rollout(
    admin: Admin,
    State(rollouts): State<Rollouts>,
    JsonBody(request): JsonBody<StartRequest>,
) -> Result<(StatusCode, Tagged<JsonBody<RolloutBody>>), Problem> {
    let looked = rollouts.start(request.read()?, &by(&admin)).await?;
    let version = looked.rollout.etag();
    let body = RolloutBody::new(looked, &rollouts);
    Ok((StatusCode::CREATED, Tagged(version, JsonBody(body))))
}
