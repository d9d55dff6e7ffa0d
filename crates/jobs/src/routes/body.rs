//! A job as it is shown.

use identity::PriorityClass;
use primitives::{JobId, RequestId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::{Job, JobKind, JobState};

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JobBody {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: JobId,
    /// What is to be done.
    kind: JobKind,
    /// The model.
    model: String,
    /// How soon it may be served.
    priority: PriorityClass,
    /// How far it is.
    state: JobState,
    /// Attempts so far.
    attempt: u32,
    /// Attempts after which it has failed. Waiting for a node or for a limit is none.
    most_attempts: u32,
    /// The number of the last piece of its output; 0 while there is none.
    pieces: i64,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was first carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it is tried again, while it waits for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// The request of the last attempt, which `remuda why` explains.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    request_id: Option<RequestId>,
    /// Why it failed, or why the last attempt came to nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JobErrorBody>,
    /// The whole answer, as a live request without a stream would have got it; only once it is completed, and only where one job is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// Where to go on.
    links: LinksBody,
}

/// Why something came to nothing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JobErrorBody {
    /// The kind.
    #[schema(example = "unavailable")]
    kind: String,
    /// What happened.
    message: String,
}

/// Where to go on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LinksBody {
    /// The job: its state and, in the end, its result.
    #[serde(rename = "self")]
    own: String,
    /// Its output as it comes (server-sent events).
    events: String,
    /// Its steps over a WebSocket.
    websocket: String,
    /// `POST` calls it off.
    cancel: String,
}

/// Returns the path of a job.
pub(super) fn path(id: JobId) -> String {
    format!("/api/v1/inference/jobs/{id}")
}

impl JobBody {
    /// Shows a job with its result.
    pub(super) fn new(job: Job, result: Option<Value>) -> Self {
        let own = path(job.id);
        let waits = job.state == JobState::Queued && job.run_at > job.created_at;
        let error = job.error.map(|message| JobErrorBody {
            kind: job.error_kind.unwrap_or_else(|| "bug".to_owned()),
            message,
        });
        Self {
            links: LinksBody {
                events: format!("{own}/events"),
                cancel: format!("{own}/cancel"),
                websocket: format!("/ws/inference/{}", job.id),
                own,
            },
            id: job.id,
            kind: job.kind,
            model: job.subject,
            priority: job.class,
            state: job.state,
            attempt: job.attempt,
            most_attempts: job.most_attempts,
            pieces: job.chunks,
            created_at: job.created_at,
            started_at: job.started_at,
            next_attempt_at: waits.then_some(job.run_at),
            ended_at: job.ended_at,
            request_id: job.request_id,
            // What went wrong on the way is nobody's business once it has gone right.
            error: error.filter(|_| job.state != JobState::Completed),
            result,
        }
    }
}

impl From<Job> for JobBody {
    fn from(job: Job) -> Self {
        Self::new(job, None)
    }
}
