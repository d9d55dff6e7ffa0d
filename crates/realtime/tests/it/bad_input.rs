//! What clients send that they should not.

use std::time::Duration;

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;

use crate::world::World;

#[tokio::test]
async fn what_is_not_understood_is_answered_and_the_connection_goes_on() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    for (text, part) in [
        ("", "JSON object"),
        ("nonsense", "JSON object"),
        ("[1]", "JSON object"),
        ("{}", "type is missing"),
        (r#"{"type":"steal"}"#, "unknown type"),
        (
            r#"{"type":"subscribe"}"#,
            "Invalid subscription data format",
        ),
        (
            r#"{"type":"subscribe","data":{"topics":{"a":1}}}"#,
            "Invalid topics format",
        ),
        (
            r#"{"type":"subscribe","data":{"topics":["audit"]}}"#,
            "unknown topic",
        ),
        (
            r#"{"type":"unsubscribe","data":7}"#,
            "Invalid unsubscription data format",
        ),
    ] {
        listener.send_text(text).await;
        let reply = listener.next().await;
        assert_eq!(reply["type"], "error", "{text}");
        let said = reply["error"].as_str().unwrap();
        assert!(said.contains(part), "{text}: {said}");
    }
    let named = listener.ask(&json!({"type": "steal", "id": "mine"})).await;
    assert_eq!(named["id"], "mine");
    listener.heard_nothing().await;
}

#[tokio::test]
async fn one_bad_topic_subscribes_to_none() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    let topics = json!([
        "heartbeat",
        "inference_01890a5d-ac96-774b-bcce-b302099a8057"
    ]);
    let refused = listener
        .ask(&json!({"type": "subscribe", "data": {"topics": topics}}))
        .await;
    assert_eq!(refused["type"], "error");
    assert_eq!(world.hub.listeners(realtime::Topic::Heartbeat), 0);
}

#[tokio::test]
async fn unsubscribing_from_what_was_not_subscribed_is_no_error() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    listener
        .subscribe(json!(["heartbeat", "node_status"]))
        .await;
    let ended = listener
        .ask(&json!({"type": "unsubscribe", "id": "u", "data": {"topics": ["node_status", "model_update"]}}))
        .await;
    assert_eq!(ended["type"], "unsubscription_confirmed");
    assert_eq!(
        ended["data"],
        json!({"unsubscribed_topics": ["node_status"]})
    );
    world.hub.publish(realtime::Topic::NodeStatus, &json!({}));
    listener.heard_nothing().await;
}

#[tokio::test]
async fn a_connection_listens_to_a_bounded_number_of_topics() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    let mut topics = Vec::new();
    for _ in 0..33 {
        let id = primitives::RequestId::generate(primitives::Timestamp::from_micros(1));
        world.hub.publish_inference(id, admin.owner, &json!({}));
        topics.push(Value::String(format!("inference_{id}")));
    }
    let last = topics.split_off(32);
    listener.subscribe(Value::Array(topics)).await;
    let refused = listener
        .ask(&json!({"type": "subscribe", "data": {"topics": last}}))
        .await;
    assert!(
        refused["error"].as_str().unwrap().contains("at most 32"),
        "{refused}"
    );
}

#[tokio::test]
async fn binary_and_huge_messages_end_the_connection() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut binary = world.connect(&admin).await;
    binary
        .socket
        .send(Message::binary(vec![1, 2, 3]))
        .await
        .unwrap();
    assert_eq!(binary.closed().await, 1003);
    let mut huge = world.connect(&admin).await;
    huge.send_text(&"x".repeat(5_000)).await;
    assert_eq!(huge.closed().await, 1009);
    let mut many_parts = world.connect(&admin).await;
    let fitting = format!(
        "{{\"type\":\"heartbeat\",\"pad\":\"{}\"}}",
        "x".repeat(3_000)
    );
    assert_eq!(
        {
            many_parts.send_text(&fitting).await;
            many_parts.next().await["type"].clone()
        },
        "heartbeat"
    );
    world.until_connected(1).await;
}

#[tokio::test]
async fn unmasked_frames_break_the_protocol() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    let unmasked = [0x81, 2, b'h', b'i'];
    listener
        .socket
        .get_mut()
        .write_all(&unmasked)
        .await
        .unwrap();
    assert_eq!(listener.closed().await, 1002);
}

#[tokio::test]
async fn text_that_is_no_text_ends_the_connection() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    // Masked with zeros: one byte that begins a character and nothing behind it.
    let broken = [0x81, 0x81, 0, 0, 0, 0, 0xc3];
    listener.socket.get_mut().write_all(&broken).await.unwrap();
    assert_eq!(listener.closed().await, 1003);
}

#[tokio::test]
async fn who_sends_too_much_at_once_is_closed() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    for _ in 0..200 {
        // Closed on the way, perhaps.
        let beat = Message::text(r#"{"type":"heartbeat"}"#);
        if listener.socket.feed(beat).await.is_err() {
            break;
        }
    }
    drop(listener.socket.flush().await);
    assert_eq!(listener.closed().await, 4029);
}

#[tokio::test]
async fn who_gives_no_sign_of_life_is_closed_and_who_does_is_not() {
    let world = World::with(|config| {
        config.ping_interval = Duration::from_millis(100);
        config.pong_timeout = Duration::from_millis(100);
    })
    .await;
    let admin = world.admin().await;
    // Answers pings because it reads.
    let mut alive = world.connect(&admin).await;
    let _silent = world.connect(&admin).await;
    let reading = tokio::spawn(async move {
        alive.subscribe(json!(["node_status"])).await;
        alive.next().await
    });
    world.until_connected(1).await;
    assert_eq!(
        world.metric("remuda_realtime_connections_closed_total{reason=\"silent\"}"),
        1
    );
    world.hub.publish(realtime::Topic::NodeStatus, &json!({}));
    assert_eq!(reading.await.unwrap()["type"], "node_status");
}
