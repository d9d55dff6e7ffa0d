//! `POST /api/v1/simulations`: the requests of the last hours, replayed over the fleet as it is known here, under several policies.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use identity::Admin;
use primitives::{Classify, ErrorKind, Timestamp};
use scheduling::PolicyName;
use scheduling::simulator::{
    FleetSpec, Latency, ModelSpec, NodeSpec, Options, Report, SimulationError, TraceRequest,
    simulate,
};
use serde::{Deserialize, Serialize};
use store::StoreError;
use utoipa::ToSchema;
use web::{JsonBody, Problem};

use super::{QueueWindow, RecordsState};
use crate::fleet_view::{NodeSpeech, RouteTable};
use crate::shared::Shared;
use crate::store::{self as records, Filter, StoredRecord};

/// The most requests that are replayed.
const MOST: u32 = 20_000;
/// Requests that are replayed unless said otherwise.
const USUAL: u32 = 5_000;
/// Records of one reading.
const PAGE: u32 = 500;
/// How far back requests are taken from unless said otherwise.
const SPAN: Duration = Duration::from_hours(24);
/// What a node is taken to do that nothing has been learned about: a small server with one GPU.
const PREFILL: f32 = 1_000.0;
const DECODE: f32 = 30.0;
const SLOTS: u32 = 8;

/// Why nothing could be simulated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulateError {
    #[error("since must be an RFC 3339 time, as 2026-01-02T03:04:05Z")]
    Since,
    #[error("limit must be from 1 to {MOST}")]
    Limit,
    #[error(
        "no requests were answered in that time: choose a longer one, or simulate a trace with `remuda simulate`"
    )]
    Nothing,
    #[error("no node has the models of those requests now: add one that does")]
    NoNodes,
    #[error("a simulation is under way: try again in a moment")]
    Busy,
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the simulation broke off: see the server's log")]
    BrokeOff,
}

impl Classify for SimulateError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Since | Self::Limit | Self::Simulation(_) => ErrorKind::Invalid,
            Self::Nothing | Self::NoNodes => ErrorKind::Unprocessable,
            Self::Busy => ErrorKind::TooMany,
            Self::Store(error) => error.kind(),
            Self::BrokeOff => ErrorKind::Bug,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Store(error) => error.public_message(),
            other => other.to_string(),
        }
    }
}

/// What to replay, and how.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SimulationSpec {
    /// The policies to compare; all when absent or empty.
    #[schema(value_type = Vec<String>, example = json!(["remuda", "least_load"]))]
    policies: Vec<PolicyName>,
    /// Requests received at or after this time (RFC 3339); those of the last day when absent.
    since: Option<String>,
    /// The newest so many of them, 1 to 20000; 5000 when absent.
    #[schema(minimum = 1, maximum = 20_000)]
    limit: Option<u32>,
    /// How many times as fast as recorded they arrive; 1 when absent.
    #[schema(minimum = 0.0001, maximum = 10_000)]
    rate: Option<f64>,
    /// Decides everything that is random; 1 when absent.
    seed: Option<u64>,
}

/// What the simulations found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SimulationBody {
    /// Requests that were replayed.
    requests: usize,
    /// Requests that were left out, because no node has their model now.
    left_out: usize,
    /// When the first one arrived.
    #[schema(value_type = String)]
    from: Timestamp,
    /// When the last one arrived.
    #[schema(value_type = String)]
    to: Timestamp,
    /// The fleet that they were replayed over.
    fleet: Vec<SimulatedNodeBody>,
    /// One of each policy.
    results: Vec<PolicyResultBody>,
}

/// A node as it was simulated.
#[derive(Debug, Serialize, ToSchema)]
struct SimulatedNodeBody {
    /// Its name.
    name: String,
    /// Prompt tokens read a second.
    prefill_tokens_per_second: f32,
    /// Tokens written a second by one stream alone.
    decode_tokens_per_second: f32,
    /// Requests at the same time.
    slots: u32,
    /// Whether its speeds have been learned; otherwise they are those of a small server with one GPU.
    learned: bool,
}

/// What a policy came to.
#[derive(Debug, Serialize, ToSchema)]
struct PolicyResultBody {
    /// The policy.
    policy: &'static str,
    /// Requests that were served to the end.
    served: u64,
    /// Requests that the queue refused, or that nothing could serve.
    lost: u64,
    /// The time to the first token.
    first_token: SimulatedLatencyBody,
    /// The time to the end.
    end_to_end: SimulatedLatencyBody,
    /// Requests a second whose first token came within 5 s, and each further one within 100 ms in the mean.
    goodput_per_second: f64,
    /// Loads of models.
    cold_loads: u64,
    /// Jain's fairness index over callers: 1 when all are served equally well.
    fairness: f64,
    /// The share of slots that were taken, in the mean.
    slot_utilisation: f64,
    /// The time to the first token in milliseconds at each percent from 1 to 100, for a plot.
    first_token_percentiles_ms: Vec<f64>,
}

/// In milliseconds.
#[derive(Debug, Serialize, ToSchema)]
#[expect(
    clippy::struct_field_names,
    reason = "on the wire a number says its unit"
)]
struct SimulatedLatencyBody {
    /// The median.
    p50_ms: f64,
    /// The 90th percentile.
    p90_ms: f64,
    /// The 99th percentile.
    p99_ms: f64,
}

/// Replays recorded requests over the fleet as it is known, and compares policies. Arrivals do not wait for answers, and prompts have no
/// common beginnings (records do not hold them), so it is an estimate.
#[utoipa::path(post, path = "/api/v1/simulations", operation_id = "simulate", tag = "inference", security(("bearer" = [])),
    request_body = SimulationSpec,
    responses((status = 200, body = SimulationBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub(crate) async fn simulate_policies(
    _admin: Admin,
    Extension(QueueWindow(shared)): Extension<QueueWindow>,
    State(state): State<RecordsState>,
    JsonBody(spec): JsonBody<SimulationSpec>,
) -> Result<JsonBody<SimulationBody>, Problem> {
    let limit = spec.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(SimulateError::Limit.into());
    }
    let since = match &spec.since {
        Some(text) => Timestamp::parse_rfc3339(text).ok_or(SimulateError::Since)?,
        None => shared.clock.now().before(SPAN),
    };
    let seat = state.simulating.clone().try_acquire_owned();
    let seat = seat.map_err(|_| SimulateError::Busy)?;
    let mut trace = trace(&state, since, limit).await?;
    if trace.is_empty() {
        return Err(SimulateError::Nothing.into());
    }
    let recorded = trace.len();
    let (fleet, shown) = fleet(&shared, &trace);
    // What no node of today has would only count as lost.
    let has = |model: &String| fleet.nodes.iter().any(|node| node.models.contains(model));
    trace.retain(|(_, request)| request.model.as_ref().is_some_and(has));
    let (Some(first), Some(last)) = (trace.first(), trace.last()) else {
        return Err(SimulateError::NoNodes.into());
    };
    let (from, to) = (first.0, last.0);
    let options = Options {
        rate: spec.rate.unwrap_or(1.0),
        seed: spec.seed.unwrap_or(1),
        ..Options::default()
    };
    let policies = if spec.policies.is_empty() {
        PolicyName::ALL.to_vec()
    } else {
        spec.policies
    };
    let requests: Vec<TraceRequest> = trace.into_iter().map(|(_, request)| request).collect();
    let count = requests.len();
    let replayed = tokio::task::spawn_blocking(move || {
        // Held here: it goes on when the client has left.
        let _seat = seat;
        replay(&requests, &fleet, &policies, &options)
    });
    let results = replayed.await.map_err(|_| SimulateError::BrokeOff)??;
    Ok(JsonBody(SimulationBody {
        requests: count,
        left_out: recorded - count,
        from,
        to,
        fleet: shown,
        results,
    }))
}

fn replay(
    requests: &[TraceRequest],
    fleet: &FleetSpec,
    policies: &[PolicyName],
    options: &Options,
) -> Result<Vec<PolicyResultBody>, SimulateError> {
    let mut results: Vec<PolicyResultBody> = Vec::new();
    for name in policies {
        if results.iter().any(|result| result.policy == name.as_str()) {
            continue;
        }
        let report = simulate(requests.iter().cloned().map(Ok), fleet, *name, options)?;
        results.push(shown(report));
    }
    Ok(results)
}

/// Reads what was answered, the earliest first.
async fn trace(
    state: &RecordsState,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<(Timestamp, TraceRequest)>, SimulateError> {
    let mut found: Vec<StoredRecord> = Vec::new();
    let mut filter = Filter {
        since: Some(since),
        ..Filter::default()
    };
    while found.len() < limit as usize {
        let page = PAGE.min(limit - found.len() as u32);
        let listed = records::list_records(&state.db, &filter, page).await?;
        let Some(last) = listed.records.last() else {
            break;
        };
        filter.before = Some(last.id.to_string());
        found.extend(listed.records);
    }
    found.sort_by_key(|record| record.received_at);
    let begun = found
        .first()
        .map_or(0, |record| record.received_at.as_micros());
    let tokens = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    Ok(found
        .into_iter()
        .filter_map(|record| {
            let at_us = u64::try_from(record.received_at.as_micros() - begun).ok()?;
            let request = TraceRequest {
                at_us,
                model: Some(record.model?),
                // What was never counted was no answer.
                prompt_tokens: tokens(record.prompt_tokens)?,
                output_tokens: tokens(record.completion_tokens)?,
                tenant: Some(tenant(&record.caller_kind, record.caller_id.as_deref())),
                ..TraceRequest::default()
            };
            Some((record.received_at, request))
        })
        .collect())
}

fn tenant(kind: &str, id: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, id).hash(&mut hasher);
    hasher.finish()
}

/// Describes the fleet as this process knows it.
fn fleet(
    shared: &Shared,
    trace: &[(Timestamp, TraceRequest)],
) -> (FleetSpec, Vec<SimulatedNodeBody>) {
    let table = shared.routes.load();
    let mut models: HashMap<&str, ModelSpec> = HashMap::new();
    for (_, request) in trace {
        let Some(name) = request.model.as_deref() else {
            continue;
        };
        models.entry(name).or_insert_with(|| {
            let route = table.model(name);
            let sizes = route.into_iter().flat_map(|route| &route.replicas);
            ModelSpec {
                name: name.to_owned(),
                bytes: sizes.filter_map(|r| r.model.size_bytes).max().unwrap_or(0),
                cost: route.map_or(1.0, |route| route.cost),
                share: 1.0,
            }
        });
    }
    let mut nodes = Vec::new();
    let mut shown = Vec::new();
    for node in &table.nodes {
        let name = &node.view.name;
        let has: Vec<String> = models
            .keys()
            .filter(|model| table.has_replica(node.view.id, model))
            .map(|model| (*model).to_owned())
            .collect();
        // What the embedded engine does depends on what else this machine does.
        if has.is_empty() || node.speech == NodeSpeech::Engine {
            continue;
        }
        let (prefill, decode) = speeds(&table, &has, name);
        let slots = node
            .view
            .max_in_flight
            .or(node.view.slots)
            .unwrap_or(SLOTS)
            .max(1);
        shown.push(SimulatedNodeBody {
            name: name.to_string(),
            prefill_tokens_per_second: prefill.unwrap_or(PREFILL),
            decode_tokens_per_second: decode.unwrap_or(DECODE),
            slots,
            learned: prefill.is_some() && decode.is_some(),
        });
        nodes.push(NodeSpec {
            name: name.to_string(),
            count: 1,
            prefill_tokens_per_s: prefill.unwrap_or(PREFILL),
            decode_tokens_per_s: decode.unwrap_or(DECODE),
            slots,
            slowdown: 0.5,
            memory_bytes: None,
            cache_tokens: 0,
            load_bytes_per_s: 2.0e9,
            context: None,
            models: has,
            failures: Vec::new(),
        });
    }
    let mut models: Vec<ModelSpec> = models.into_values().collect();
    models.sort_by(|one, other| one.name.cmp(&other.name));
    (FleetSpec { models, nodes }, shown)
}

/// Returns how fast a node reads and writes, in the mean of the models whose speed was learned there.
fn speeds(table: &RouteTable, models: &[String], node: &str) -> (Option<f32>, Option<f32>) {
    let replicas = models.iter().filter_map(|model| table.model(model));
    let learned: Vec<(Option<f32>, Option<f32>)> = replicas
        .flat_map(|route| &route.replicas)
        .filter(|replica| &*replica.node.view.name == node)
        .map(|replica| {
            let speed = replica.live.speed.lock();
            (speed.prefill_tokens_per_s(), speed.decode_tokens_per_s())
        })
        .collect();
    let mean = |values: Vec<f32>| {
        let count = values.len() as f32;
        (count > 0.0).then(|| values.iter().sum::<f32>() / count)
    };
    (
        mean(learned.iter().filter_map(|speed| speed.0).collect()),
        mean(learned.iter().filter_map(|speed| speed.1).collect()),
    )
}

fn shown(report: Report) -> PolicyResultBody {
    let latency = |of: &Latency| SimulatedLatencyBody {
        p50_ms: of.p50_ms,
        p90_ms: of.p90_ms,
        p99_ms: of.p99_ms,
    };
    PolicyResultBody {
        policy: report.policy,
        served: report.served,
        lost: report.refused + report.failed,
        first_token: latency(&report.first_token),
        end_to_end: latency(&report.end_to_end),
        goodput_per_second: report.goodput_per_s,
        cold_loads: report.cold_loads,
        fairness: report.fairness,
        slot_utilisation: report.slot_utilisation,
        first_token_percentiles_ms: report.first_token_percentiles,
    }
}
