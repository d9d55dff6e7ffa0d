//! From a request to a response: authentication, faults before the first byte, inference.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::Value;

use super::ask::{self, Ask};
use super::body::{ScriptedBody, play_stream, play_whole, sleep_for};
use super::files::ModelFiles;
use super::flavour::Flavour;
use super::models::ScriptedModel;
use super::plan::Plan;
use super::record::{Flight, Record, SeenRequest};
use super::script::{Ending, Fault, Script};
use super::server::{Connection, HangUp};
use super::{catalogue, directives, embed, wire};

/// Bytes of a request body that are read; blobs of test models stay far below.
const BODY_LIMIT_BYTES: usize = 64 * 1024 * 1024;

pub(super) type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// All that a server knows and shares with its tests.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) flavour: Flavour,
    pub(super) api_key: Option<String>,
    pub(super) script: Mutex<Script>,
    /// Faults of the next inference requests, one each.
    pub(super) next_faults: Mutex<VecDeque<Fault>>,
    pub(super) models: Mutex<Vec<ScriptedModel>>,
    /// Where models are kept that have files.
    pub(super) files: Option<ModelFiles>,
    /// Digests of uploaded blobs.
    pub(super) blobs: Mutex<BTreeSet<String>>,
    pub(super) record: Record,
    pub(super) responses: AtomicU64,
    /// Held by the embedding call that is computed.
    pub(super) embedder: tokio::sync::Mutex<()>,
    /// Held by the pull of a model with files that is under way.
    pub(super) puller: tokio::sync::Mutex<()>,
    /// Held by the request whose prompt is read.
    pub(super) reader: tokio::sync::Mutex<()>,
}

/// A request with its body in memory.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    /// Returns the body as JSON, or null.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Answers one request.
pub(super) async fn answer(
    node: Arc<Node>,
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let does_work = does_work(&node, &path);
    let inference = head.method == Method::POST && does_work;
    // A probe that asks whether there is such a route is no call.
    let asks_for_route = head.method == Method::GET && does_work;
    // Counted before the body is read, so that a client that leaves meanwhile shows.
    let flight = inference.then(|| node.record.inference(&path));
    let body = match Limited::new(body, BODY_LIMIT_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(refusal(&node, flight, &path, 413, "request body too large")),
    };
    if !asks_for_route {
        node.record.request(SeenRequest {
            method: head.method.clone(),
            uri: head.uri,
            headers: head.headers.clone(),
            body: body.clone(),
            at: Instant::now(),
        });
    }
    let call = Call {
        method: head.method,
        path,
        headers: head.headers,
        body,
    };
    let mut reply = route(&node, &connection, flight, &call).await;
    if let Some(server) = node.flavour.server_header() {
        reply
            .headers_mut()
            .insert(header::SERVER, HeaderValue::from_static(server));
    }
    Ok(reply)
}

/// Tells whether `POST` at a path has a model work.
fn does_work(node: &Node, path: &str) -> bool {
    ask::route(node.flavour, path).is_some() || embed::is_route(path)
}

async fn route(
    node: &Arc<Node>,
    connection: &Connection,
    flight: Option<Flight>,
    call: &Call,
) -> Reply {
    if !authorised(node, call) {
        return refusal(node, flight, &call.path, 401, "Invalid API Key");
    }
    let Some(flight) = flight else {
        let fault = node.script.lock().probe_fault.clone();
        if let Some(reply) = before_first_byte(node, connection, fault.as_ref(), &call.path).await {
            return reply;
        }
        if call.method == Method::GET && does_work(node, &call.path) {
            return refusal(node, None, &call.path, 405, "Method Not Allowed");
        }
        return catalogue::answer(node, call).await;
    };
    let mut script = node.script.lock().clone();
    if let Some(fault) = node.next_faults.lock().pop_front() {
        script.fault = Some(fault);
    }
    if node.flavour == Flavour::Vllm && !is_json(call) {
        let message = "Unsupported Media Type: Only 'application/json' is allowed";
        return refusal(node, Some(flight), &call.path, 400, message);
    }
    match ask::route(node.flavour, &call.path) {
        Some(route) => match ask::read(node.flavour, route, &call.body, script.tokens) {
            Ok(ask) => infer(node, connection, flight, call, script, ask).await,
            Err((status, message)) => refusal(node, Some(flight), &call.path, status, &message),
        },
        None => embed_texts(node, connection, flight, call, script).await,
    }
}

async fn embed_texts(
    node: &Node,
    connection: &Connection,
    mut flight: Flight,
    call: &Call,
    script: Script,
) -> Reply {
    if let Some(reply) = faulty(node, connection, &mut flight, script.fault.as_ref(), call).await {
        return reply;
    }
    sleep_for(script.first_byte_delay).await;
    if let Some((_, gate)) = &script.gate {
        gate.pass().await;
    }
    let (reply, inputs) = embed::answer(node, call);
    let pace = script.embedding;
    let cost = pace.call + pace.input * inputs as u32;
    if !cost.is_zero() {
        let _turn = node.embedder.lock().await;
        sleep_for(cost).await;
    }
    flight.end();
    reply
}

async fn infer(
    node: &Arc<Node>,
    connection: &Connection,
    mut flight: Flight,
    call: &Call,
    mut script: Script,
    ask: Ask,
) -> Reply {
    let header = call
        .headers
        .get(directives::HEADER)
        .and_then(|value| value.to_str().ok());
    let directives = directives::apply(
        &mut script,
        &node.name,
        header,
        &ask.prompt,
        !ask.prefill.is_empty(),
    );
    if let Some(gate) = &script.head_gate {
        gate.pass().await;
    }
    if let Some(reply) = faulty(node, connection, &mut flight, script.fault.as_ref(), call).await {
        return reply;
    }
    if let Some((status, message)) = node.lacks(&ask) {
        return refusal(node, Some(flight), &call.path, status, &message);
    }
    node.use_model(&ask, &script, &mut flight).await;
    if ask.empty && node.flavour == Flavour::Ollama {
        flight.end();
        return json(200, &wire::ollama_loaded(&ask));
    }
    sleep_for(script.first_byte_delay).await;
    let plan = Plan::new(&ask, &script, &directives);
    if let Some(rate) = script.prefill_tokens_per_s {
        let _turn = node.reader.lock().await;
        sleep_for(Duration::from_secs_f64(plan.prompt_tokens as f64 / rate)).await;
    }
    let wire = wire::wire(&ask, node.responses.fetch_add(1, Ordering::Relaxed));
    if ask.stream {
        let content_type = wire.content_type();
        let (items, body) = ScriptedBody::new(flight, connection.clone(), None);
        tokio::spawn(play_stream(wire, plan, script, items));
        return response(200, content_type, UnsyncBoxBody::new(body));
    }
    let bytes = Bytes::from(wire.whole(&plan).to_string());
    whole(node, connection, flight, call, &script, &plan, bytes).await
}

/// Answers in one piece, after the time that the tokens take.
async fn whole(
    node: &Node,
    connection: &Connection,
    flight: Flight,
    call: &Call,
    script: &Script,
    plan: &Plan,
    bytes: Bytes,
) -> Reply {
    if let Some((_, gate)) = &script.gate {
        gate.pass().await;
    }
    let steps = (plan.tokens.len() + plan.thinking.len()).saturating_sub(1) as u32;
    sleep_for(script.first_token_delay + script.token_delay * steps).await;
    let fault = match &script.fault {
        Some(Fault::AfterTokens {
            ending: Ending::Error(message),
            ..
        }) => {
            return refusal(node, Some(flight), &call.path, 500, message);
        }
        Some(Fault::AfterTokens { ending, .. }) => Some(ending.clone()),
        _ => None,
    };
    let length = fault.is_none().then_some(bytes.len() as u64);
    let (items, body) = ScriptedBody::new(flight, connection.clone(), length);
    tokio::spawn(play_whole(bytes, plan.tokens.len(), fault, items));
    response(200, "application/json", UnsyncBoxBody::new(body))
}

/// Plays an inference request's fault, when it strikes before the first byte.
async fn faulty(
    node: &Node,
    connection: &Connection,
    flight: &mut Flight,
    fault: Option<&Fault>,
    call: &Call,
) -> Option<Reply> {
    if !matches!(fault, None | Some(Fault::AfterTokens { .. } | Fault::Hang)) {
        flight.end();
    }
    before_first_byte(node, connection, fault, &call.path).await
}

async fn before_first_byte(
    node: &Node,
    connection: &Connection,
    fault: Option<&Fault>,
    path: &str,
) -> Option<Reply> {
    match fault? {
        Fault::Hang => std::future::pending().await,
        Fault::ResetBeforeFirstByte => {
            connection.hang_up(HangUp::Reset);
            std::future::pending().await
        }
        Fault::CloseBeforeFirstByte => {
            connection.hang_up(HangUp::Close);
            std::future::pending().await
        }
        Fault::Status {
            status,
            body,
            retry_after_s,
        } => {
            let mut reply = match body {
                Some(body) => response(*status, "application/json", full(body.clone())),
                None => refusal(node, None, path, *status, "scripted failure"),
            };
            if let Some(seconds) = retry_after_s {
                reply
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            Some(reply)
        }
        Fault::AfterTokens { .. } => None,
    }
}

fn authorised(node: &Node, call: &Call) -> bool {
    let Some(key) = &node.api_key else {
        return true;
    };
    // vLLM asks for its key under /v1 only, llama-server leaves health open.
    let open = match node.flavour {
        Flavour::Vllm => !call.path.starts_with("/v1"),
        Flavour::LlamaServer => matches!(call.path.as_str(), "/health" | "/v1/health"),
        Flavour::Ollama | Flavour::Other => false,
    };
    let expected = format!("Bearer {key}");
    open || call
        .headers
        .get(header::AUTHORIZATION)
        .is_some_and(|given| given.as_bytes() == expected.as_bytes())
}

fn is_json(call: &Call) -> bool {
    call.headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"))
}

/// Makes an error response in the flavour's envelope; a flight counts as ended.
pub(super) fn refusal(
    node: &Node,
    flight: Option<Flight>,
    path: &str,
    status: u16,
    message: &str,
) -> Reply {
    if let Some(mut flight) = flight {
        flight.end();
    }
    json(status, &node.flavour.error_body(path, status, message))
}

/// Makes a JSON response.
pub(super) fn json(status: u16, value: &Value) -> Reply {
    response(status, "application/json", full(value.to_string()))
}

/// Makes a response with any body.
pub(super) fn response(
    status: u16,
    content_type: &'static str,
    body: UnsyncBoxBody<Bytes, Infallible>,
) -> Reply {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Makes a body that is there at once.
pub(super) fn full(body: impl Into<Bytes>) -> UnsyncBoxBody<Bytes, Infallible> {
    UnsyncBoxBody::new(Full::new(body.into()))
}
