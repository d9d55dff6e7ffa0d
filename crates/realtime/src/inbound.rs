//! Messages from clients, read strictly: what is not understood is answered with what would be.

use primitives::Secret;
use serde_json::{Map, Value};

use crate::history::Position;
use crate::topic::{TOPICS, Topic};

/// The longest id of a message, in bytes.
const LONGEST_ID: usize = 64;
/// The most topics of one message.
const MOST_TOPICS: usize = 32;

/// What a client asks for.
pub(crate) enum Wish {
    /// To be known by this token.
    Auth(Secret<String>),
    /// A sign of life.
    Heartbeat,
    /// To get the messages of these topics.
    Subscribe(Vec<Wanted>),
    /// Not to get them any more.
    Unsubscribe(Vec<Wanted>),
}

/// A topic, and after which message of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic: Topic,
    pub(crate) after: Option<Position>,
}

/// A message from a client.
pub(crate) struct Inbound {
    /// The client's own name for the message.
    pub(crate) id: Option<String>,
    /// What it asks for, or what is wrong with it.
    pub(crate) wish: Result<Wish, String>,
}

/// Reads a message.
pub(crate) fn read(text: &str) -> Inbound {
    let Ok(Value::Object(mut message)) = serde_json::from_str(text) else {
        return Inbound {
            id: None,
            wish: Err(
                "a message is a JSON object with a type, as {\"type\":\"heartbeat\"}".to_owned(),
            ),
        };
    };
    let id = match message.remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if id.len() <= LONGEST_ID => Some(id),
        Some(_) => {
            return Inbound {
                id: None,
                wish: Err(format!("id is a text of at most {LONGEST_ID} bytes")),
            };
        }
    };
    Inbound {
        id,
        wish: wish(&mut message),
    }
}

fn wish(message: &mut Map<String, Value>) -> Result<Wish, String> {
    let Some(Value::String(kind)) = message.remove("type") else {
        return Err("type is missing: auth, heartbeat, subscribe or unsubscribe".to_owned());
    };
    match kind.as_str() {
        "auth" => match message.remove("token") {
            Some(Value::String(token)) => Ok(Wish::Auth(Secret::new(token))),
            _ => Err("Invalid auth format: send {\"type\":\"auth\",\"token\":\"…\"}".to_owned()),
        },
        "heartbeat" => Ok(Wish::Heartbeat),
        "subscribe" => topics(message.remove("data"), "subscription").map(Wish::Subscribe),
        "unsubscribe" => topics(message.remove("data"), "unsubscription").map(Wish::Unsubscribe),
        other => Err(format!(
            "unknown type {:?}: use auth, heartbeat, subscribe or unsubscribe",
            shortened(other)
        )),
    }
}

fn topics(data: Option<Value>, what: &str) -> Result<Vec<Wanted>, String> {
    let Some(Value::Object(mut data)) = data else {
        return Err(format!(
            "Invalid {what} data format: data is an object, as {{\"topics\":[\"node_status\"]}}"
        ));
    };
    let Some(Value::Array(topics)) = data.remove("topics") else {
        return Err(
            "Invalid topics format: topics is a list of names, as [\"node_status\"]".to_owned(),
        );
    };
    if topics.is_empty() || topics.len() > MOST_TOPICS {
        return Err(format!(
            "Invalid topics format: name 1 to {MOST_TOPICS} topics"
        ));
    }
    topics.into_iter().map(wanted).collect()
}

/// Reads a topic's name, or `{"topic": name, "after": id of the last message}`.
fn wanted(value: Value) -> Result<Wanted, String> {
    let (name, after) = match value {
        Value::String(name) => (name, None),
        Value::Object(mut fields) => match (fields.remove("topic"), fields.remove("after")) {
            (Some(Value::String(name)), None | Some(Value::Null)) => (name, None),
            (Some(Value::String(name)), Some(Value::String(after))) => (name, Some(after)),
            _ => return Err(ILL_FORMED.to_owned()),
        },
        _ => return Err(ILL_FORMED.to_owned()),
    };
    let topic = name.parse().map_err(|_| {
        format!(
            "unknown topic {:?}: use {}, or inference_ID",
            shortened(&name),
            TOPICS.join(", ")
        )
    })?;
    let after = after.map(|text| text.parse()).transpose().map_err(|_| {
        "Invalid topics format: after is the id of a message that came from here".to_owned()
    })?;
    Ok(Wanted { topic, after })
}

const ILL_FORMED: &str = "Invalid topics format: a topic is a name, or {\"topic\":\"node_status\",\"after\":\"the id of the last message\"}";

/// Cuts what is repeated to a client.
fn shortened(text: &str) -> &str {
    text.char_indices()
        .nth(48)
        .map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        match read(text).wish {
            Err(message) => message,
            Ok(_) => panic!("{text} was understood"),
        }
    }

    #[test]
    fn what_is_not_understood_is_answered_with_what_would_be() {
        for text in ["", "1", "[]", "null", "\"subscribe\"", "{", "{}x"] {
            assert!(complaint(text).contains("JSON object"), "{text}");
        }
        assert!(complaint("{}").contains("type is missing"));
        assert!(complaint(r#"{"type":7}"#).contains("type is missing"));
        assert!(complaint(r#"{"type":"publish"}"#).contains("unknown type \"publish\""));
        assert!(complaint(r#"{"type":"auth","token":5}"#).contains("Invalid auth format"));
        assert!(complaint(r#"{"type":"auth","id":5,"token":"x"}"#).contains("id is a text"));
        let subscribe = |data| complaint(&format!(r#"{{"type":"subscribe","data":{data}}}"#));
        assert!(subscribe("[]").starts_with("Invalid subscription data format"));
        assert!(subscribe("{}").starts_with("Invalid topics format"));
        assert!(subscribe(r#"{"topics":"node_status"}"#).starts_with("Invalid topics format"));
        assert!(subscribe(r#"{"topics":[]}"#).contains("1 to 32"));
        assert!(subscribe(r#"{"topics":[7]}"#).contains("a topic is a name"));
        assert!(subscribe(r#"{"topics":["secrets"]}"#).contains("unknown topic"));
        assert!(
            subscribe(r#"{"topics":[{"topic":"heartbeat","after":"x"}]}"#).contains("after is")
        );
        assert!(
            subscribe(r#"{"topics":[{"topic":"heartbeat","after":3}]}"#).contains("a topic is")
        );
        let many = format!("[{}]", vec!["\"heartbeat\""; 33].join(","));
        assert!(subscribe(&format!(r#"{{"topics":{many}}}"#)).contains("1 to 32"));
        assert!(
            complaint(r#"{"type":"unsubscribe"}"#)
                .starts_with("Invalid unsubscription data format")
        );
        let long = format!(r#"{{"type":"{}"}}"#, "é".repeat(1000));
        assert!(complaint(&long).len() < 200);
    }

    #[test]
    fn topics_are_read_with_and_without_a_position() {
        let text = r#"{"type":"subscribe","id":"a","data":{"topics":["heartbeat",{"topic":"node_status","after":"00000000000000ff:3"}]}}"#;
        let message = read(text);
        assert_eq!(message.id.as_deref(), Some("a"));
        let Ok(Wish::Subscribe(topics)) = message.wish else {
            panic!("not understood");
        };
        let after = Some(Position {
            epoch: 255,
            number: 3,
        });
        assert_eq!(
            topics,
            [
                Wanted {
                    topic: Topic::Heartbeat,
                    after: None
                },
                Wanted {
                    topic: Topic::NodeStatus,
                    after
                }
            ]
        );
    }
}
