//! The hub's bounds and patience.

use std::time::Duration;

/// Bounds and patience of the hub.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// The most connections at once; further ones are answered with 503.
    pub max_connections: usize,
    /// The most connections of one person, or of one key that belongs to nobody; further ones are answered with 429.
    pub max_per_caller: usize,
    /// How long a connection may take to say who it is.
    pub auth_timeout: Duration,
    /// Silence after which a connection is asked for a sign of life.
    pub ping_interval: Duration,
    /// How long the sign of life may take.
    pub pong_timeout: Duration,
    /// How long one message may take to be written.
    pub send_timeout: Duration,
    /// The largest message from a client, in bytes.
    pub message_limit: usize,
    /// Messages that a channel keeps: how far a listener may be behind.
    pub history_messages: usize,
    /// Bytes that a channel keeps, likewise.
    pub history_bytes: usize,
    /// Bytes that all channels keep together; beyond it a channel keeps its newest message only.
    pub history_total_bytes: usize,
    /// The time between two messages of `system_metrics`, while somebody listens.
    pub metrics_interval: Duration,
    /// The time between two messages of `heartbeat`, while somebody listens.
    pub heartbeat_interval: Duration,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_per_caller: 200,
            auth_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(10),
            message_limit: 4 << 10,
            history_messages: 1_000,
            history_bytes: 1 << 20,
            history_total_bytes: 64 << 20,
            metrics_interval: Duration::from_secs(2),
            heartbeat_interval: Duration::from_secs(30),
        }
    }
}
