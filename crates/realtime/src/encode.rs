//! Messages to clients: `{type, id?, timestamp, topic?, data?, error?}`.

use primitives::Timestamp;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::history::Position;
use crate::topic::Topic;

#[derive(Serialize)]
struct Envelope<'a, D: Serialize> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<D>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Encodes a message of a topic. Its id is its position.
pub(crate) fn event(
    topic: Topic,
    position: Position,
    now: Timestamp,
    data: &impl Serialize,
) -> Utf8Bytes {
    text(&Envelope {
        r#type: topic.message_type(),
        id: Some(&position.to_string()),
        timestamp: now,
        topic: Some(&topic.to_string()),
        data: Some(data),
        error: None,
    })
}

/// Encodes an answer to the client's message `id`.
pub(crate) fn reply(
    kind: &str,
    id: Option<&str>,
    now: Timestamp,
    data: &impl Serialize,
) -> Utf8Bytes {
    text(&Envelope {
        r#type: kind,
        id,
        timestamp: now,
        topic: None,
        data: Some(data),
        error: None,
    })
}

/// Encodes what is wrong with the client's message `id`.
pub(crate) fn error(id: Option<&str>, now: Timestamp, message: &str) -> Utf8Bytes {
    text(&Envelope::<()> {
        r#type: "error",
        id,
        timestamp: now,
        topic: None,
        data: None,
        error: Some(message),
    })
}

fn text(envelope: &impl Serialize) -> Utf8Bytes {
    // Fails only for data that cannot be JSON, of which the hub has none.
    serde_json::to_string(envelope).unwrap_or_default().into()
}
