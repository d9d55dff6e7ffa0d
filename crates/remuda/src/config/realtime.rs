//! `[realtime]`: the WebSocket hub.

use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::{ByteSize, Period};

/// Bounds and patience of the WebSocket hub.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RealtimeSection {
    /// The most WebSocket connections at once; 10,000 unless set. A tenth of them may not have said yet who they are.
    pub max_connections: usize,
    /// The most of one person, or of one key that belongs to nobody; 200 unless set.
    pub max_per_caller: usize,
    /// How long a connection may take to say who it is; 10 s unless set.
    pub auth_timeout: Period,
    /// Silence after which a connection is asked for a sign of life; 22 s unless set.
    pub ping_interval: Period,
    /// How long that may take; 10 s unless set.
    pub pong_timeout: Period,
    /// How long one message may take to be written before the client counts as too slow; 10 s unless set.
    pub send_timeout: Period,
    /// The largest message from a client; 4 KiB unless set.
    pub message_limit: ByteSize,
    /// Messages of a topic that are kept: how far a client may be behind, and can resume; 1,000 unless set.
    pub history_messages: usize,
    /// Bytes of a topic that are kept, likewise; 1 MiB unless set.
    pub history_bytes: ByteSize,
    /// The time between two messages of `system_metrics`; 2 s unless set.
    pub metrics_interval: Period,
}

impl Default for RealtimeSection {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_per_caller: 200,
            auth_timeout: Period::seconds(10),
            ping_interval: Period::seconds(25),
            pong_timeout: Period::seconds(10),
            send_timeout: Period::seconds(10),
            message_limit: ByteSize(4 << 10),
            history_messages: 1_000,
            history_bytes: ByteSize::mebibytes(1),
            metrics_interval: Period::seconds(2),
        }
    }
}

impl RealtimeSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        for (key, count, most) in [
            ("max_connections", self.max_connections, 1_000_000),
            ("max_per_caller", self.max_per_caller, 1_000_000),
            ("history_messages", self.history_messages, 100_000),
        ] {
            if !(1..=most).contains(&count) {
                return Err(at.bad(["realtime", key], format!("must be 1 to {most}")));
            }
        }
        for (key, period) in [
            ("auth_timeout", self.auth_timeout),
            ("ping_interval", self.ping_interval),
            ("pong_timeout", self.pong_timeout),
            ("send_timeout", self.send_timeout),
            ("metrics_interval", self.metrics_interval),
        ] {
            if period.0.is_zero() || period.0.as_secs() > 3600 {
                return Err(at.bad(["realtime", key], "must be longer than zero and at most 1h"));
            }
        }
        // A token and a subscription must fit.
        if !(1 << 10..=1 << 20).contains(&self.message_limit.0) {
            return Err(at.bad(["realtime", "message_limit"], "must be 1KiB to 1MiB"));
        }
        if !(1 << 10..=64 << 20).contains(&self.history_bytes.0) {
            return Err(at.bad(["realtime", "history_bytes"], "must be 1KiB to 64MiB"));
        }
        Ok(())
    }
}
