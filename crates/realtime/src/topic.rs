//! What can be listened to, by the names that clients write.

use std::fmt;
use std::str::FromStr;

use primitives::RequestId;

/// The topics that have a name of their own; beside them each inference has one.
pub const TOPICS: [&str; 5] = [
    "node_status",
    "model_update",
    "inference",
    "system_metrics",
    "heartbeat",
];

/// The start of the topic of one inference.
const ONE_INFERENCE: &str = "inference_";

/// Something to listen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Nodes that come, go and change their state.
    NodeStatus,
    /// Models that nodes get, lose, load and unload.
    ModelUpdate,
    /// The caller's inferences; those of the organisation for its administrators.
    Inference,
    /// One inference.
    OneInference(RequestId),
    /// The system's figures, every few seconds.
    SystemMetrics,
    /// A sign of life, now and then.
    Heartbeat,
}

impl Topic {
    /// Names the type of the topic's messages.
    pub const fn message_type(self) -> &'static str {
        match self {
            Self::NodeStatus => "node_status",
            Self::ModelUpdate => "model_update",
            Self::Inference | Self::OneInference(_) => "inference",
            Self::SystemMetrics => "system_metrics",
            Self::Heartbeat => "heartbeat",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneInference(id) => write!(f, "{ONE_INFERENCE}{id}"),
            other => f.write_str(other.message_type()),
        }
    }
}

/// The text names no topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTopic;

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        let named = [
            Self::NodeStatus,
            Self::ModelUpdate,
            Self::Inference,
            Self::SystemMetrics,
            Self::Heartbeat,
        ];
        if let Some(topic) = named.into_iter().find(|topic| topic.message_type() == text) {
            return Ok(topic);
        }
        let id = text.strip_prefix(ONE_INFERENCE).ok_or(UnknownTopic)?;
        id.parse().map(Self::OneInference).map_err(|_| UnknownTopic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for name in TOPICS {
            assert_eq!(name.parse::<Topic>().unwrap().to_string(), name);
        }
        let one = "inference_01890a5d-ac96-774b-bcce-b302099a8057";
        let topic: Topic = one.parse().unwrap();
        assert_eq!(topic.to_string(), one);
        assert_eq!(topic.message_type(), "inference");
        for name in ["", "inference_", "inference_7", "Node_Status", "audit"] {
            assert_eq!(name.parse::<Topic>(), Err(UnknownTopic), "{name}");
        }
    }
}
