//! `GET /api/v1/system/stats`.

use std::collections::BTreeMap;

use axum::extract::State;
use identity::Admin;
use primitives::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use web::{JsonBody, Problem};

use crate::database::Statistics;
use crate::surface::System;

/// What is in the database.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatisticsBody {
    /// When it was counted: within the last 15 s.
    #[schema(value_type = String, format = DateTime)]
    counted_at: Timestamp,
    /// Organisations.
    organisations: u64,
    /// People.
    users: u64,
    /// People who may not sign in.
    users_disabled: u64,
    /// Sessions that stand.
    sessions: u64,
    /// Keys that work.
    keys: u64,
    /// Stored nodes.
    nodes: u64,
    /// Inference requests of the last 24 hours by how they ended.
    #[schema(example = json!({"ok": 1000, "failed": 2}))]
    requests: BTreeMap<String, u64>,
    /// Tokens of their prompts.
    prompt_tokens: u64,
    /// Tokens of their answers.
    completion_tokens: u64,
    /// Recorded changes of the last 24 hours.
    changes: u64,
}

impl From<Statistics> for StatisticsBody {
    fn from(statistics: Statistics) -> Self {
        Self {
            counted_at: statistics.counted_at,
            organisations: statistics.organisations,
            users: statistics.users,
            users_disabled: statistics.users_disabled,
            sessions: statistics.sessions,
            keys: statistics.keys,
            nodes: statistics.nodes,
            requests: statistics.requests.into_iter().collect(),
            prompt_tokens: statistics.prompt_tokens,
            completion_tokens: statistics.completion_tokens,
            changes: statistics.changes,
        }
    }
}

/// Counts what is in the database
#[utoipa::path(get, path = "/api/v1/system/stats", operation_id = "show_statistics", tag = "system", security(("bearer" = [])),
    responses(
        (status = 200, description = "The counts.", body = StatisticsBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn show_statistics(
    _: Admin,
    State(system): State<System>,
) -> Result<JsonBody<StatisticsBody>, Problem> {
    Ok(JsonBody(system.statistics().await?.into()))
}
