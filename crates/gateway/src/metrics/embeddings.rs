//! What is counted of joined and divided embedding calls.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Series of embedding calls.
#[derive(Debug)]
pub(crate) struct EmbeddingSeries {
    waiting: Gauge,
    calls_joined: Counter,
    requests_joined: Counter,
    joins_undone: Counter,
    inputs_per_call: Histogram,
}

impl EmbeddingSeries {
    pub(super) fn new() -> Self {
        Self {
            waiting: Gauge::default(),
            calls_joined: Counter::default(),
            requests_joined: Counter::default(),
            joins_undone: Counter::default(),
            inputs_per_call: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "embedding_requests_waiting",
            "Embedding requests that wait for a place or for others to share a call",
            self.waiting.clone(),
        );
        registry.register(
            "embedding_calls_joined",
            "Calls to nodes that served several embedding requests",
            self.calls_joined.clone(),
        );
        registry.register(
            "embedding_requests_joined",
            "Embedding requests that shared a call",
            self.requests_joined.clone(),
        );
        registry.register(
            "embedding_joins_undone",
            "Joined calls that a node refused as wrong, so that each request went alone",
            self.joins_undone.clone(),
        );
        registry.register(
            "embedding_inputs_per_call",
            "Inputs of calls that were joined or are parts of a large request",
            self.inputs_per_call.clone(),
        );
    }

    /// Returns the count of requests that wait for company.
    pub(crate) fn waiting(&self) -> Gauge {
        self.waiting.clone()
    }

    /// Counts a call that serves so many requests.
    pub(crate) fn joined(&self, requests: u32) {
        self.calls_joined.inc();
        self.requests_joined.inc_by(u64::from(requests));
    }

    /// Counts the inputs of a call.
    pub(crate) fn call(&self, inputs: u32) {
        self.inputs_per_call.observe(f64::from(inputs));
    }

    /// Counts a joined call that came to nothing because of one request.
    pub(crate) fn undone(&self) {
        self.joins_undone.inc();
    }
}
