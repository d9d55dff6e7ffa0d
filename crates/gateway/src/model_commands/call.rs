//! Calls a node's model routes through the guarded outbound client: uploads of any size, long waits.

use std::time::Duration;

use bytes::Bytes;
use dialects::{ApiError, Dialect, decode_error};
use http::{HeaderValue, Method, Response, StatusCode, header};
use primitives::ErrorKind;
use web::outbound::{Answer, Call};

use super::bare;
use crate::body::ReplyBody;
use crate::fleet_view::RouteNode;
use crate::front::{LingeringBody, Visit};

/// Largest answer without progress that is read.
const ANSWER: usize = 4 << 20;
/// Longest wait for a node to take a blob or to begin with a command: copies within a slow disk take minutes.
const PATIENCE: Duration = Duration::from_hours(1);
/// Longest silence of a node while it reports progress.
const SILENCE: Duration = Duration::from_mins(10);

fn prepare(
    visit: &Visit<'_>,
    node: &RouteNode,
    method: Method,
    path: &str,
) -> Result<Call, ApiError> {
    let url = node.view.url.as_ref().ok_or_else(|| {
        ApiError::new(
            ErrorKind::Unsupported,
            format!("node {} has no address: it cannot do this", node.view.name),
        )
    })?;
    let mut call = visit
        .worker
        .shared
        .outbound
        .call(method, &url.join(path))
        .header(web::HOPS_HEADER, visit.hops.clone())
        .head_timeout(PATIENCE)
        .idle_timeout(SILENCE)
        .total_timeout(None);
    if let Some(credential) = &node.view.credential {
        call = call.bearer(credential);
    }
    Ok(call)
}

fn failed(node: &RouteNode, error: &web::outbound::OutboundError) -> ApiError {
    tracing::debug!(node = %node.view.name, %error, "a model command could not reach its node");
    ApiError::upstream(format!("node {} cannot be reached", node.view.name))
}

/// Sends a JSON command and returns the answer if the node accepted it.
pub(super) async fn start(
    visit: &Visit<'_>,
    node: &RouteNode,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Answer, ApiError> {
    let answer = prepare(visit, node, method, path)?
        .header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )
        .bytes(body)
        .send()
        .await
        .map_err(|e| failed(node, &e))?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status().as_u16();
    let body = answer.bytes(ANSWER).await.unwrap_or_default();
    Err(decode_error(Dialect::Ollama, status, &body))
}

/// Sends a JSON command and reads the whole answer.
pub(super) async fn once(
    visit: &Visit<'_>,
    node: &RouteNode,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Bytes, ApiError> {
    let answer = start(visit, node, method, path, body).await?;
    answer.bytes(ANSWER).await.map_err(|e| failed(node, &e))
}

/// Asks whether a node has a blob.
pub(super) async fn find_blob(
    visit: &Visit<'_>,
    node: &RouteNode,
    digest: &str,
) -> Result<Response<ReplyBody>, ApiError> {
    let answer = prepare(visit, node, Method::HEAD, &format!("/api/blobs/{digest}"))?
        .send()
        .await
        .map_err(|e| failed(node, &e))?;
    Ok(bare(visit, node, answer.status()))
}

/// Lets a blob of any size pass to a node as it comes.
pub(super) async fn put_blob(
    visit: &Visit<'_>,
    node: &RouteNode,
    digest: &str,
    body: LingeringBody,
) -> Result<Response<ReplyBody>, ApiError> {
    let answer = prepare(visit, node, Method::POST, &format!("/api/blobs/{digest}"))?
        .header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        )
        .stream(body)
        .send()
        .await
        .map_err(|e| failed(node, &e))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(bare(visit, node, status));
    }
    let body = answer.bytes(ANSWER).await.unwrap_or_default();
    let mut error = decode_error(Dialect::Ollama, status.as_u16(), &body);
    if status == StatusCode::BAD_REQUEST {
        error.kind = ErrorKind::Invalid;
    }
    Err(error)
}
