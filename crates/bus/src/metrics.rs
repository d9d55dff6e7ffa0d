//! Metrics of what is shared. Labels come from closed sets.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lookup {
    resource: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resource {
    resource: &'static str,
}

/// What is counted. Those of Redis are shown only where it is used.
#[derive(Debug)]
pub(crate) struct Metrics {
    redis: Registry,
    cache: Registry,
    pub(crate) up: Gauge,
    pub(crate) connections: Counter,
    pub(crate) unsettled: Counter,
    calls: Family<Outcome, Counter>,
    reservations: Family<Outcome, Counter>,
    lookups: Family<Lookup, Counter>,
    invalidations: Family<Resource, Counter>,
    bytes: Family<Resource, Gauge>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            redis: Registry::with_prefix("remuda_redis"),
            cache: Registry::with_prefix("remuda_cache"),
            up: Gauge::default(),
            connections: Counter::default(),
            unsettled: Counter::default(),
            calls: Family::default(),
            reservations: Family::default(),
            lookups: Family::default(),
            invalidations: Family::default(),
            bytes: Family::default(),
        };
        let redis = &mut metrics.redis;
        redis.register("up", "Whether Redis is in reach", metrics.up.clone());
        redis.register(
            "connections",
            "Connections made to Redis",
            metrics.connections.clone(),
        );
        redis.register("calls", "Calls of Redis, by outcome", metrics.calls.clone());
        redis.register(
            "reservations",
            "Requests counted against limits: in Redis, or by this process alone",
            metrics.reservations.clone(),
        );
        redis.register(
            "unsettled",
            "Requests whose use could not be told to Redis",
            metrics.unsettled.clone(),
        );
        let cache = &mut metrics.cache;
        cache.register(
            "lookups",
            "Answers looked for: found in memory (hit), found in Redis (shared_hit), made anew (miss)",
            metrics.lookups.clone(),
        );
        cache.register(
            "invalidations",
            "Times that all answers of a resource were forgotten after a change",
            metrics.invalidations.clone(),
        );
        cache.register("held_bytes", "Memory of answers", metrics.bytes.clone());
        metrics
    }

    pub(crate) fn called(&self, outcome: &'static str) {
        self.calls.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn reserved(&self, outcome: &'static str) {
        self.reservations.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn looked_up(&self, resource: &'static str, outcome: &'static str) {
        let lookup = Lookup { resource, outcome };
        self.lookups.get_or_create(&lookup).inc();
    }

    pub(crate) fn invalidated(&self, resource: &'static str) {
        self.invalidations
            .get_or_create(&Resource { resource })
            .inc();
    }

    pub(crate) fn holds(&self, resource: &'static str, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes.get_or_create(&Resource { resource }).set(bytes);
    }

    /// Writes them in the text format, with its end mark.
    pub(crate) fn render(&self, with_redis: bool) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        if with_redis {
            text::encode_registry(&mut text, &self.redis).ok();
        }
        text::encode_registry(&mut text, &self.cache).ok();
        text::encode_eof(&mut text).ok();
        text
    }
}
