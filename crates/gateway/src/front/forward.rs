//! POST routes under `/api` and `/v1` that we do not know go, by their model name, to a node of that dialect: clients
//! are often newer than gateways. Routes that manage or expose a server are never reachable.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use cluster::{CallFailure, InFlight as Lease};
use dialects::{ApiError, Dialect, Operation, check_name, read_head, replace_model};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use identity::Principal;
use primitives::ErrorKind;

use super::forwarded::{self, Forwarded};
use super::reply::Reply;
use super::{LingeringBody, Visit, form, read_body};
use crate::body::ReplyBody;
use crate::body_memory::RequestBody;
use crate::fleet_view::{Found, NodeSpeech, Replica};
use crate::routing::RETRY_AFTER;
use crate::splitting::SplitCaller;
use crate::upstream::{
    Response as NodeResponse, UpstreamError, UpstreamRequest, refusal, request_headers,
};

/// Words in a path that mark routes which manage, change or expose a server (Ollama, vLLM, `SGLang`, llama.cpp,
/// LM Studio and whatever comes): a path with any of them in it is not forwarded.
const REFUSED_WORDS: [&str; 34] = [
    "abort",
    "account",
    "adapter",
    "admin",
    "auth",
    "cache",
    "config",
    "control",
    "debug",
    "delete",
    "experimental",
    "flush",
    "internal",
    "key",
    "load",
    "login",
    "lora",
    "manage",
    "metric",
    "pause",
    "profil",
    "pull",
    "push",
    "reset",
    "restart",
    "resume",
    "server",
    "shutdown",
    "signout",
    "sleep",
    "slot",
    "update",
    "wake",
    "weight",
];
/// First segments that belong to routes known here under other methods, to accounts, or to what a node keeps.
const REFUSED_SEGMENTS: [&str; 22] = [
    "assistants",
    "batches",
    "blobs",
    "containers",
    "copy",
    "create",
    "fine_tuning",
    "files",
    "me",
    "models",
    "organization",
    "ps",
    "quit",
    "show",
    "signin",
    "status",
    "stop",
    "tags",
    "threads",
    "user",
    "vector_stores",
    "version",
];

/// Tells whether a path may be forwarded: plain lower-case segments below `/api` or `/v1`, none of which smells of
/// administration.
pub(super) fn may_forward(path: &str) -> bool {
    let Some(rest) = path
        .strip_prefix("/api/")
        .or_else(|| path.strip_prefix("/v1/"))
    else {
        return false;
    };
    let plain = |segment: &str| {
        !segment.is_empty()
            && segment
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
    };
    rest.split('/').all(plain)
        && !rest
            .split('/')
            .next()
            .is_some_and(|first| REFUSED_SEGMENTS.contains(&first))
        && !REFUSED_WORDS.iter().any(|word| rest.contains(word))
}

/// A request of an unknown route, read.
struct Asked {
    path: Arc<str>,
    /// Kept until an answer begins: what is sent to nodes is a view of it.
    body: RequestBody,
    /// The model that it names.
    model: String,
    written: Written,
    traceparent: Option<HeaderValue>,
}

/// How the body is written.
enum Written {
    /// As a form of this type, boundary included.
    Form(HeaderValue),
    /// As JSON, with the model's name here, quotes included.
    Json(Option<Range<usize>>),
}

impl Asked {
    async fn read(visit: &Visit<'_>, request: Request<LingeringBody>) -> Result<Self, ApiError> {
        let path: Arc<str> = request.uri().path().into();
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let traceparent = request.headers().get("traceparent").cloned();
        let body = read_body(request, &visit.worker.shared.body_rules).await?;
        let form = content_type.and_then(|kind| form::boundary(&kind).map(|edge| (kind, edge)));
        let (model, written) = if let Some((kind, boundary)) = form {
            let model = form::field(&body, &boundary, "model")?;
            check_name(model.as_deref().unwrap_or_default())?;
            (model, Written::Form(kind))
        } else {
            // Any operation will do: the head is read alike, and a second or misspelt model is refused.
            let head = read_head(Operation::OpenAiChat, &body)?;
            let model = head.model.as_deref().map(str::to_owned);
            (model, Written::Json(head.model_span))
        };
        let model = model.filter(|m| !m.trim().is_empty()).ok_or_else(|| {
            ApiError::new(
                ErrorKind::NotFound,
                "this route is not known here, and without a model in the body it cannot be forwarded to a node",
            )
        })?;
        Ok(Self {
            path,
            body,
            model,
            written,
            traceparent,
        })
    }

    /// Returns what this node is sent: the body as it came, with the model under the node's own name.
    fn body_for(&self, replica: &Replica) -> Result<Bytes, ApiError> {
        let body = Bytes::clone(&self.body);
        if replica.answers_to(&self.model) {
            return Ok(body);
        }
        match &self.written {
            Written::Form(_) => Err(ApiError::unsupported(
                "model",
                "an alias cannot be used in a form: give the model's own name",
            )),
            Written::Json(Some(span)) => {
                Ok(replace_model(&body, span.clone(), &replica.model.name))
            }
            Written::Json(None) => Ok(body),
        }
    }

    fn headers(&self, visit: &Visit<'_>) -> HeaderMap {
        let content_type = match &self.written {
            Written::Form(kind) => kind.clone(),
            Written::Json(_) => HeaderValue::from_static("application/json"),
        };
        let trace = self.traceparent.as_ref();
        request_headers(visit.id, content_type, &visit.hops, trace)
    }
}

/// Forwards a request of an unknown route, and keeps a record of it.
pub(super) async fn answer(
    visit: &Visit<'_>,
    principal: &Principal,
    request: Request<LingeringBody>,
) -> Response<ReplyBody> {
    let shared = &visit.worker.shared;
    let arrived = (shared.clock.now(), shared.clock.monotonic());
    let read = Asked::read(visit, request).await;
    let admitted = read.and_then(|asked| Ok((shared.admit()?, asked)));
    let (in_flight, asked) = match admitted {
        Ok(admitted) => admitted,
        Err(error) => {
            forwarded::turn_away(visit, &error);
            return visit.refuse(&error);
        }
    };
    let not_found = || ApiError::model_not_found(Operation::OpenAiChat, &asked.model);
    let found = shared
        .routes
        .load()
        .find(&asked.model, SplitCaller::new(principal, visit.peer.ip()));
    // Whether the model exists is not for every key to know.
    let allowed =
        found.filter(|f| principal.may_use(&f.route.name) || principal.may_use(&asked.model));
    let mut forwarded = Forwarded::begin(
        visit,
        principal,
        in_flight,
        &asked.model,
        allowed.as_ref(),
        arrived,
    );
    let under_way = forwarded.under_way();
    let sent = async {
        let found = allowed.ok_or_else(not_found)?;
        send(visit, &asked, &found, &mut forwarded).await
    };
    let sent = tokio::select! {
        biased;
        sent = sent => sent,
        error = under_way.stopped() => Err(error),
    };
    match sent {
        Ok((response, lease)) => pass(visit, &asked, forwarded, response, lease),
        Err(error) => {
            forwarded.refuse(&error);
            visit.refuse(&error)
        }
    }
}

/// Sends the request to the node with the least to do. One that cannot be reached has not seen it, so that the next is asked.
async fn send(
    visit: &Visit<'_>,
    asked: &Asked,
    found: &Found,
    forwarded: &mut Forwarded,
) -> Result<(NodeResponse, Lease), ApiError> {
    let shared = &visit.worker.shared;
    let path = &*asked.path;
    let now = shared.clock.monotonic();
    let mut replicas: Vec<&Arc<Replica>> = found
        .route
        .replicas
        .iter()
        .filter(|replica| speaks(replica, visit.dialect))
        .filter(|replica| found.route.may_be_on(&replica.node.view))
        .filter(|replica| found.only.is_none_or(|node| node == replica.node.view.id))
        .collect();
    let model = &asked.model;
    let nobody = if replicas.is_empty() {
        ApiError::new(
            ErrorKind::Unsupported,
            format!(
                "{path} is not known here, and no node of {model} that may serve it speaks this dialect"
            ),
        )
    } else {
        ApiError::new(
            ErrorKind::Unavailable,
            format!("{path} is not known here, and no node of {model} that speaks this dialect is up: try again soon"),
        )
        .with_retry_after(RETRY_AFTER)
    };
    replicas.retain(|replica| replica.node.view.is_routable());
    replicas.sort_by_key(|replica| {
        let refuses = replica.live.breaker.lock().is_open(now);
        (refuses, replica.node.view.activity.in_flight())
    });
    let mut failed = None;
    for (place, replica) in replicas.iter().enumerate() {
        let node = &replica.node.view;
        let Some(target) = &replica.node.target else {
            continue;
        };
        let body = asked.body_for(replica)?;
        if failed.is_some() {
            forwarded.retries();
            shared.metrics.retried("connect");
        }
        forwarded.tries(replica, replicas.get(place..).unwrap_or_default(), path);
        let lease = node.activity.begin(0);
        let upstream = UpstreamRequest {
            method: Method::POST,
            path,
            headers: asked.headers(visit),
            body,
        };
        let limit = shared.config().unary_timeout;
        let sent = tokio::time::timeout(limit, visit.worker.pool.send(target, &upstream)).await;
        let error = match sent {
            Ok(Ok(response)) => return Ok((response, lease)),
            Ok(Err(error)) => error,
            Err(_) => UpstreamError::Timeout(limit),
        };
        let failure = refusal::broken(&node.name, &error);
        forwarded.note_failure(&failure.error.message);
        if !error.is_connect() {
            return Err(failure.error);
        }
        shared
            .registry
            .report_failure(node.id, &replica.model.name, CallFailure::Connect);
        failed = Some(failure.error);
    }
    Err(failed.unwrap_or(nobody))
}

/// Passes a node's answer as it comes, whatever its status.
fn pass(
    visit: &Visit<'_>,
    asked: &Asked,
    mut forwarded: Forwarded,
    response: NodeResponse,
    lease: Lease,
) -> Response<ReplyBody> {
    let NodeResponse { head, body } = response;
    forwarded.answers(&head);
    let node = forwarded.node();
    let model = forwarded.other_model(&asked.model);
    let stream = futures_util::stream::unfold(
        (body, forwarded, lease),
        |(mut body, mut forwarded, lease)| async move {
            let under_way = forwarded.under_way();
            let next = poll_fn(|cx| match body.poll_data(cx) {
                Poll::Pending => under_way
                    .poll_stopped(cx)
                    .map(|error| Some(Err(io::Error::other(error.message)))),
                ready @ Poll::Ready(_) => ready,
            });
            match next.await {
                Some(Ok(data)) => {
                    forwarded.goes_on();
                    Some((Ok(data), (body, forwarded, lease)))
                }
                Some(Err(error)) => {
                    forwarded.breaks_off(&error);
                    Some((Err(error), (body, forwarded, lease)))
                }
                None => {
                    forwarded.ends();
                    None
                }
            }
        },
    );
    let mut reply = Reply::new(visit.id)
        .node(node.as_deref())
        .model(model.as_deref())
        .stream(
            "application/json",
            ReplyBody::Boxed(axum::body::Body::from_stream(stream)),
            false,
        );
    *reply.status_mut() = head.status;
    if let Some(content_type) = head.content_type {
        reply
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
    }
    reply
}

fn speaks(replica: &Replica, dialect: Dialect) -> bool {
    let NodeSpeech::Http {
        dialect: node,
        server,
    } = replica.node.speech
    else {
        return false;
    };
    match dialect {
        Dialect::Ollama => node == Dialect::Ollama,
        // Ollama has routes under /v1 as well.
        Dialect::OpenAi => matches!(node, Dialect::OpenAi | Dialect::Ollama),
        Dialect::Anthropic => {
            matches!(node, Dialect::Anthropic | Dialect::Ollama) || server.has_messages()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_cannot_be_managed_through_the_gateway() {
        for path in [
            "/api/signout",
            "/api/user/keys/x",
            "/v1/load_lora_adapter",
            "/v1/../metrics",
            "/v1/%2e%2e/metrics",
            "/debug/pprof",
            "/v1//x",
            "/metrics",
            "/api/pull/",
            "/api/./pull",
            "/api/delete",
            "/api/tags",
            "/api/ps",
            "/v1/./load_lora_adapter",
            "/v1/Load_lora_adapter",
            "/api/admin/reload_config",
            "/api/extra/shutdown",
            "/v1/model/unload",
            "/v1/sleep",
            "/api/server_info",
            "/api/me",
            "/v1/",
        ] {
            assert!(!may_forward(path), "{path}");
        }
        for path in [
            "/v1/systemone",
            "/v1/rerank",
            "/api/brandnew",
            "/v1/audio/transcriptions",
            "/v1/images/generations",
        ] {
            assert!(may_forward(path), "{path}");
        }
    }
}
