//! `POST /api/v1/models/load` and `/unload`: what nodes have in memory.
//!
//! Both go the way of Ollama's requests without a prompt: they wait for their turn at the node, count as a load there, and stand in
//! the request records.

use std::sync::Arc;

use axum::Extension;
use bytes::Bytes;
use dialects::{ApiError, Dialect, Operation, decode_error};
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use identity::journal::Action;
use identity::{Admin, PriorityClass};
use primitives::{Classify, ErrorKind, MonotonicTime};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use web::{JsonBody, Problem};

use super::QueueWindow;
use crate::fleet_view::{Replica, Route, RouteNode};
use crate::front::{Inside, InsideRequest};
use crate::shared::Shared;

/// Why nodes could not be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResidencyError {
    #[error("no node has the model {0}: see `remuda models`, or pull it with `remuda pull`")]
    UnknownModel(String),
    #[error(
        "node {node} does not have {model}: pull it there with `remuda pull {model} --node {node}`"
    )]
    NotThere { model: String, node: String },
    #[error(
        "keep_alive must be a time as \"30m\", a number of seconds, or -1 for as long as the node runs"
    )]
    KeepAlive,
    #[error("the server starts or stops: try again")]
    NotReady,
    #[error("{}", .0.message)]
    Refused(ApiError),
}

impl Classify for ResidencyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownModel(_) | Self::NotThere { .. } => ErrorKind::NotFound,
            Self::KeepAlive => ErrorKind::Invalid,
            Self::NotReady => ErrorKind::Unavailable,
            Self::Refused(error) => error.kind,
        }
    }

    fn public_message(&self) -> String {
        self.to_string()
    }
}

/// What to load, and where.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadSpec {
    /// The model.
    #[schema(example = "llama3.2")]
    model: String,
    /// The node, by name or id; without one, where it fits best.
    node: Option<String>,
    /// How long it stays in memory when nobody uses it: a time as `30m`, seconds, or -1 for as long as the node runs. Without it, the
    /// node's own time.
    keep_alive: Option<KeepAlive>,
}

/// How long a model stays in memory when nobody uses it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
enum KeepAlive {
    /// In seconds; -1 for as long as the node runs.
    Seconds(i64),
    /// A number with its unit: `s`, `m` or `h`.
    Time(String),
}

/// What to unload, and where.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnloadSpec {
    /// The model.
    #[schema(example = "llama3.2")]
    model: String,
    /// The node, by name or id; without one, every node that has it in memory.
    node: Option<String>,
}

/// What nodes were told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResidencyBody {
    /// The model, by its normalised name.
    model: String,
    /// The nodes that have done it; none where there was nothing to do.
    nodes: Vec<String>,
    /// Milliseconds that it took.
    took_ms: u64,
}

/// Loads a model into a node's memory, and answers when it is there.
#[utoipa::path(post, path = "/api/v1/models/load", operation_id = "load_model", tag = "models", security(("bearer" = [])),
    request_body = LoadSpec,
    responses((status = 200, body = ResidencyBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub(crate) async fn load_model(
    admin: Admin,
    Extension(QueueWindow(shared)): Extension<QueueWindow>,
    JsonBody(spec): JsonBody<LoadSpec>,
) -> Result<JsonBody<ResidencyBody>, Problem> {
    let route = route(&shared, &spec.model)?;
    let nodes = match &spec.node {
        Some(node) => vec![replica(&route, node)?.node.clone()],
        None => Vec::new(),
    };
    let mut body = json!({"model": &*route.name, "stream": false});
    if let Some(keep_alive) = spec.keep_alive {
        check(&keep_alive)?;
        body["keep_alive"] = json!(keep_alive);
    }
    let asked = shared.clock.monotonic();
    let told = tell(&shared, &admin, Action::ModelLoad, &route, &nodes, body).await?;
    Ok(shown(&shared, &route, told, asked))
}

/// Takes a model out of the memory of nodes. Answers under way there are finished first.
#[utoipa::path(post, path = "/api/v1/models/unload", operation_id = "unload_model", tag = "models", security(("bearer" = [])),
    request_body = UnloadSpec,
    responses((status = 200, body = ResidencyBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub(crate) async fn unload_model(
    admin: Admin,
    Extension(QueueWindow(shared)): Extension<QueueWindow>,
    JsonBody(spec): JsonBody<UnloadSpec>,
) -> Result<JsonBody<ResidencyBody>, Problem> {
    let route = route(&shared, &spec.model)?;
    let nodes: Vec<Arc<RouteNode>> = if let Some(node) = &spec.node {
        vec![replica(&route, node)?.node.clone()]
    } else {
        let admission = &shared.live.admission;
        let replicas = route.replicas.iter();
        let replicas = replicas.filter(|replica| admission.has_in_memory(replica));
        replicas.map(|replica| replica.node.clone()).collect()
    };
    let asked = shared.clock.monotonic();
    if nodes.is_empty() {
        return Ok(shown(&shared, &route, Vec::new(), asked));
    }
    let body = json!({"model": &*route.name, "stream": false, "keep_alive": 0});
    let told = tell(&shared, &admin, Action::ModelUnload, &route, &nodes, body).await?;
    Ok(shown(&shared, &route, told, asked))
}

fn route(shared: &Shared, model: &str) -> Result<Arc<Route>, ResidencyError> {
    let table = shared.routes.load();
    let found = table.model(&table.resolve_alias(model)).cloned();
    found.ok_or_else(|| ResidencyError::UnknownModel(crate::exchange::clip(model, 200)))
}

fn replica<'a>(route: &'a Route, node: &str) -> Result<&'a Arc<Replica>, ResidencyError> {
    let mut replicas = route.replicas.iter();
    replicas
        .find(|replica| {
            let view = &replica.node.view;
            &*view.name == node || view.id.to_string() == node
        })
        .ok_or_else(|| ResidencyError::NotThere {
            model: route.name.to_string(),
            node: crate::exchange::clip(node, 64),
        })
}

/// Refuses what a node would misunderstand: 0 would unload, and a text may be anything.
fn check(keep_alive: &KeepAlive) -> Result<(), ResidencyError> {
    let fits = match keep_alive {
        KeepAlive::Seconds(seconds) => *seconds == -1 || *seconds > 0,
        KeepAlive::Time(text) => {
            let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
            let number = text.strip_suffix(unit).unwrap_or_default();
            matches!(unit, "s" | "m" | "h") && number.parse::<u32>().is_ok_and(|n| n > 0)
        }
    };
    fits.then_some(()).ok_or(ResidencyError::KeepAlive)
}

/// Records what is to be done, and has it done: at these nodes, or where routing chooses when there are none. Returns who has done it.
async fn tell(
    shared: &Arc<Shared>,
    admin: &Admin,
    action: Action,
    route: &Route,
    nodes: &[Arc<RouteNode>],
    body: Value,
) -> Result<Vec<String>, ResidencyError> {
    let inside = shared.inside().ok_or(ResidencyError::NotReady)?;
    shared
        .journal
        .record(admin.actor(), action, ("model", &route.name), nodes, None)
        .await
        .map_err(ResidencyError::Refused)?;
    let request = InsideRequest {
        principal: admin.principal().clone(),
        address: admin
            .origin()
            .ip
            .unwrap_or(std::net::Ipv4Addr::LOCALHOST.into()),
        operation: Operation::OllamaGenerate,
        class: PriorityClass::Interactive,
        body: Bytes::from(body.to_string()),
        node: None,
    };
    if nodes.is_empty() {
        return Ok(vec![ask(&inside, request).await?]);
    }
    let asked = nodes.iter().map(|node| {
        let node = Some(node.view.id);
        ask(
            &inside,
            InsideRequest {
                node,
                ..request.clone()
            },
        )
    });
    join_all(asked).await.into_iter().collect()
}

/// Has one node do it; returns its name.
async fn ask(inside: &Inside, request: InsideRequest) -> Result<String, ResidencyError> {
    let answer = inside.infer(request).await;
    let (head, body) = answer.into_parts();
    if head.status.is_success() {
        let node = head.headers.get("x-remuda-node");
        let node = node.and_then(|name| name.to_str().ok());
        return Ok(node.unwrap_or_default().to_owned());
    }
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    Err(ResidencyError::Refused(decode_error(
        Dialect::Ollama,
        head.status.as_u16(),
        &body.unwrap_or_default(),
    )))
}

fn shown(
    shared: &Shared,
    route: &Route,
    nodes: Vec<String>,
    asked: MonotonicTime,
) -> JsonBody<ResidencyBody> {
    JsonBody(ResidencyBody {
        model: route.name.to_string(),
        nodes,
        took_ms: shared.clock.monotonic().since(asked).as_millis() as u64,
    })
}
