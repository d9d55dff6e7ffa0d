//! `/v1/batches`: accepted, listed, shown, called off.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::fault::{Client, Fault};
use super::files::page;
use crate::batches::{Batch, BatchStatus, NewBatch};
use crate::model::Owner;
use crate::surface::Jobs;

/// The most bytes of a request.
const BODY: usize = 64 << 10;
/// The most batches on a page, and how many unless asked.
const PAGES: (u32, u32) = (100, 20);

/// What to carry out.
#[derive(Debug, Deserialize)]
struct NewBatchBody {
    input_file_id: String,
    endpoint: String,
    completion_window: String,
    metadata: Option<Map<String, Value>>,
}

/// Which batches to list.
#[derive(Debug, Deserialize)]
pub(super) struct BatchesQuery {
    limit: Option<u32>,
    after: Option<String>,
}

fn shown(batch: &Batch) -> Value {
    let ended = |status| {
        (batch.status == status)
            .then_some(batch.ended_at)
            .flatten()
            .map(Timestamp::as_secs)
    };
    let at = |time: Option<Timestamp>| time.map(Timestamp::as_secs);
    let errors =
        (!batch.faults.is_empty()).then(|| json!({"object": "list", "data": batch.faults}));
    let metadata: Value = serde_json::from_str(&batch.metadata).unwrap_or_default();
    json!({
        "id": batch.id.0,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": errors,
        "input_file_id": batch.input_file,
        "completion_window": "24h",
        "status": batch.status.as_str(),
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": batch.created_at.as_secs(),
        "in_progress_at": at(batch.in_progress_at),
        "expires_at": batch.expires_at.as_secs(),
        "finalizing_at": at(batch.finalizing_at),
        "completed_at": ended(BatchStatus::Completed),
        "failed_at": ended(BatchStatus::Failed),
        "expired_at": ended(BatchStatus::Expired),
        "cancelling_at": at(batch.cancelling_at),
        "cancelled_at": ended(BatchStatus::Cancelled),
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": metadata,
    })
}

pub(super) async fn submit_batch(
    client: Client,
    State(jobs): State<Jobs>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let body = web::read_capped(body, BODY).await?;
    let body: NewBatchBody = serde_json::from_slice(&body).map_err(|error| {
        let message = format!(
            "the body is not a batch ({error}): send input_file_id, endpoint and completion_window"
        );
        Fault::invalid("input_file_id", message)
    })?;
    let new = NewBatch {
        endpoint: body.endpoint,
        input_file: body.input_file_id,
        window: body.completion_window,
        metadata: body.metadata,
    };
    let batch = jobs
        .submit_batch(&client.0, new)
        .await
        .map_err(Fault::batch)?;
    Ok(Json(shown(&batch)))
}

pub(super) async fn list_batches(
    client: Client,
    State(jobs): State<Jobs>,
    Query(query): Query<BatchesQuery>,
) -> Result<Json<Value>, Fault> {
    let (most, usual) = PAGES;
    let limit = query.limit.unwrap_or(usual).clamp(1, most);
    let owner = Owner::of(client.0.principal());
    let found = jobs
        .list_batches(owner, query.after.as_deref(), limit + 1)
        .await?;
    let items: Vec<Value> = found.iter().map(shown).collect();
    Ok(Json(page(&items, limit as usize)))
}

pub(super) async fn show_batch(
    client: Client,
    State(jobs): State<Jobs>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let owner = Owner::of(client.0.principal());
    let batch = jobs.load_batch(owner, &id).await?;
    Ok(Json(shown(&batch)))
}

pub(super) async fn cancel_batch(
    client: Client,
    State(jobs): State<Jobs>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let owner = Owner::of(client.0.principal());
    let batch = jobs.cancel_batch(owner, &id).await?;
    Ok(Json(shown(&batch)))
}
