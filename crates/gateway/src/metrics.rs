//! The data plane's Prometheus metrics.
//!
//! Label values come from closed sets and from the fleet's own model and node names, never from what a client sent.
//! Handles for a (model, node) pair are resolved once and kept with the route, so that a request touches only atomics.

mod configuration;
mod embeddings;
mod residency;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use self::configuration::ConfigurationSeries;
use self::embeddings::EmbeddingSeries;
use self::residency::ResidencySeries;
use crate::record::Outcome;

/// Most distinct (model, node) pairs with series of their own; further ones share the pair (`other`, `other`).
const PAIR_BOUND: usize = 5_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PairLabels {
    model: String,
    node: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PairOutcomeLabels {
    model: String,
    node: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    model: String,
    node: String,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    subject: &'static str,
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: &'static str,
}

/// Everything the data plane counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<OperationLabels, Counter>,
    model_requests: Family<PairOutcomeLabels, Counter>,
    tokens: Family<DirectionLabels, Counter>,
    first_token: Family<PairLabels, Histogram, fn() -> Histogram>,
    duration: Family<PairLabels, Histogram, fn() -> Histogram>,
    retries: Family<ReasonLabels, Counter>,
    breakers: Family<PairLabels, Gauge>,
    pairs: parking_lot::Mutex<std::collections::HashSet<(String, String)>>,
    pub(crate) continuations: Counter,
    pub(crate) retry_budget_exhausted: Counter,
    pub(crate) waiting_for_agents: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) body_bytes: Gauge,
    pub(crate) records_written: Counter,
    pub(crate) records_dropped: Counter,
    queue_waiting: Family<ClassLabels, Gauge>,
    queue_refused: Family<ReasonLabels, Counter>,
    limited: Family<LimitLabels, Counter>,
    pub(crate) queue_running: Gauge,
    pub(crate) queue_wait: Histogram,
    pub(crate) embeddings: EmbeddingSeries,
    pub(crate) residency: ResidencySeries,
    configuration: ConfigurationSeries,
    pub(crate) shared_executions: Counter,
    resident_bytes: Gauge,
}

/// Counts somebody who waits, until it is dropped.
pub(crate) struct Waiting<'a>(&'a Gauge);

impl<'a> Waiting<'a> {
    pub(crate) fn begin(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The series of one (model, node) pair, resolved.
#[derive(Clone, Debug)]
pub(crate) struct PairSeries {
    outcomes: [Counter; OUTCOMES.len()],
    prompt_tokens: Counter,
    completion_tokens: Counter,
    first_token: Histogram,
    duration: Histogram,
    /// 1 while the breaker of the pair is open.
    pub(crate) breaker_open: Gauge,
}

const OUTCOMES: [Outcome; 6] = [
    Outcome::Ok,
    Outcome::ClientError,
    Outcome::Rejected,
    Outcome::Failed,
    Outcome::Cancelled,
    Outcome::Truncated,
];

/// 1 ms to 262 s: first tokens come after milliseconds, or after a cold load of minutes.
fn latency_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 19))
}

impl Metrics {
    /// Makes and registers all metrics.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("remuda"),
            requests: Family::default(),
            model_requests: Family::default(),
            tokens: Family::default(),
            first_token: Family::new_with_constructor(latency_histogram as fn() -> Histogram),
            duration: Family::new_with_constructor(latency_histogram as fn() -> Histogram),
            retries: Family::default(),
            breakers: Family::default(),
            pairs: parking_lot::Mutex::default(),
            continuations: Counter::default(),
            retry_budget_exhausted: Counter::default(),
            waiting_for_agents: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            in_flight: Gauge::default(),
            body_bytes: Gauge::default(),
            records_written: Counter::default(),
            records_dropped: Counter::default(),
            queue_waiting: Family::default(),
            queue_refused: Family::default(),
            limited: Family::default(),
            queue_running: Gauge::default(),
            queue_wait: latency_histogram(),
            embeddings: EmbeddingSeries::new(),
            residency: ResidencySeries::default(),
            configuration: ConfigurationSeries::default(),
            shared_executions: Counter::default(),
            resident_bytes: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    /// Registers what happens between a request and the nodes.
    fn register_attempts(&mut self) {
        let r = &mut self.registry;
        r.register(
            "retries",
            "Attempts on another node before the first byte, by reason",
            self.retries.clone(),
        );
        r.register(
            "continuations",
            "Streams continued on another node",
            self.continuations.clone(),
        );
        r.register(
            "retry_budget_exhausted",
            "Retries that were not made because the budget was spent",
            self.retry_budget_exhausted.clone(),
        );
        r.register(
            "waiting_for_agents",
            "Requests that wait for an agent whose link is lost",
            self.waiting_for_agents.clone(),
        );
        r.register(
            "breaker_open",
            "1 from when the breaker of a model on a node opens until a call succeeds there, or the node that could not be reached is",
            self.breakers.clone(),
        );
    }

    fn register(&mut self) {
        self.register_attempts();
        let r = &mut self.registry;
        self.embeddings.register(r);
        self.residency.register(r);
        self.configuration.register(r);
        r.register(
            "shared_executions",
            "Requests answered by the execution of an identical one",
            self.shared_executions.clone(),
        );
        r.register(
            "requests",
            "Inference requests by operation and outcome",
            self.requests.clone(),
        );
        r.register(
            "model_requests",
            "Inference requests by model, node and outcome",
            self.model_requests.clone(),
        );
        r.register(
            "tokens",
            "Tokens by model, node and direction (prompt, completion)",
            self.tokens.clone(),
        );
        r.register_with_unit(
            "time_to_first_token",
            "From arrival to the first token",
            Unit::Seconds,
            self.first_token.clone(),
        );
        r.register_with_unit(
            "request_duration",
            "From arrival to the end of the answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        r.register(
            "connections",
            "Client connections open now",
            self.connections.clone(),
        );
        r.register(
            "connections_refused",
            "Client connections closed at the limit",
            self.connections_refused.clone(),
        );
        r.register(
            "in_flight_requests",
            "Inference requests under way",
            self.in_flight.clone(),
        );
        r.register_with_unit(
            "request_bodies",
            "Memory that the bodies of requests under way hold",
            Unit::Bytes,
            self.body_bytes.clone(),
        );
        r.register(
            "request_records_written",
            "Request records written to the database",
            self.records_written.clone(),
        );
        r.register(
            "request_records_dropped",
            "Request records dropped because the buffer was full or the database refused them",
            self.records_dropped.clone(),
        );
        r.register(
            "queue_waiting",
            "Requests that wait for a node, by class",
            self.queue_waiting.clone(),
        );
        r.register(
            "queue_running",
            "Requests that have their turn",
            self.queue_running.clone(),
        );
        r.register(
            "queue_refused",
            "Requests refused because the queue was full, or that waited too long, by reason",
            self.queue_refused.clone(),
        );
        r.register(
            "limited",
            "Requests refused because a caller had used what they may, by whose limit and which",
            self.limited.clone(),
        );
        r.register_with_unit(
            "queue_wait",
            "Time in the queue of requests that had to wait",
            Unit::Seconds,
            self.queue_wait.clone(),
        );
        r.register_with_unit(
            "process_resident_memory",
            "Resident memory of this process",
            Unit::Bytes,
            self.resident_bytes.clone(),
        );
    }

    /// Resolves the series of a model on a node.
    pub(crate) fn pair(&self, model: &str, node: &str) -> PairSeries {
        let (model, node) = {
            let mut pairs = self.pairs.lock();
            let key = (model.to_owned(), node.to_owned());
            if pairs.len() < PAIR_BOUND || pairs.contains(&key) {
                pairs.insert(key.clone());
                key
            } else {
                ("other".to_owned(), "other".to_owned())
            }
        };
        let labels = PairLabels {
            model: model.clone(),
            node: node.clone(),
        };
        let tokens = |direction| {
            self.tokens
                .get_or_create(&DirectionLabels {
                    model: model.clone(),
                    node: node.clone(),
                    direction,
                })
                .clone()
        };
        PairSeries {
            outcomes: OUTCOMES.map(|outcome| {
                self.model_requests
                    .get_or_create(&PairOutcomeLabels {
                        model: model.clone(),
                        node: node.clone(),
                        outcome: outcome.as_str(),
                    })
                    .clone()
            }),
            prompt_tokens: tokens("prompt"),
            completion_tokens: tokens("completion"),
            first_token: self.first_token.get_or_create(&labels).clone(),
            duration: self.duration.get_or_create(&labels).clone(),
            breaker_open: self.breakers.get_or_create(&labels).clone(),
        }
    }

    /// Resolves the outcome counters of an operation.
    pub(crate) fn operation(&self, operation: &'static str, outcome: Outcome) -> Counter {
        self.requests
            .get_or_create(&OperationLabels {
                operation,
                outcome: outcome.as_str(),
            })
            .clone()
    }

    /// Resolves the count of those of a class that wait.
    pub(crate) fn queue_waiting(&self, class: &'static str) -> Gauge {
        self.queue_waiting
            .get_or_create(&ClassLabels { class })
            .clone()
    }

    /// Counts a request that the queue did not take or keep.
    pub(crate) fn queue_refused(&self, reason: &'static str) {
        self.queue_refused
            .get_or_create(&ReasonLabels { reason })
            .inc();
    }

    /// Counts a request that was not let in for a caller's limit.
    pub(crate) fn limited(&self, subject: &'static str, limit: &'static str) {
        self.limited
            .get_or_create(&LimitLabels { subject, limit })
            .inc();
    }

    /// Counts a retry.
    pub(crate) fn retried(&self, reason: &'static str) {
        self.retries.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts a reading of the configuration while serving: whether it was applied, or refused.
    pub fn configuration_read(&self, applied: bool) {
        self.configuration.count(applied);
    }

    /// Renders all metrics in the `OpenMetrics` text format.
    pub fn render(&self) -> String {
        self.resident_bytes.set(resident_bytes());
        let mut out = String::new();
        if let Err(error) = text::encode(&mut out, &self.registry) {
            tracing::error!(%error, "metrics could not be rendered");
        }
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl PairSeries {
    /// Books an ended request.
    pub(crate) fn book(
        &self,
        outcome: Outcome,
        first_token_us: Option<u64>,
        total_us: u64,
        prompt: u64,
        completion: u64,
    ) {
        if let Some(counter) = OUTCOMES
            .iter()
            .position(|o| *o == outcome)
            .and_then(|i| self.outcomes.get(i))
        {
            counter.inc();
        }
        if prompt > 0 {
            self.prompt_tokens.inc_by(prompt);
        }
        if completion > 0 {
            self.completion_tokens.inc_by(completion);
        }
        if let Some(us) = first_token_us {
            self.first_token.observe(us as f64 / 1e6);
        }
        self.duration.observe(total_us as f64 / 1e6);
    }
}

/// Reads the resident set size from `/proc/self/statm` (pages of 4 KiB); 0 where there is no such file.
pub(crate) fn resident_bytes() -> i64 {
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<i64>().ok())
        .map_or(0, |pages| pages * 4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booked_requests_show_up_by_name() {
        let metrics = Metrics::new();
        metrics
            .pair("m:latest", "a")
            .book(Outcome::Ok, Some(2_000), 5_000, 7, 3);
        metrics.operation("openai_chat", Outcome::Ok).inc();
        let text = metrics.render();
        assert!(
            text.contains(
                r#"remuda_model_requests_total{model="m:latest",node="a",outcome="ok"} 1"#
            ),
            "{text}"
        );
        assert!(
            text.contains(
                r#"remuda_tokens_total{model="m:latest",node="a",direction="completion"} 3"#
            ),
            "{text}"
        );
        assert!(
            text.contains(r#"remuda_requests_total{operation="openai_chat",outcome="ok"} 1"#),
            "{text}"
        );
    }
}
