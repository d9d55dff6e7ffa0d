//! `/api/v1/jobs/…`: the engine as administrators of the platform see it: kinds, schedules, dead letters.

use axum::extract::State;
use http::StatusCode;
use identity::Admin;
use primitives::{JobId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{JsonBody, PathParam, Problem, QueryParams, page_limit};

use super::{job_id, problem};
use crate::engine::{DeadJob, KindState, ScheduleState};
use crate::model::JobError;
use crate::surface::Jobs;

/// What came of jobs within a time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CameBody {
    /// Done.
    completed: u64,
    /// Failed for good.
    failed: u64,
    /// Tried again later.
    retried: u64,
}

impl From<[u64; 3]> for CameBody {
    fn from([completed, failed, retried]: [u64; 3]) -> Self {
        Self {
            completed,
            failed,
            retried,
        }
    }
}

/// A kind of work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KindBody {
    /// Its name.
    #[schema(example = "chat")]
    kind: String,
    /// Since when nothing more of it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Timestamp>,
    /// How many wait, those included that are not due yet.
    queued: u64,
    /// How many are carried out.
    running: u64,
    /// How many have failed and are kept.
    dead: u64,
    /// For how many seconds the one that has been due for longest has waited.
    oldest_due_s: u64,
    /// Within the last five minutes.
    last_five_minutes: CameBody,
    /// Within the last hour.
    last_hour: CameBody,
    /// Within the last day.
    last_day: CameBody,
}

impl From<KindState> for KindBody {
    fn from(state: KindState) -> Self {
        let [five_minutes, hour, day] = state.came;
        Self {
            kind: state.kind,
            paused_at: state.paused_at,
            queued: state.queued,
            running: state.running,
            dead: state.dead,
            oldest_due_s: state.oldest.as_secs(),
            last_five_minutes: five_minutes.into(),
            last_hour: hour.into(),
            last_day: day.into(),
        }
    }
}

/// The kinds of work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KindsBody {
    /// Each with its figures, by name.
    items: Vec<KindBody>,
}

/// A schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScheduleBody {
    /// Its name.
    name: String,
    /// The kind of work that it enqueues.
    kind: String,
    /// When, as a cron expression.
    #[schema(example = "*/10 * * * *")]
    cron: String,
    /// In this time zone.
    #[schema(example = "Europe/Vienna")]
    time_zone: String,
    /// When it fires next.
    #[schema(value_type = String, format = DateTime)]
    next_at: Timestamp,
    /// When it fired last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_at: Option<Timestamp>,
}

impl From<ScheduleState> for ScheduleBody {
    fn from(state: ScheduleState) -> Self {
        Self {
            name: state.name,
            kind: state.kind,
            cron: state.cron,
            time_zone: state.zone,
            next_at: state.next_at,
            last_at: state.last_at,
        }
    }
}

/// The schedules.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SchedulesBody {
    /// By name.
    items: Vec<ScheduleBody>,
}

/// A job that has failed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadBody {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: JobId,
    /// Its kind.
    kind: String,
    /// What held it apart from others of its kind: the model of an answer.
    lane: String,
    /// Attempts made.
    attempt: u32,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it failed.
    #[schema(value_type = String, format = DateTime)]
    ended_at: Timestamp,
    /// The kind of error.
    error_kind: String,
    /// Why it failed.
    error: String,
}

impl From<DeadJob> for DeadBody {
    fn from(dead: DeadJob) -> Self {
        Self {
            id: dead.id,
            kind: dead.kind,
            lane: dead.lane,
            attempt: dead.attempt,
            created_at: dead.created_at,
            ended_at: dead.ended_at,
            error_kind: dead.error_kind,
            error: dead.error,
        }
    }
}

/// Jobs that have failed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadListBody {
    /// The newest first.
    items: Vec<DeadBody>,
}

/// Which jobs that have failed to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadQuery {
    /// The kind.
    #[param(example = "chat")]
    kind: String,
    /// Only those from before this id.
    before: Option<String>,
    /// How many, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<u32>,
}

/// How many were made due again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReplayedBody {
    /// So many.
    replayed: u64,
}

/// Lists the kinds of work with their figures
#[utoipa::path(get, path = "/api/v1/jobs/kinds", operation_id = "list_job_kinds", tag = "operations",
    security(("bearer" = [])),
    responses((status = 200, description = "The kinds.", body = KindsBody)))]
pub(super) async fn list_job_kinds(
    _admin: Admin,
    State(jobs): State<Jobs>,
) -> Result<JsonBody<KindsBody>, Problem> {
    let kinds = jobs.list_kinds().await?;
    Ok(JsonBody(KindsBody {
        items: kinds.into_iter().map(KindBody::from).collect(),
    }))
}

/// Pauses a kind of work
///
/// In every process: what is carried out goes on, nothing more begins, and jobs are still accepted.
#[utoipa::path(post, path = "/api/v1/jobs/kinds/{kind}/pause", operation_id = "pause_job_kind", tag = "operations",
    params(("kind" = String, Path, description = "The kind.")), security(("bearer" = [])),
    responses(
        (status = 204, description = "It is paused."),
        (status = 404, description = "There is no such kind.", body = Problem),
    ))]
pub(super) async fn pause_job_kind(
    admin: Admin,
    State(jobs): State<Jobs>,
    PathParam(kind): PathParam<String>,
) -> Result<StatusCode, Problem> {
    jobs.pause_kind(&kind, &admin.actor())
        .await
        .map_err(problem)?;
    tracing::info!(kind, by = %admin.principal().name, "a kind of work was paused");
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a kind of work go on that was paused
#[utoipa::path(post, path = "/api/v1/jobs/kinds/{kind}/resume", operation_id = "resume_job_kind", tag = "operations",
    params(("kind" = String, Path, description = "The kind.")), security(("bearer" = [])),
    responses(
        (status = 204, description = "It goes on."),
        (status = 404, description = "There is no such kind.", body = Problem),
    ))]
pub(super) async fn resume_job_kind(
    admin: Admin,
    State(jobs): State<Jobs>,
    PathParam(kind): PathParam<String>,
) -> Result<StatusCode, Problem> {
    jobs.resume_kind(&kind, &admin.actor())
        .await
        .map_err(problem)?;
    tracing::info!(kind, by = %admin.principal().name, "a kind of work goes on");
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the newest jobs of a kind due again that have failed
///
/// At most 500 at once.
#[utoipa::path(post, path = "/api/v1/jobs/kinds/{kind}/replay", operation_id = "replay_job_kind", tag = "operations",
    params(("kind" = String, Path, description = "The kind.")), security(("bearer" = [])),
    responses((status = 200, description = "So many are due again.", body = ReplayedBody)))]
pub(super) async fn replay_job_kind(
    admin: Admin,
    State(jobs): State<Jobs>,
    PathParam(kind): PathParam<String>,
) -> Result<JsonBody<ReplayedBody>, Problem> {
    let replayed = jobs
        .replay_kind(&kind, &admin.actor())
        .await
        .map_err(problem)?;
    Ok(JsonBody(ReplayedBody { replayed }))
}

/// Lists jobs of a kind that have failed
///
/// Of everybody, without what was asked.
#[utoipa::path(get, path = "/api/v1/jobs/dead", operation_id = "list_dead_jobs", tag = "operations",
    params(DeadQuery), security(("bearer" = [])),
    responses((status = 200, description = "The jobs.", body = DeadListBody)))]
pub(super) async fn list_dead_jobs(
    _admin: Admin,
    State(jobs): State<Jobs>,
    QueryParams(query): QueryParams<DeadQuery>,
) -> Result<JsonBody<DeadListBody>, Problem> {
    let before = query.before.as_deref().map(str::parse).transpose();
    let before = before.map_err(|_| {
        problem(JobError::Filter(
            "before is no id of a job: take one from the list, or leave it out".to_owned(),
        ))
    })?;
    let limit = query.limit.unwrap_or(50);
    let found = jobs.list_dead(&query.kind, before, limit).await?;
    Ok(JsonBody(DeadListBody {
        items: found.into_iter().map(DeadBody::from).collect(),
    }))
}

/// Makes a job due again that has failed
#[utoipa::path(post, path = "/api/v1/jobs/dead/{id}/replay", operation_id = "replay_job", tag = "operations",
    params(("id" = String, Path, description = "The job's id.")), security(("bearer" = [])),
    responses(
        (status = 204, description = "It is due again."),
        (status = 404, description = "That is no id of a job.", body = Problem),
        (status = 409, description = "It has not failed, or is there again.", body = Problem),
    ))]
pub(super) async fn replay_job(
    admin: Admin,
    State(jobs): State<Jobs>,
    PathParam(id): PathParam<String>,
) -> Result<StatusCode, Problem> {
    let id = job_id(&id).map_err(problem)?;
    jobs.replay(id, &admin.actor()).await.map_err(problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the schedules of the program
#[utoipa::path(get, path = "/api/v1/jobs/schedules", operation_id = "list_schedules", tag = "operations",
    security(("bearer" = [])),
    responses((status = 200, description = "The schedules.", body = SchedulesBody)))]
pub(super) async fn list_schedules(
    _admin: Admin,
    State(jobs): State<Jobs>,
) -> Result<JsonBody<SchedulesBody>, Problem> {
    let schedules = jobs.list_schedules().await?;
    Ok(JsonBody(SchedulesBody {
        items: schedules.into_iter().map(ScheduleBody::from).collect(),
    }))
}
