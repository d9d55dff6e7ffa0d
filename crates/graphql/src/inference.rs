//! Request records and answers in the background.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use gateway::{RequestBody, RequestsQuery};
use identity::{Admin, Caller};
use jobs::{JobFilter, JobSort, JobState, Owner};
use primitives::{JobId, Page, Timestamp};

use crate::cost;
use crate::error::{id, invalid, refused};
use crate::page::{PageOf, wanted};
use crate::session::{by, services};

/// An inference request as it ended. Times are in microseconds.
#[derive(SimpleObject)]
pub(crate) struct Request {
    /// Its id, as in `x-request-id`.
    id: ID,
    /// When it arrived.
    received_at: String,
    /// `anonymous`, `key` or `user`.
    caller_kind: String,
    /// The caller's name.
    caller: String,
    /// The client's dialect.
    dialect: String,
    /// The operation.
    operation: String,
    /// The model that served it.
    model: Option<String>,
    /// The node that served it last.
    node: Option<String>,
    /// The HTTP status.
    status: i64,
    /// `ok`, `client_error`, `rejected`, `failed`, `cancelled` or `truncated`.
    outcome: String,
    /// Why it did not end well.
    error: Option<String>,
    /// Time in the queue.
    queue_us: i64,
    /// From arrival to the first token.
    first_token_us: Option<i64>,
    /// From arrival to the end.
    total_us: i64,
    /// Tokens of the prompt.
    prompt_tokens: Option<i64>,
    /// Tokens of the answer.
    completion_tokens: Option<i64>,
}

impl From<RequestBody> for Request {
    fn from(request: RequestBody) -> Self {
        Self {
            id: request.id.to_string().into(),
            received_at: request.received_at.to_rfc3339(),
            caller_kind: request.caller_kind,
            caller: request.caller,
            dialect: request.dialect,
            operation: request.operation,
            model: request.model,
            node: request.node,
            status: request.status,
            outcome: request.outcome,
            error: request.error,
            queue_us: request.queue_us,
            first_token_us: request.first_token_us,
            total_us: request.total_us,
            prompt_tokens: request.prompt_tokens,
            completion_tokens: request.completion_tokens,
        }
    }
}

/// An answer that is made in the background.
#[derive(SimpleObject)]
pub(crate) struct Job {
    /// Its id.
    id: ID,
    /// The model.
    model: String,
    /// `queued`, `running`, `completed`, `failed` or `cancelled`.
    state: &'static str,
    /// Why it did not end well, or is to be tried again.
    error: Option<String>,
    /// The request of the last attempt.
    request_id: Option<ID>,
    /// When it was accepted.
    created_at: String,
    /// When it ended.
    ended_at: Option<String>,
    /// Attempts so far.
    attempt: u32,
}

impl From<jobs::Job> for Job {
    fn from(job: jobs::Job) -> Self {
        Self {
            id: job.id.to_string().into(),
            model: job.subject,
            state: job.state.as_str(),
            error: job.error,
            request_id: job.request_id.map(|id| id.to_string().into()),
            created_at: job.created_at.to_rfc3339(),
            ended_at: job.ended_at.map(Timestamp::to_rfc3339),
            attempt: job.attempt,
        }
    }
}

#[derive(Default)]
pub(crate) struct InferenceQueries;

/// Requests and jobs.
#[Object]
impl InferenceQueries {
    /// Request records, the newest first. For administrators of the platform.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is an argument of the field"
    )]
    async fn requests(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        model: Option<String>,
        node: Option<String>,
        outcome: Option<String>,
        since: Option<String>,
        caller: Option<String>,
    ) -> Result<PageOf<Request>> {
        let admin: Admin = by(ctx).await?;
        let page = wanted(first, after)?;
        let query = RequestsQuery {
            limit: page.limit,
            cursor: page.cursor,
            model,
            node,
            outcome,
            since,
            caller,
            offset: None,
        };
        let found = services(ctx)?.records.list(&admin, query).await;
        let found = found.map_err(refused)?;
        let page = Page {
            items: found.items,
            next_cursor: found.next_cursor,
            total: found.total,
        };
        Ok(PageOf::of(page, Request::from))
    }

    /// One's own jobs, the newest first.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn jobs(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        state: Option<String>,
    ) -> Result<PageOf<Job>> {
        let caller: Caller = by(ctx).await?;
        let state = match state {
            None => None,
            Some(name) => Some(
                JobState::ALL
                    .into_iter()
                    .find(|one| one.as_str() == name)
                    .ok_or_else(|| {
                        invalid(
                            "state must be one of queued, running, completed, failed, cancelled",
                        )
                    })?,
            ),
        };
        let filter = JobFilter {
            state,
            ..JobFilter::default()
        };
        let (owner, page) = (Owner::of(caller.principal()), wanted(first, after)?);
        let jobs = &services(ctx)?.jobs;
        let page = jobs.list(owner, &filter, JobSort::default(), &page).await;
        Ok(PageOf::of(page.map_err(refused)?, Job::from))
    }

    /// One of one's own jobs.
    async fn job(&self, ctx: &Context<'_>, #[graphql(name = "id")] wanted: ID) -> Result<Job> {
        let caller: Caller = by(ctx).await?;
        let wanted: JobId = id(&wanted)?;
        let found = services(ctx)?
            .jobs
            .load(Owner::of(caller.principal()), wanted)
            .await;
        found.map(|(job, _)| Job::from(job)).map_err(refused)
    }
}

#[derive(Default)]
pub(crate) struct InferenceChanges;

/// Jobs.
#[Object]
impl InferenceChanges {
    /// Calls one of one's own jobs off.
    #[graphql(complexity = "cost::CHANGE + child_complexity")]
    async fn cancel_job(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "id")] wanted: ID,
    ) -> Result<Job> {
        let caller: Caller = by(ctx).await?;
        let wanted: JobId = id(&wanted)?;
        let cancelled = services(ctx)?
            .jobs
            .cancel(Owner::of(caller.principal()), wanted)
            .await;
        cancelled.map(Job::from).map_err(refused)
    }
}
