//! Commands about models that reach the right nodes: show, pull, push, create, copy, delete, blobs.
//!
//! `?node=a,b` or `?node=all` names the nodes. Without it: pull goes to the nodes that have the model, else to the one
//! that it fits best; delete and copy go everywhere; push, create and show go to one node that has what they need.

mod call;
mod choose;
mod journal;
mod progress;
mod settle;
mod show;

use std::sync::Arc;

use bytes::Bytes;
use dialects::{ApiError, check_name};
use http::{Method, Request, Response, StatusCode};
use identity::journal::{Action, Actor};
use identity::{Origin, Principal, PrincipalKind};
use primitives::ErrorKind;
use serde::Deserialize;

pub(crate) use self::journal::CommandJournal;
use self::settle::{Change, settle};
use crate::body::ReplyBody;
use crate::fleet_view::RouteNode;
use crate::front::{LingeringBody, Visit, read_body, reply::Reply};

/// A command about models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelCommand {
    Show,
    Pull,
    Push,
    Create,
    Copy,
    Delete,
    FindBlob(String),
    PutBlob(String),
}

/// The fields that choose nodes. The official npm client says `name` where others say `model`.
#[derive(Debug, Default, Deserialize)]
struct Subject {
    model: Option<String>,
    name: Option<String>,
    from: Option<String>,
    source: Option<String>,
    destination: Option<String>,
    stream: Option<bool>,
}

impl ModelCommand {
    /// Recognises a command.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        match (method, path) {
            (&Method::POST, "/api/show") => Some(Self::Show),
            (&Method::POST, "/api/pull") => Some(Self::Pull),
            (&Method::POST, "/api/push") => Some(Self::Push),
            (&Method::POST, "/api/create") => Some(Self::Create),
            (&Method::POST, "/api/copy") => Some(Self::Copy),
            (&Method::DELETE, "/api/delete") => Some(Self::Delete),
            (method, path) => {
                let digest = path
                    .strip_prefix("/api/blobs/")
                    .filter(|d| is_digest(d))?
                    .to_owned();
                match *method {
                    Method::HEAD => Some(Self::FindBlob(digest)),
                    Method::POST => Some(Self::PutBlob(digest)),
                    _ => None,
                }
            }
        }
    }

    /// Tells whether the command changes what nodes have.
    const fn changes(&self) -> bool {
        !matches!(self, Self::Show | Self::FindBlob(_))
    }
}

/// Carries a command out.
pub(crate) async fn answer(
    visit: &Visit<'_>,
    command: ModelCommand,
    principal: &Principal,
    request: Request<LingeringBody>,
) -> Result<Response<ReplyBody>, ApiError> {
    // Without required keys this is a machine of one's own, where Ollama would let everybody do this, too.
    let anonymous = matches!(principal.kind, PrincipalKind::Anonymous);
    if command.changes() && !anonymous && !principal.is_platform_admin() {
        return Err(ApiError::new(
            ErrorKind::Forbidden,
            "changing models needs a key of a platform administrator: create one with `remuda key create --admin NAME`",
        ));
    }
    let wanted = choose::wanted_nodes(request.uri().query());
    let shared = &visit.worker.shared;
    let table = shared.routes.load_full();
    let origin = Origin::new(Some(visit.peer.ip()), request.headers());
    let by = Actor::caller(principal, &origin);
    let journal = &shared.journal;
    match command {
        ModelCommand::FindBlob(digest) => {
            let node = choose::for_blobs(&table, wanted.as_deref())?;
            call::find_blob(visit, &node, &digest).await
        }
        ModelCommand::PutBlob(digest) => {
            let node = choose::for_blobs(&table, wanted.as_deref())?;
            let nodes = std::slice::from_ref(&node);
            journal
                .record(by, Action::ModelUpload, ("blob", &digest), nodes, None)
                .await?;
            call::put_blob(visit, &node, &digest, request.into_body()).await
        }
        command => {
            let held = read_body(request, &shared.body_rules).await?;
            let body = Bytes::clone(&held);
            let subject = subject(&body)?;
            let model = subject
                .model
                .clone()
                .or(subject.name.clone())
                .or(subject.source.clone())
                .filter(|m| !m.trim().is_empty())
                .ok_or_else(|| ApiError::invalid("model is required"))?;
            check_name(&model)?;
            let stream = subject.stream.unwrap_or(true);
            match command {
                ModelCommand::Show => {
                    let wanted = (&*model, wanted.as_deref());
                    show::show(visit, principal, &table, wanted, body).await
                }
                ModelCommand::Pull => {
                    let nodes = choose::for_pull(&table, wanted.as_deref(), &model)?;
                    journal
                        .record(by, Action::ModelPull, ("model", &model), &nodes, None)
                        .await?;
                    progress::run(visit, "/api/pull", nodes, body, stream, &model).await
                }
                ModelCommand::Push => {
                    let nodes = choose::holder(&table, wanted.as_deref(), &model)?;
                    journal
                        .record(by, Action::ModelPush, ("model", &model), &nodes, None)
                        .await?;
                    progress::run(visit, "/api/push", nodes, body, stream, &model).await
                }
                ModelCommand::Create => {
                    let nodes =
                        choose::for_create(&table, wanted.as_deref(), subject.from.as_deref())?;
                    journal
                        .record(by, Action::ModelCreate, ("model", &model), &nodes, None)
                        .await?;
                    progress::run(visit, "/api/create", nodes, body, stream, &model).await
                }
                ModelCommand::Copy => {
                    let nodes = choose::holders(&table, wanted.as_deref(), &model)?;
                    let made = subject.destination.as_deref().unwrap_or_default();
                    let subject = ("model", model.as_str());
                    journal
                        .record(by, Action::ModelCopy, subject, &nodes, Some(made))
                        .await?;
                    everywhere(
                        visit,
                        Method::POST,
                        "/api/copy",
                        nodes,
                        body,
                        &Change::Added(made),
                    )
                    .await
                }
                ModelCommand::Delete => {
                    let nodes = choose::holders(&table, wanted.as_deref(), &model)?;
                    journal
                        .record(by, Action::ModelDelete, ("model", &model), &nodes, None)
                        .await?;
                    everywhere(
                        visit,
                        Method::DELETE,
                        "/api/delete",
                        nodes,
                        body,
                        &Change::Removed(&model),
                    )
                    .await
                }
                ModelCommand::FindBlob(_) | ModelCommand::PutBlob(_) => {
                    Ok(Reply::new(visit.id).whole("text/plain", Bytes::new()))
                }
            }
        }
    }
}

/// Does a command without progress on all nodes; reports the nodes where it failed.
async fn everywhere(
    visit: &Visit<'_>,
    method: Method,
    path: &str,
    nodes: Vec<Arc<RouteNode>>,
    body: Bytes,
    change: &Change<'_>,
) -> Result<Response<ReplyBody>, ApiError> {
    let calls = nodes
        .iter()
        .map(|node| call::once(visit, node, method.clone(), path, body.clone()));
    let results = futures_util::future::join_all(calls).await;
    let mut failed: Option<ApiError> = None;
    let mut told = Vec::new();
    for (node, result) in nodes.iter().zip(results) {
        if let Err(error) = result {
            told.push(format!("{}: {}", node.view.name, error.message));
            failed.get_or_insert(error);
        }
    }
    settle(&visit.worker.shared, &nodes, change).await;
    match failed {
        None => Ok(Reply::new(visit.id).whole("application/json; charset=utf-8", Bytes::new())),
        Some(error) if nodes.len() == 1 => Err(error),
        Some(error) => Err(ApiError::new(
            error.kind,
            format!(
                "failed on {} of {} nodes: {}",
                told.len(),
                nodes.len(),
                told.join("; ")
            ),
        )),
    }
}

fn subject(body: &[u8]) -> Result<Subject, ApiError> {
    if body.is_empty() {
        return Err(ApiError::invalid("missing request body"));
    }
    serde_json::from_slice(body).map_err(|e| ApiError::invalid(e.to_string()))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .or_else(|| text.strip_prefix("sha256-"))
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Answers with a status and no body.
fn bare(visit: &Visit<'_>, node: &RouteNode, status: StatusCode) -> Response<ReplyBody> {
    let mut response = Reply::new(visit.id)
        .node(Some(&node.view.name))
        .whole("text/plain; charset=utf-8", Bytes::new());
    *response.status_mut() = status;
    response
}
