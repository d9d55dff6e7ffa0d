//! HTTP of the domain: decode, call one operation, encode.

mod body;
mod engine;
mod events;
mod jobs;
mod submit;

use axum::extract::FromRef;
use identity::Identity;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::Problem;

use crate::model::JobError;
use crate::surface::Jobs;

impl FromRef<Jobs> for Identity {
    fn from_ref(jobs: &Jobs) -> Self {
        jobs.inner.identity.clone()
    }
}

impl Jobs {
    /// Returns the routes of durable work, with their descriptions.
    pub fn routes(&self) -> OpenApiRouter<()> {
        OpenApiRouter::new()
            .routes(routes!(submit::submit_chat))
            .routes(routes!(submit::submit_generate))
            .routes(routes!(jobs::list_jobs))
            .routes(routes!(jobs::show_job, jobs::delete_job))
            .routes(routes!(jobs::cancel_job))
            .routes(routes!(events::follow_job))
            .routes(routes!(engine::list_job_kinds))
            .routes(routes!(engine::pause_job_kind))
            .routes(routes!(engine::resume_job_kind))
            .routes(routes!(engine::replay_job_kind))
            .routes(routes!(engine::list_dead_jobs))
            .routes(routes!(engine::replay_job))
            .routes(routes!(engine::list_schedules))
            .with_state(self.clone())
    }
}

/// Makes the answer to a refusal, with the time to wait where there is one.
fn problem(error: JobError) -> Problem {
    let wait = error.retry_after();
    let problem = Problem::from(error);
    match wait {
        Some(wait) => problem.retry_after(wait),
        None => problem,
    }
}

/// Reads the id in a path. What is no id names nothing.
fn job_id(text: &str) -> Result<primitives::JobId, JobError> {
    text.parse()
        .map_err(|_| JobError::Unknown(text.chars().take(64).collect()))
}
