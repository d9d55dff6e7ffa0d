//! `GET /api/v1/inference/jobs`, `GET` and `DELETE /api/v1/inference/jobs/{id}`, `POST …/cancel`.

use axum::extract::State;
use http::StatusCode;
use identity::Caller;
use primitives::PageRequest;
use serde::Deserialize;
use utoipa::IntoParams;
use web::{JsonBody, PageBody, PathParam, Problem, QueryParams, page_limit, page_offset};

use super::body::JobBody;
use super::{job_id, problem};
use crate::list::{JobFilter, JobSort};
use crate::model::{JobKind, JobState, Owner};
use crate::surface::Jobs;

/// Which jobs to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct JobsQuery {
    /// Items on the page, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Items to leave out at the start.
    #[serde(default, deserialize_with = "page_offset")]
    #[param(minimum = 0, maximum = 100_000)]
    offset: Option<u32>,
    /// The order; the newest first when absent.
    #[param(inline)]
    sort: Option<JobSort>,
    /// Only those in this state.
    #[param(inline)]
    state: Option<JobState>,
    /// Only those of this kind.
    #[param(inline)]
    kind: Option<JobKind>,
    /// Only those for this model, by its normalised name.
    model: Option<String>,
}

/// Lists the caller's own jobs
#[utoipa::path(get, path = "/api/v1/inference/jobs", operation_id = "list_jobs", tag = "inference",
    params(JobsQuery), security(("bearer" = [])),
    responses((status = 200, description = "A page of jobs.", body = PageBody<JobBody>)))]
pub(super) async fn list_jobs(
    caller: Caller,
    State(jobs): State<Jobs>,
    QueryParams(query): QueryParams<JobsQuery>,
) -> Result<JsonBody<PageBody<JobBody>>, Problem> {
    let filter = JobFilter {
        state: query.state,
        kind: query.kind,
        subject: query.model,
    };
    let page = PageRequest {
        limit: query.limit,
        cursor: query.cursor,
        offset: query.offset,
    };
    let sort = query.sort.unwrap_or_default();
    let owner = Owner::of(caller.principal());
    let found = jobs
        .list(owner, &filter, sort, &page)
        .await
        .map_err(problem)?;
    Ok(JsonBody(PageBody::from(found).map(JobBody::from)))
}

/// Shows one of the caller's jobs, with its result
#[utoipa::path(get, path = "/api/v1/inference/jobs/{id}", operation_id = "show_job", tag = "inference",
    params(("id" = String, Path, description = "The job's id.")), security(("bearer" = [])),
    responses(
        (status = 200, description = "The job.", body = JobBody),
        (status = 404, description = "There is no such job of the caller's.", body = Problem),
    ))]
pub(super) async fn show_job(
    caller: Caller,
    State(jobs): State<Jobs>,
    PathParam(id): PathParam<String>,
) -> Result<JsonBody<JobBody>, Problem> {
    let id = job_id(&id).map_err(problem)?;
    let owner = Owner::of(caller.principal());
    let (job, result) = jobs.load(owner, id).await.map_err(problem)?;
    Ok(JsonBody(JobBody::new(job, result)))
}

/// Calls one of the caller's jobs off
///
/// At once, also while it is carried out.
#[utoipa::path(post, path = "/api/v1/inference/jobs/{id}/cancel", operation_id = "cancel_job", tag = "inference",
    params(("id" = String, Path, description = "The job's id.")), security(("bearer" = [])),
    responses(
        (status = 200, description = "It is called off.", body = JobBody),
        (status = 404, description = "There is no such job of the caller's.", body = Problem),
        (status = 409, description = "It has ended.", body = Problem),
    ))]
pub(super) async fn cancel_job(
    caller: Caller,
    State(jobs): State<Jobs>,
    PathParam(id): PathParam<String>,
) -> Result<JsonBody<JobBody>, Problem> {
    let id = job_id(&id).map_err(problem)?;
    let owner = Owner::of(caller.principal());
    let job = jobs.cancel(owner, id).await.map_err(problem)?;
    Ok(JsonBody(job.into()))
}

/// Deletes one of the caller's jobs that has ended
///
/// With its output and its result.
#[utoipa::path(delete, path = "/api/v1/inference/jobs/{id}", operation_id = "delete_job", tag = "inference",
    params(("id" = String, Path, description = "The job's id.")), security(("bearer" = [])),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, description = "There is no such job of the caller's.", body = Problem),
        (status = 409, description = "It has not ended.", body = Problem),
    ))]
pub(super) async fn delete_job(
    caller: Caller,
    State(jobs): State<Jobs>,
    PathParam(id): PathParam<String>,
) -> Result<StatusCode, Problem> {
    let id = job_id(&id).map_err(problem)?;
    let owner = Owner::of(caller.principal());
    jobs.delete(owner, id).await.map_err(problem)?;
    Ok(StatusCode::NO_CONTENT)
}
