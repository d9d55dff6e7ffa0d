//! `GET /api/v1/system/figures`: what is happening, in one small answer; and the same for those who listen.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use identity::Admin;
use primitives::{RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{JsonBody, Problem, QueryParams};

use super::QueueWindow;
use super::queue::{WaitingBody, shown as shown_waiting};
use crate::metrics::resident_bytes;
use crate::pulse::{Failure, Lately, STEP};
use crate::shared::Shared;

/// Requests that wait which are shown.
const WAITING: usize = 6;

/// What to tell.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FiguresQuery {
    /// Whether to tell of the last quarter of an hour, too.
    #[serde(default)]
    history: bool,
}

/// What is happening in this process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FiguresBody {
    /// Now.
    #[schema(value_type = String)]
    at: Timestamp,
    /// Requests that ended, a second, of the last half a minute.
    requests_per_second: f64,
    /// Those of them that failed, broke off or were turned away.
    failed_per_second: f64,
    /// Tokens of answers a second, of the same.
    tokens_per_second: f64,
    /// Requests under way.
    in_flight: i64,
    /// Requests that wait for a node.
    waiting: usize,
    /// The first of them.
    queue: Vec<WaitingBody>,
    /// What has happened lately.
    lately: LatelyBody,
    /// The memory that the process holds, in bytes; 0 where the system does not tell.
    resident_bytes: i64,
    /// Nodes that serve something now, or did in the last half a minute, by name.
    nodes: Vec<NodeRateBody>,
    /// The last requests that failed, broke off or were turned away, the newest first; 20 at most.
    failures: Vec<FailureBody>,
    /// The last quarter of an hour since the start, the oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<HistoryBody>,
}

/// Sums and percentiles of the last minutes.
#[derive(Debug, Serialize, ToSchema)]
struct LatelyBody {
    /// Over how many seconds they go, 300 at most.
    seconds: u64,
    /// Requests that ended.
    requests: u64,
    /// Those of them that failed, broke off or were turned away.
    failed: u64,
    /// The time to the first token.
    first_token: Option<PercentilesBody>,
    /// The time in the queue.
    wait: Option<PercentilesBody>,
}

/// Right to within 5 %.
#[derive(Debug, Serialize, ToSchema)]
struct PercentilesBody {
    /// The median, in microseconds.
    p50_us: u64,
    /// In microseconds.
    p99_us: u64,
}

/// What a node does.
#[derive(Debug, Serialize, ToSchema)]
struct NodeRateBody {
    /// Its name.
    name: String,
    /// Requests in flight there.
    in_flight: u32,
    /// Requests that ended, a second.
    requests_per_second: f64,
    /// Tokens of answers a second.
    tokens_per_second: f64,
}

/// A request that ended badly.
#[derive(Debug, Serialize, ToSchema)]
struct FailureBody {
    /// The request's id.
    #[schema(value_type = String)]
    id: RequestId,
    /// When it arrived.
    #[schema(value_type = String)]
    received_at: Timestamp,
    /// The model.
    model: String,
    /// `failed`, `truncated` or `rejected`.
    outcome: &'static str,
    /// The HTTP status.
    status: u16,
    /// Why.
    error: Option<String>,
}

/// Steps of equal length, without the one under way.
#[derive(Debug, Serialize, ToSchema)]
struct HistoryBody {
    /// Seconds of a step.
    step_seconds: u64,
    /// When the first one began.
    #[schema(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Requests that ended in each step.
    requests: Vec<u64>,
    /// Those that ended badly.
    failed: Vec<u64>,
    /// Tokens of answers.
    tokens: Vec<u64>,
}

/// Tells what is happening.
#[utoipa::path(get, path = "/api/v1/system/figures", operation_id = "show_figures", tag = "system",
    params(FiguresQuery), security(("bearer" = [])),
    responses((status = 200, body = FiguresBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub(crate) async fn show_figures(
    _admin: Admin,
    Extension(QueueWindow(shared)): Extension<QueueWindow>,
    QueryParams(query): QueryParams<FiguresQuery>,
) -> JsonBody<FiguresBody> {
    let now = shared.clock.now();
    let history = query.history.then(|| history(&shared, now));
    JsonBody(FiguresBody {
        history,
        ..figures(&shared, now)
    })
}

/// The figures of a data plane, for those who tell of them by other ways. Clones read the same ones.
#[derive(Clone)]
pub struct Figures(Arc<Shared>);

impl std::fmt::Debug for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
    }
}

impl Figures {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Reads them, as `GET /api/v1/system/figures` shows them.
    pub fn read(&self) -> serde_json::Value {
        let figures = figures(&self.0, self.0.clock.now());
        // Numbers, texts and lists: there is nothing in it that could not be written.
        serde_json::to_value(figures).unwrap_or_default()
    }
}

fn figures(shared: &Shared, now: Timestamp) -> FiguresBody {
    let lately = shared.pulse.lately(now);
    let monotonic = shared.clock.monotonic();
    let (waiters, waiting, _) = shared.live.admission.list(WAITING, monotonic);
    let queue = waiters.iter();
    FiguresBody {
        at: now,
        requests_per_second: lately.requests_per_second,
        failed_per_second: lately.failed_per_second,
        tokens_per_second: lately.tokens_per_second,
        in_flight: shared.metrics.in_flight.get(),
        waiting,
        queue: queue
            .map(|waiter| shown_waiting(waiter, now.as_micros()))
            .collect(),
        nodes: nodes(shared, &lately),
        resident_bytes: resident_bytes(),
        failures: lately.failures.iter().map(shown_failure).collect(),
        lately: LatelyBody {
            seconds: lately.seconds,
            requests: lately.requests,
            failed: lately.failed,
            first_token: lately.first_token_us.map(percentiles),
            wait: lately.wait_us.map(percentiles),
        },
        history: None,
    }
}

const fn percentiles((p50_us, p99_us): (u64, u64)) -> PercentilesBody {
    PercentilesBody { p50_us, p99_us }
}

fn nodes(shared: &Shared, lately: &Lately) -> Vec<NodeRateBody> {
    let mut rates: HashMap<&str, (f64, f64)> = HashMap::new();
    for (name, requests, tokens) in &lately.nodes {
        rates.insert(name, (*requests, *tokens));
    }
    let fleet = shared.registry.snapshot();
    let nodes = fleet.nodes.iter();
    nodes
        .filter_map(|node| {
            let in_flight = node.activity.in_flight();
            let rates = rates.get(&*node.name).copied();
            let (requests_per_second, tokens_per_second) = match rates {
                Some(rates) => rates,
                None if in_flight > 0 => (0.0, 0.0),
                None => return None,
            };
            Some(NodeRateBody {
                name: node.name.to_string(),
                in_flight,
                requests_per_second,
                tokens_per_second,
            })
        })
        .collect()
}

fn shown_failure(failure: &Failure) -> FailureBody {
    FailureBody {
        id: failure.id,
        received_at: failure.received_at,
        model: failure.model.to_string(),
        outcome: failure.outcome.as_str(),
        status: failure.status,
        error: failure.error.clone(),
    }
}

fn history(shared: &Shared, now: Timestamp) -> HistoryBody {
    let past = shared.pulse.past(now);
    HistoryBody {
        step_seconds: STEP.as_secs(),
        from: past.first().map(|step| step.at),
        requests: past.iter().map(|step| step.requests).collect(),
        failed: past.iter().map(|step| step.failed).collect(),
        tokens: past.iter().map(|step| step.tokens).collect(),
    }
}
