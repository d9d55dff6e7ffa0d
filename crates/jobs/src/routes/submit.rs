//! `POST /api/v1/inference/chat` and `/generate`: an answer is promised, and fetched later.

use axum::extract::State;
use http::header::LOCATION;
use http::{HeaderName, StatusCode};
use identity::{Caller, PriorityClass};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use web::{JsonBody, Problem};

use super::body::{JobBody, path};
use super::problem;
use crate::model::JobKind;
use crate::surface::Jobs;

/// The most bytes of a request.
const PAYLOAD: usize = 4 << 20;

/// What to answer, in the fields of the Ollama API's chat.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatBody {
    /// The model.
    #[schema(min_length = 1, example = "llama3.2")]
    model: String,
    /// The conversation: objects with `role` and `content`.
    #[schema(value_type = Vec<Object>, min_items = 1, example = json!([{"role": "user", "content": "Name three horses"}]))]
    messages: Vec<Map<String, Value>>,
    /// The tools that the model may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Map<String, Value>>>,
    /// The model's options, as `temperature`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    options: Option<Map<String, Value>>,
    /// `json`, or a JSON schema that the answer must follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    format: Option<Value>,
    /// Whether, or how much, a thinking model thinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    think: Option<Value>,
    /// How long the model stays in memory afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    keep_alive: Option<Value>,
    /// How soon it may be served, up to what the key may; `batch` when absent.
    #[serde(default, skip_serializing)]
    priority: Option<PriorityClass>,
    /// Has no effect: the answer can be followed as it comes either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
}

/// What to complete, in the fields of the Ollama API's generate.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GenerateBody {
    /// The model.
    #[schema(min_length = 1, example = "llama3.2")]
    model: String,
    /// The prompt.
    #[schema(min_length = 1, example = "Name three horses")]
    prompt: String,
    /// What stands before the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    /// What stands after the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suffix: Option<String>,
    /// Images in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    images: Option<Vec<String>>,
    /// The model's options, as `temperature`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    options: Option<Map<String, Value>>,
    /// `json`, or a JSON schema that the answer must follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    format: Option<Value>,
    /// Whether, or how much, a thinking model thinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    think: Option<Value>,
    /// Whether the prompt goes to the model as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw: Option<bool>,
    /// How long the model stays in memory afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    keep_alive: Option<Value>,
    /// How soon it may be served, up to what the key may; `batch` when absent.
    #[serde(default, skip_serializing)]
    priority: Option<PriorityClass>,
    /// Has no effect: the answer can be followed as it comes either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
}

type Accepted = (StatusCode, [(HeaderName, String); 1], JsonBody<JobBody>);

/// Accepts a conversation to be answered later
///
/// When this answers, the work is in the database, and is carried out whatever happens to the server meanwhile. The answer is fetched by
/// the job's id, followed as it comes, or told of over a WebSocket.
#[utoipa::path(post, path = "/api/v1/inference/chat", operation_id = "submit_chat", tag = "inference",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = ChatBody,
    responses(
        (status = 202, description = "It will be answered.", body = JobBody, headers(("Location" = String, description = "Where the job is."))),
        (status = 403, description = "The caller may not use models.", body = Problem),
        (status = 404, description = "There is no such model, or the caller may not use it.", body = Problem),
        (status = 429, description = "Too many jobs wait.", body = Problem),
    ))]
pub(super) async fn submit_chat(
    caller: Caller,
    State(jobs): State<Jobs>,
    body: JsonBody<ChatBody, PAYLOAD>,
) -> Result<Accepted, Problem> {
    let JsonBody(mut body) = body;
    // Always streamed, so that it can be followed.
    body.stream = Some(true);
    accept(&jobs, &caller, JobKind::Chat, body.priority, &body).await
}

/// Accepts a prompt to be answered later
///
/// As a conversation, with one prompt.
#[utoipa::path(post, path = "/api/v1/inference/generate", operation_id = "submit_generate", tag = "inference",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = GenerateBody,
    responses(
        (status = 202, description = "It will be answered.", body = JobBody, headers(("Location" = String, description = "Where the job is."))),
        (status = 403, description = "The caller may not use models.", body = Problem),
        (status = 404, description = "There is no such model, or the caller may not use it.", body = Problem),
        (status = 429, description = "Too many jobs wait.", body = Problem),
    ))]
pub(super) async fn submit_generate(
    caller: Caller,
    State(jobs): State<Jobs>,
    body: JsonBody<GenerateBody, PAYLOAD>,
) -> Result<Accepted, Problem> {
    let JsonBody(mut body) = body;
    body.stream = Some(true);
    accept(&jobs, &caller, JobKind::Generate, body.priority, &body).await
}

async fn accept(
    jobs: &Jobs,
    caller: &Caller,
    kind: JobKind,
    priority: Option<PriorityClass>,
    body: &impl Serialize,
) -> Result<Accepted, Problem> {
    let class = priority.unwrap_or(PriorityClass::Batch);
    // What was read as JSON can be written as JSON.
    let payload = serde_json::to_value(body).unwrap_or_default();
    let job = jobs
        .submit(caller, kind, class, payload)
        .await
        .map_err(problem)?;
    let location = [(LOCATION, path(job.id))];
    Ok((StatusCode::ACCEPTED, location, JsonBody(job.into())))
}
