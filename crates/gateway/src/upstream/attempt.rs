//! One try on one node: choose, send, look at the head of the answer; and the loop that goes to another node while
//! nothing has reached the client.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use cluster::CallFailure;
use dialects::{ApiError, Event, Operation, Request, ResidencyChange};
use engine::Generation;
use http::{HeaderValue, Method};
use primitives::{ErrorKind, MonotonicTime};
use scheduling::{CallOutcome, CapacityOutcome, Exclusion};
use tokio::time::Instant;

use super::engine_call;
use super::lost_agents;
use super::prepare::{Answer, Prepared, Wanted, prepare};
use super::refusal::{broken, died, refused, unprepared};
use super::{
    LOOK, Response, UpstreamBody, UpstreamError, UpstreamRequest, has_died, request_headers,
};
use crate::admission;
use crate::exchange::Exchange;
use crate::fleet_view::{NodeSpeech, Replica};
use crate::routing::{self, Chosen};

/// Largest error body read from a node.
const ERROR_BODY: usize = 64 << 10;

/// The pause before all nodes are tried again.
const ROUND_PAUSE: Duration = Duration::from_millis(250);

/// Where an answer comes from.
pub(crate) enum Source {
    /// A server: the body of a 2xx answer.
    Http {
        /// The route asked on the node.
        operation: Operation,
        /// What is left of the answer.
        body: UpstreamBody,
        /// What must be done with it.
        answer: Answer,
        /// Whether the node streams it.
        streamed: bool,
    },
    /// A generation of the embedded engine.
    Engine(Generation),
    /// An answer that is complete already.
    Ready(Vec<Event>),
}

/// A node that answers.
pub(crate) struct Opened {
    pub(crate) chosen: Chosen,
    pub(crate) source: Source,
    pub(crate) sent_at: MonotonicTime,
}

/// Whether another node may do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The request itself is at fault.
    Never,
    /// The node is at fault.
    OtherNode,
}

/// Why a try failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the client hears if nothing better comes.
    pub(crate) error: ApiError,
    /// Whether to try elsewhere.
    pub(crate) retry: Retry,
    /// What the breaker hears.
    pub(crate) outcome: CallOutcome,
    /// Names the reason in metrics.
    pub(crate) reason: &'static str,
}

impl Failure {
    /// A fault of the client, or of nobody.
    pub(crate) const fn client(error: ApiError) -> Self {
        Self {
            error,
            retry: Retry::Never,
            outcome: CallOutcome::NotTheNode,
            reason: "client",
        }
    }

    /// A fault of the node.
    pub(crate) const fn node(reason: &'static str, error: ApiError) -> Self {
        Self {
            error,
            retry: Retry::OtherNode,
            outcome: CallOutcome::Failure,
            reason,
        }
    }
}

/// Tries nodes until one answers, the error is final, or attempts and retry budget are used up.
///
/// `limit` bounds the wait for the head of each answer. When the nodes that could serve the request were lost one after
/// the other, they are tried again after a pause, a few times: nodes come back, and a client that has half of an answer
/// should not lose it for a restart. Agents whose link was lost a moment ago are waited for.
pub(crate) async fn open(
    exchange: &mut Exchange,
    wanted: &Wanted,
    limit: Duration,
) -> Result<Opened, ApiError> {
    let shared = exchange.shared().clone();
    loop {
        let error = match routing::choose(exchange, wanted).await {
            Ok(chosen) => {
                if let Some(reason) = exchange.retries_after.take() {
                    exchange.retries += 1;
                    shared.metrics.retried(reason);
                }
                let stopped = admission::has_to_give_way(exchange);
                let called = tokio::select! {
                    biased;
                    called = call(exchange, chosen, wanted, limit) => Some(called),
                    () = stopped => None,
                };
                match called {
                    Some(Ok(opened)) => return Ok(opened),
                    Some(Err(failure)) if failure.retry == Retry::Never => {
                        return Err(failure.error);
                    }
                    Some(Err(failure)) => {
                        if !may_retry(exchange, failure.reason) {
                            return Err(failure.error);
                        }
                    }
                    None => admission::gave_way(exchange),
                }
                continue;
            }
            // What the tried nodes said tells more than that none is left.
            Err(error) => exchange.last_failure.take().map_or(error, |last| *last),
        };
        if lost_agents::come_back(exchange).await {
            exchange.try_all_again();
            continue;
        }
        if !exchange.next_round() {
            return Err(error);
        }
        tokio::time::sleep(ROUND_PAUSE).await;
    }
}

/// Takes one more try out of the attempts of this request and the budget of all, if there is another node to try.
///
/// A node that could not be reached, or is no node for such a request, costs nobody anything, so that does not count. Broken connections
/// count as tries, because a request may be what breaks its node, but not against the budget: the other nodes get what the lost one
/// leaves behind, nothing more.
pub(crate) fn may_retry(exchange: &mut Exchange, reason: &'static str) -> bool {
    let shared = exchange.shared().clone();
    exchange.lost_connections |= matches!(reason, "connect" | "reset" | "broke_off");
    if !matches!(reason, "connect" | "unsupported") {
        exchange.tries += 1;
        if exchange.tries >= shared.config().max_attempts {
            return false;
        }
    }
    let budgeted = !matches!(
        reason,
        "connect" | "reset" | "broke_off" | "not_found" | "unsupported" | "context"
    );
    if budgeted
        && exchange.has_untried_node()
        && !shared
            .live
            .retries
            .lock()
            .withdraw(shared.clock.monotonic())
    {
        shared.metrics.retry_budget_exhausted.inc();
        tracing::debug!(reason, "no retry: the budget is spent");
        return false;
    }
    exchange.retries_after = Some(reason);
    true
}

/// Books a failed try with the node's breaker and liveness and in the request's record.
pub(crate) fn note_failure(exchange: &mut Exchange, chosen: &mut Chosen, failure: &Failure) {
    let shared = exchange.shared().clone();
    let now = shared.clock.monotonic();
    if matches!(failure.reason, "busy" | "timeout") {
        chosen.place.note(CapacityOutcome::Overloaded);
    }
    {
        let mut breaker = chosen.replica.live.breaker.lock();
        breaker.record(failure.outcome, now);
        chosen
            .replica
            .live
            .series
            .breaker_open
            .set(i64::from(breaker.is_open(now)));
    }
    if failure.retry == Retry::OtherNode {
        let node = chosen.replica.node.view.id;
        if failure.reason == "context" {
            pass_over_smaller(exchange, &chosen.replica);
        }
        let why = if failure.reason == "unsupported" {
            Exclusion::Unsupported
        } else {
            Exclusion::AlreadyTried
        };
        exchange.passed_over.push((node, why));
        let seen = match failure.reason {
            "connect" => Some(CallFailure::Connect),
            "timeout" | "reset" | "stall" | "broke_off" => Some(CallFailure::Unanswered),
            _ => None,
        };
        if let Some(seen) = seen {
            shared
                .registry
                .report_failure(node, &chosen.replica.model.name, seen);
        }
    }
    exchange.note_failure(&failure.error.message);
    exchange.last_failure = Some(Box::new(failure.error.clone()));
}

/// Passes over the nodes where a prompt that was too long for one is too long, too.
fn pass_over_smaller(exchange: &mut Exchange, refused_by: &Replica) {
    let Some(context) = refused_by.model.context_length else {
        return;
    };
    let why = Exclusion::OverContext {
        prompt: exchange.asked.prompt_tokens.max(context),
        context,
    };
    let smaller = exchange.route.replicas.iter().filter(|replica| {
        let theirs = replica.model.context_length;
        theirs.is_some_and(|theirs| theirs <= context)
    });
    let smaller = smaller.map(|replica| (replica.node.view.id, why));
    exchange.passed_over.extend(smaller);
}

async fn call(
    exchange: &mut Exchange,
    mut chosen: Chosen,
    wanted: &Wanted,
    limit: Duration,
) -> Result<Opened, Failure> {
    let sent_at = exchange.shared().clock.monotonic();
    let sent = match prepare(exchange, &chosen.replica, wanted) {
        Ok(Prepared::Residency(change)) => change_residency(exchange, &chosen, change).await,
        Ok(Prepared::Engine(request)) => ask_engine(exchange, &chosen, &request).await,
        Ok(Prepared::Http {
            operation,
            body,
            answer,
        }) => ask_server(exchange, &chosen, operation, body, answer, limit).await,
        Err(error) => Err(unprepared(error)),
    };
    match sent {
        Ok(source) => Ok(Opened {
            chosen,
            source,
            sent_at,
        }),
        Err(failure) => {
            note_failure(exchange, &mut chosen, &failure);
            Err(failure)
        }
    }
}

/// Loads or unloads a model of the engine. Servers that hold their model as long as they run have nothing to load, and
/// cannot unload.
async fn change_residency(
    exchange: &mut Exchange,
    chosen: &Chosen,
    change: ResidencyChange,
) -> Result<Source, Failure> {
    let node = &chosen.replica.node;
    let model = &chosen.replica.model.name;
    match (node.speech, exchange.shared().engine.clone(), change) {
        (NodeSpeech::Engine, Some(engine), _) => {
            let asked = exchange.canonical().map_err(Failure::client)?;
            engine_call::change_residency(&engine, model, change, asked.keep_alive())
                .await
                .map_err(Failure::client)?;
        }
        (_, _, ResidencyChange::Load) => {}
        (_, _, ResidencyChange::Unload) => {
            return Err(unprepared(ApiError::new(
                ErrorKind::Unsupported,
                format!(
                    "node {} keeps its model in memory as long as it runs",
                    node.view.name
                ),
            )));
        }
    }
    Ok(Source::Ready(vec![Event::Finish(change.into())]))
}

async fn ask_engine(
    exchange: &Exchange,
    chosen: &Chosen,
    request: &Request,
) -> Result<Source, Failure> {
    let Some(engine) = exchange.shared().engine.clone() else {
        return Err(Failure::node(
            "connect",
            ApiError::new(
                ErrorKind::Unavailable,
                "the embedded engine is switched off",
            ),
        ));
    };
    let model = &chosen.replica.model.name;
    let answer = match request {
        Request::Embed(embed) => engine_call::embed(&engine, model, embed)
            .await
            .map(Source::Ready),
        Request::Chat(_) | Request::Completion(_) => engine_call::generate(&engine, model, request)
            .await
            .map(Source::Engine),
    };
    answer.map_err(|error| match error.kind {
        ErrorKind::Unsupported => unprepared(error),
        ErrorKind::Unavailable => Failure {
            outcome: CallOutcome::NotTheNode,
            ..Failure::node("busy", error)
        },
        ErrorKind::Bug => Failure::node("error", error),
        _ => Failure::client(error),
    })
}

async fn ask_server(
    exchange: &Exchange,
    chosen: &Chosen,
    operation: Operation,
    body: Bytes,
    answer: Answer,
    limit: Duration,
) -> Result<Source, Failure> {
    let node = &chosen.replica.node;
    let name = &node.view.name;
    let Some(target) = &node.target else {
        return Err(Failure::node(
            "connect",
            ApiError::upstream(format!(
                "node {name} has no usable address: look at `remuda node show {name}`"
            )),
        ));
    };
    let request = UpstreamRequest {
        method: Method::POST,
        path: operation.path(),
        headers: request_headers(
            exchange.id,
            HeaderValue::from_static("application/json"),
            &exchange.hops,
            exchange.traceparent.as_deref(),
        ),
        body,
    };
    let mut sending = pin!(exchange.worker.pool.send(target, &request));
    let end = Instant::now() + limit;
    let response = loop {
        let look = end.min(Instant::now() + LOOK);
        match tokio::time::timeout_at(look, &mut sending).await {
            Ok(Ok(response)) => break response,
            Ok(Err(error)) => return Err(broken(name, &error)),
            Err(_) if Instant::now() >= end => {
                return Err(broken(name, &UpstreamError::Timeout(limit)));
            }
            Err(_) if has_died(exchange.shared(), node.view.id) => return Err(died(name)),
            Err(_) => {}
        }
    };
    let Response { head, body } = response;
    if head.status.is_success() {
        let streamed = head.is_stream();
        return Ok(Source::Http {
            operation,
            body,
            answer,
            streamed,
        });
    }
    let text = tokio::time::timeout(limit, body.collect(ERROR_BODY))
        .await
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default();
    let dialect = match node.speech {
        NodeSpeech::Http { dialect, .. } => dialect,
        NodeSpeech::Engine => operation.dialect(),
    };
    Err(refused(name, dialect, &head, &text))
}
