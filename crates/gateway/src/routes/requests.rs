//! `GET /api/v1/inference/requests` and `/api/v1/inference/requests/{id}`.

use std::sync::Arc;

use axum::extract::State;
use identity::Admin;
use primitives::{
    COUNTED, Classify, Clock as _, Cursor, ErrorKind, InvalidCursor, RequestId, Timestamp,
};
use serde::{Deserialize, Serialize};
use store::{Db, StoreError};
use utoipa::{IntoParams, ToSchema};
use web::{JsonBody, KeptAnswer, PageBody, PathParam, Problem, QueryParams};

use super::RecordsState;
use crate::store::{self as records, Filter, StoredRecord};

/// Why requests could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowRequestsError {
    /// There is none of this id, or it was deleted.
    #[error("there is no request {0}")]
    Unknown(String),
    /// A time that is none.
    #[error("since is not a time")]
    Since,
    /// The cursor is not ours.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for ShowRequestsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::Since | Self::Cursor(_) => ErrorKind::Invalid,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Unknown(id) => format!(
                "there is no request {id}: records appear within a second of a request's end and are deleted after [requests] retention"
            ),
            Self::Since => "since must be an RFC 3339 time, as 2026-01-02T03:04:05Z".to_owned(),
            Self::Cursor(error) => error.to_string(),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Which requests to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RequestsQuery {
    /// Items on the page, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "web::page_limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Only this model, by its normalised name.
    pub model: Option<String>,
    /// Only this node, by name or id.
    pub node: Option<String>,
    /// Only this outcome: `ok`, `client_error`, `rejected`, `failed`, `cancelled` or `truncated`.
    pub outcome: Option<String>,
    /// Only requests received at or after this time (RFC 3339).
    pub since: Option<String>,
    /// Only those of this key or person, by id.
    pub caller: Option<String>,
    /// Items to leave out at the start, at most 100,000; a cursor is quicker and misses nothing while the list changes.
    #[serde(default, deserialize_with = "web::page_offset")]
    #[param(minimum = 0, maximum = 100_000)]
    pub offset: Option<u32>,
}

/// A request as it ended. Times are in microseconds.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestBody {
    /// The id, as the client got it in `x-request-id`.
    #[schema(value_type = String)]
    pub id: RequestId,
    /// When it arrived.
    #[schema(value_type = String)]
    pub received_at: Timestamp,
    /// `anonymous`, `key` or `user`.
    pub caller_kind: String,
    /// The key's or user's id.
    pub caller_id: Option<String>,
    /// The caller's name.
    pub caller: String,
    /// Where it came from.
    pub client_address: Option<String>,
    /// The client's dialect.
    pub dialect: String,
    /// The operation.
    pub operation: String,
    /// The model as the client wrote it.
    pub requested_model: Option<String>,
    /// The model that served it.
    pub model: Option<String>,
    /// The node that served it last.
    pub node_id: Option<String>,
    /// That node's name.
    pub node: Option<String>,
    /// The HTTP status.
    pub status: i64,
    /// `ok`, `client_error`, `rejected`, `failed`, `cancelled` or `truncated`.
    pub outcome: String,
    /// Why it did not end well.
    pub error: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Times that the stream was continued on another node.
    pub continued: i64,
    /// Attempts before the first byte beyond the first.
    pub retries: i64,
    /// Time in the queue.
    pub queue_us: i64,
    /// From arrival to the first token.
    pub first_token_us: Option<i64>,
    /// From arrival to the end.
    pub total_us: i64,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<i64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<i64>,
    /// The policy that chose the node.
    pub policy: Option<String>,
    /// Every attempt with every candidate, its score and the reasons. Only when one request is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub attempts: Option<serde_json::Value>,
    /// What a split chose for the caller: the `name` whose callers are divided, the `chosen` model and, where the split is a roll-out's,
    /// the `rollout` with its stage and version. Only when one request is shown, and where there was a split.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub split: Option<serde_json::Value>,
}

impl From<StoredRecord> for RequestBody {
    fn from(r: StoredRecord) -> Self {
        Self {
            id: r.id,
            received_at: r.received_at,
            caller_kind: r.caller_kind,
            caller_id: r.caller_id,
            caller: r.caller,
            client_address: r.client_address,
            dialect: r.dialect,
            operation: r.operation,
            requested_model: r.requested_model,
            model: r.model,
            node_id: r.node_id,
            node: r.node,
            status: r.status,
            outcome: r.outcome,
            error: r.error,
            stream: r.stream,
            continued: r.continued,
            retries: r.retries,
            queue_us: r.queue_us,
            first_token_us: r.first_token_us,
            total_us: r.total_us,
            prompt_tokens: r.prompt_tokens,
            completion_tokens: r.completion_tokens,
            policy: r.policy,
            attempts: r.attempts,
            split: r.split,
        }
    }
}

/// Records of inference requests, for administrators of the platform. Clones share the database.
#[derive(Clone, Debug)]
pub struct RequestRecords(Db);

impl RequestRecords {
    /// Makes the view of the records in a database.
    pub const fn new(db: Db) -> Self {
        Self(db)
    }

    /// Lists records, the newest first.
    ///
    /// # Errors
    /// When the query cannot be so, or the database fails.
    pub async fn list(
        &self,
        _admin: &Admin,
        query: RequestsQuery,
    ) -> Result<PageBody<RequestBody>, ShowRequestsError> {
        let size = query.limit.unwrap_or(50).clamp(1, 500);
        let filter = filter(query)?;
        let found = records::list_records(&self.0, &filter, size + 1).await?;
        let mut page = PageBody::from_overfetched(found.records, size, |r| r.id.to_string());
        if page.next_cursor.is_none() {
            let on = found.looked_until.as_deref().map(Cursor::after);
            page.next_cursor = on.map(|cursor| cursor.as_str().to_owned());
        }
        let total = records::count_records(&self.0, &filter).await?;
        page.total = total.map(|total| total.min(COUNTED));
        Ok(page.map(RequestBody::from))
    }
}

/// Lists inference requests, newest first
///
/// A list is made at most five times a second, however many look at it.
/// Those of a caller, of a node by its id, or of a model on one node, are looked for among the newest million; the page may then be short, or
/// empty, and still lead on to the next. `total` is told where at most one of `model`, `node` (by name) and `outcome` (other than `ok`) narrows the list.
#[utoipa::path(get, path = "/api/v1/inference/requests", operation_id = "list_requests", tag = "inference",
    params(RequestsQuery), security(("bearer" = [])),
    responses((status = 200, body = PageBody<RequestBody>), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub(crate) async fn list_requests(
    admin: Admin,
    State(state): State<RecordsState>,
    query: QueryParams<RequestsQuery>,
) -> Result<KeptAnswer, Problem> {
    let QueryParams(query) = query;
    let now = state.clock.monotonic();
    let records = RequestRecords::new(state.db.clone());
    // Records come to the database some milliseconds after their requests anyway.
    let make = async || {
        let page = records.list(&admin, query.clone()).await?;
        Ok((0, KeptAnswer::of(&page)))
    };
    let lists = Arc::clone(&state.lists);
    lists.find_or_make(query.clone(), 0, now, make).await
}

/// Shows one request with every attempt and why each node was chosen.
#[utoipa::path(get, path = "/api/v1/inference/requests/{id}", operation_id = "show_request", tag = "inference",
    params(("id" = String, Path, description = "The request's id, from the `x-request-id` header")), security(("bearer" = [])),
    responses((status = 200, body = RequestBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub(crate) async fn show_request(
    _admin: Admin,
    State(state): State<RecordsState>,
    id: PathParam<String>,
) -> Result<JsonBody<RequestBody>, Problem> {
    let PathParam(text) = id;
    let id: RequestId = text
        .parse()
        .map_err(|_| ShowRequestsError::Unknown(crate::exchange::clip(&text, 64)))?;
    let found = records::find_record(&state.db, id)
        .await
        .map_err(ShowRequestsError::Store)?
        .ok_or_else(|| ShowRequestsError::Unknown(id.to_string()))?;
    Ok(JsonBody(found.into()))
}

fn filter(query: RequestsQuery) -> Result<Filter, ShowRequestsError> {
    let since = match query.since {
        Some(text) => Some(Timestamp::parse_rfc3339(&text).ok_or(ShowRequestsError::Since)?),
        None => None,
    };
    let before = query.cursor.as_deref().map(Cursor::key).transpose()?;
    Ok(Filter {
        model: query.model.map(|m| cluster::model_key(&m).into_owned()),
        node: query.node,
        outcome: query.outcome,
        since,
        callers: query.caller.map(|id| vec![id]),
        before,
        skipped: query.offset.unwrap_or(0),
    })
}
