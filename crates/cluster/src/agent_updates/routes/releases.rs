//! `/api/v1/agent-releases`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::Extensions;
use http::StatusCode;
use identity::Admin;
use primitives::{ErrorKind, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;
use web::{AfterBody, JsonBody, PathParam, Problem};

use super::super::AgentUpdates;
use super::super::record::Release;
use super::by;

/// How long a program may take to arrive.
const PATIENCE: Duration = Duration::from_mins(30);

/// A release of the agent's program.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AgentReleaseBody {
    /// Its id: version and target.
    #[schema(example = "0.2.0-linux-x86_64")]
    id: String,
    /// The program's version.
    version: String,
    /// What it runs on.
    target: String,
    /// Its size in bytes.
    size_bytes: u64,
    /// Its SHA-256, as 64 hex digits.
    sha256: String,
    /// The public key that vouches for it: only agents that believe it take the release.
    update_key: String,
    /// Whether the program is here, too.
    complete: bool,
    /// Who brought it.
    created_by: String,
    /// When that was.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Release> for AgentReleaseBody {
    fn from(release: Release) -> Self {
        let manifest = release.manifest;
        Self {
            id: release.id,
            version: manifest.version.to_string(),
            target: manifest.target,
            size_bytes: manifest.size,
            sha256: manifest.sha256.to_string(),
            update_key: manifest.key.to_string(),
            complete: release.completed_at.is_some(),
            created_by: release.created_by,
            created_at: release.created_at,
        }
    }
}

/// The releases that are kept.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AgentReleasesBody {
    /// The newest first: 20 at most.
    items: Vec<AgentReleaseBody>,
}

/// What a release is.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnnounceRequest {
    /// The text that `remuda agent-release sign` wrote.
    manifest: String,
}

/// Lists releases of the agent's program, the newest first
#[utoipa::path(get, path = "/api/v1/agent-releases", operation_id = "list_agent_releases", tag = "nodes",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The releases.", body = AgentReleasesBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn list_agent_releases(
    _: Admin,
    State(updates): State<AgentUpdates>,
) -> Result<JsonBody<AgentReleasesBody>, Problem> {
    let releases = updates.list_releases().await?;
    let items = releases.into_iter().map(AgentReleaseBody::from).collect();
    Ok(JsonBody(AgentReleasesBody { items }))
}

/// Says what a release of the agent's program is: version, target, size, hash and signature
///
/// The program itself is put to `/content` afterwards. A release whose program has not come within an hour is forgotten.
#[utoipa::path(post, path = "/api/v1/agent-releases", operation_id = "announce_agent_release", tag = "nodes",
    request_body = AnnounceRequest, security(("bearer" = [])),
    responses(
        (status = 201, description = "The release.", body = AgentReleaseBody),
        (status = 400, description = "The text was not signed, or changed.", body = Problem),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 409, description = "Another release has this version and target, or there are 20.", body = Problem),
    ))]
pub(super) async fn announce_agent_release(
    admin: Admin,
    State(updates): State<AgentUpdates>,
    JsonBody(request): JsonBody<AnnounceRequest>,
) -> Result<(StatusCode, JsonBody<AgentReleaseBody>), Problem> {
    let release = updates
        .announce_release(&request.manifest, &by(&admin))
        .await?;
    Ok((StatusCode::CREATED, JsonBody(release.into())))
}

/// Uploads the program of a release
///
/// It is compared with what was signed. An upload that breaks off, or does not fit, leaves nothing; another one takes its place.
#[utoipa::path(put, path = "/api/v1/agent-releases/{release}/content", operation_id = "upload_agent_release", tag = "nodes",
    params(("release" = String, Path, description = "Its id.")),
    request_body(content = String, content_type = "application/octet-stream", description = "The program."),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The release is complete.", body = AgentReleaseBody),
        (status = 400, description = "The program is not the one that was signed.", body = Problem),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such release.", body = Problem),
        (status = 409, description = "It is complete, or somebody else uploads it.", body = Problem),
    ))]
pub(super) async fn upload_agent_release(
    admin: Admin,
    State(updates): State<AgentUpdates>,
    PathParam(release): PathParam<String>,
    extensions: Extensions,
    body: Body,
) -> Result<JsonBody<AgentReleaseBody>, Problem> {
    let again = extensions.get::<AfterBody>().cloned();
    let by = by(&admin);
    let uploaded = updates.upload_release(&release, body.into_data_stream(), &by, || {
        again.as_ref().and_then(AfterBody::ask).is_none()
    });
    let release = timeout(PATIENCE, Box::pin(uploaded)).await.map_err(|_| {
        let minutes = PATIENCE.as_secs() / 60;
        let detail = format!("the program did not arrive within {minutes} min: upload it again");
        Problem::new(ErrorKind::Timeout, detail)
    })??;
    Ok(JsonBody(release.into()))
}

/// Removes a release of the agent's program
///
/// Agents that have it keep it.
#[utoipa::path(delete, path = "/api/v1/agent-releases/{release}", operation_id = "remove_agent_release", tag = "nodes",
    params(("release" = String, Path, description = "Its id.")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "It is removed."),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such release.", body = Problem),
        (status = 409, description = "It is being rolled out.", body = Problem),
    ))]
pub(super) async fn remove_agent_release(
    admin: Admin,
    State(updates): State<AgentUpdates>,
    PathParam(release): PathParam<String>,
) -> Result<StatusCode, Problem> {
    updates.remove_release(&release, &by(&admin)).await?;
    Ok(StatusCode::NO_CONTENT)
}
