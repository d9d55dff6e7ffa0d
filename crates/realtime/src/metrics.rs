//! The hub's Prometheus metrics. Labels come from closed sets.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::closing::CloseReason;
use crate::topic::Topic;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabels {
    topic: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// What the hub counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) connections: Gauge,
    pub(crate) refused: Counter,
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
    pub(crate) channels: Gauge,
    pub(crate) history_bytes: Gauge,
    pub(crate) dropped: Counter,
    published: Family<TopicLabels, Counter>,
    closed: Family<ReasonLabels, Counter>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("remuda_realtime"),
            connections: Gauge::default(),
            refused: Counter::default(),
            sent: Counter::default(),
            received: Counter::default(),
            channels: Gauge::default(),
            history_bytes: Gauge::default(),
            dropped: Counter::default(),
            published: Family::default(),
            closed: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "connections",
            "Open WebSocket connections",
            metrics.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "WebSocket connections refused at a limit",
            metrics.refused.clone(),
        );
        registry.register(
            "messages_sent",
            "Messages of topics written to clients",
            metrics.sent.clone(),
        );
        registry.register(
            "messages_received",
            "Messages from clients",
            metrics.received.clone(),
        );
        registry.register(
            "channels",
            "Topics with a history, those of callers and inferences each",
            metrics.channels.clone(),
        );
        registry.register(
            "history_bytes",
            "Bytes of all kept messages",
            metrics.history_bytes.clone(),
        );
        registry.register(
            "messages_dropped",
            "Messages about inferences for which there was no channel",
            metrics.dropped.clone(),
        );
        registry.register(
            "messages_published",
            "Messages published, by topic",
            metrics.published.clone(),
        );
        registry.register(
            "connections_closed",
            "WebSocket connections that ended, by reason",
            metrics.closed.clone(),
        );
        metrics
    }

    pub(crate) fn published(&self, topic: Topic) {
        let topic = topic.message_type();
        self.published.get_or_create(&TopicLabels { topic }).inc();
    }

    pub(crate) fn closed(&self, reason: CloseReason) {
        let reason = reason.as_str();
        self.closed.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Writes them in the text format, with its end mark.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        text::encode(&mut text, &self.registry).ok();
        text
    }
}
