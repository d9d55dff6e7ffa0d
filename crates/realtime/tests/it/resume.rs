//! Going on where one was.

use realtime::Topic;
use serde_json::{Value, json};

use crate::world::World;

fn publish(world: &World, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        world
            .hub
            .publish(Topic::NodeStatus, &json!({"number": number}));
    }
}

fn from(after: &Value) -> Value {
    json!([{"topic": "node_status", "after": after}])
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_in_order() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    let confirmed = listener.subscribe(json!(["node_status"])).await;
    assert_eq!(confirmed.get("resumed"), None, "{confirmed}");
    publish(&world, 1..=2);
    let first = listener.next().await;
    assert_eq!(first["data"]["number"], 1);
    drop(listener);
    publish(&world, 3..=4);
    let mut again = world.connect(&admin).await;
    let confirmed = again.subscribe(from(&first["id"])).await;
    assert_eq!(confirmed["resumed"], json!({"node_status": true}));
    assert_eq!(confirmed["positions"]["node_status"], first["id"]);
    publish(&world, 5..=5);
    for number in 2..=5 {
        assert_eq!(again.next().await["data"]["number"], number);
    }
}

#[tokio::test]
async fn the_position_at_subscription_is_enough_to_resume() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    let confirmed = listener.subscribe(json!(["node_status"])).await;
    let position = confirmed["positions"]["node_status"].clone();
    drop(listener);
    publish(&world, 1..=1);
    let mut again = world.connect(&admin).await;
    again.subscribe(from(&position)).await;
    assert_eq!(again.next().await["data"]["number"], 1);
}

#[tokio::test]
async fn a_gap_is_said() {
    let world = World::with(|config| config.history_messages = 3).await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    let confirmed = listener.subscribe(json!(["node_status"])).await;
    let position = confirmed["positions"]["node_status"].clone();
    drop(listener);
    publish(&world, 1..=4);
    let mut again = world.connect(&admin).await;
    let foreign = json!("00000000000000aa:1");
    let ahead = json!(position.as_str().unwrap().replace(":0", ":999"));
    for after in [position, foreign, ahead] {
        let confirmed = again.subscribe(from(&after)).await;
        assert_eq!(confirmed["resumed"], json!({"node_status": false}));
        let end = confirmed["positions"]["node_status"].as_str().unwrap();
        assert!(end.ends_with(":4"), "{end}");
        again.heard_nothing().await;
    }
    publish(&world, 5..=5);
    assert_eq!(again.next().await["data"]["number"], 5, "live from here on");
    again.heard_nothing().await;
}

#[tokio::test]
async fn all_listeners_get_the_same_bytes() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listeners = Vec::new();
    for _ in 0..50 {
        let mut listener = world.connect(&admin).await;
        listener
            .subscribe(json!(["node_status", "model_update"]))
            .await;
        listeners.push(listener);
    }
    publish(&world, 1..=20);
    world
        .hub
        .publish(Topic::ModelUpdate, &json!({"model_id": "m"}));
    let mut told = Vec::new();
    for listener in &mut listeners {
        let mut heard = Vec::new();
        for _ in 0..21 {
            heard.push(listener.next().await.to_string());
        }
        heard.sort();
        told.push(heard);
    }
    told.dedup();
    assert_eq!(told.len(), 1);
    assert_eq!(world.metric("remuda_realtime_messages_sent_total"), 50 * 21);
    assert_eq!(
        world.metric("remuda_realtime_messages_published_total{topic=\"node_status\"}"),
        20
    );
}
