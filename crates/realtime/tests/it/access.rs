//! Who hears what.

use primitives::{RequestId, Timestamp};
use realtime::{InferenceEvent, Topic};
use serde_json::json;

use crate::listener::Listener;
use crate::world::{Person, World};

fn step(id: RequestId, status: &str) -> InferenceEvent<'_> {
    InferenceEvent {
        inference_id: id.to_string(),
        status,
        progress: None,
        model: Some("m"),
        node: None,
        completion_tokens: None,
        piece: None,
        reason: None,
    }
}

fn inference(world: &World, of: &Person) -> RequestId {
    let id = RequestId::generate(Timestamp::from_micros(1_000_000));
    world
        .hub
        .publish_inference(id, of.owner, &step(id, "queued"));
    id
}

#[tokio::test]
async fn the_platforms_topics_are_for_its_administrators() {
    let world = World::start().await;
    let admin = world.admin().await;
    let org = world.organisation(&admin, "lab").await;
    let lab_admin = world.person(&admin, "boss", "admin", &org).await;
    let user = world.person(&admin, "alice", "user", &org).await;
    let (_, key) = world.key(&admin, "user").await;
    for topic in ["node_status", "model_update", "system_metrics"] {
        for person in [&lab_admin, &user, &key] {
            let mut listener = world.connect(person).await;
            let refused = listener
                .ask(&json!({"type": "subscribe", "data": {"topics": [topic]}}))
                .await;
            let said = refused["error"].as_str().unwrap();
            assert!(said.contains("administrators of the platform"), "{said}");
        }
        let mut listener = world.connect(&admin).await;
        listener.subscribe(json!([topic])).await;
    }
    world
        .hub
        .publish(Topic::NodeStatus, &json!({"secret": true}));
}

#[tokio::test]
async fn nobody_hears_of_anothers_inferences() {
    let world = World::start().await;
    let admin = world.admin().await;
    let lab = world.organisation(&admin, "lab").await;
    let other = world.organisation(&admin, "other").await;
    let alice = world.person(&admin, "alice", "user", &lab).await;
    let bob = world.person(&admin, "bob", "operator", &lab).await;
    let boss = world.person(&admin, "boss", "admin", &lab).await;
    let foreign = world.person(&admin, "foreign", "admin", &other).await;
    let mut listeners = Vec::new();
    for person in [&alice, &boss, &bob, &foreign, &admin] {
        let mut listener = world.connect(person).await;
        listener.subscribe(json!(["inference"])).await;
        listeners.push(listener);
    }
    let id = inference(&world, &alice);
    for (place, listener) in listeners.iter_mut().enumerate() {
        if place < 2 {
            let heard = listener.next().await;
            assert_eq!(heard["type"], "inference");
            assert_eq!(heard["topic"], "inference");
            assert_eq!(heard["data"]["inference_id"], id.to_string());
        } else {
            listener.heard_nothing().await;
        }
    }
}

#[tokio::test]
async fn one_inference_is_followed_by_its_owner_once() {
    let world = World::start().await;
    let admin = world.admin().await;
    let lab = world.organisation(&admin, "lab").await;
    let alice = world.person(&admin, "alice", "user", &lab).await;
    let bob = world.person(&admin, "bob", "user", &lab).await;
    let id = inference(&world, &alice);
    let path = format!("/ws/inference/{id}");
    let mut listener = Listener::open(world.address, &path, Some(&alice.token))
        .await
        .unwrap();
    assert_eq!(listener.next().await["type"], "welcome");
    let confirmed = listener.next().await;
    assert_eq!(
        confirmed["data"]["subscribed_topics"],
        json!([format!("inference_{id}")])
    );
    world
        .hub
        .publish_inference(id, alice.owner, &step(id, "completed"));
    let heard = listener.next().await;
    assert_eq!(heard["data"]["status"], "completed");
    listener.heard_nothing().await;

    let unknown = format!(
        "/ws/inference/{}",
        RequestId::generate(Timestamp::from_micros(5))
    );
    for (path, person) in [(&path, &bob), (&path, &admin), (&unknown, &alice)] {
        let refused = Listener::open(world.address, path, Some(&person.token)).await;
        assert_eq!(refused.err().unwrap().0, 404, "{path}");
    }
    let refused = Listener::open(world.address, "/ws/inference/7", Some(&alice.token)).await;
    assert_eq!(refused.err().unwrap().0, 404);
    // Who says it in the first message gets the same answer, a moment later.
    let mut late = Listener::open(world.address, &path, None).await.unwrap();
    late.next().await;
    late.send(&json!({"type": "auth", "token": bob.token}))
        .await;
    assert_eq!(late.closed().await, 4004);
    let mut owner = Listener::open(world.address, &path, None).await.unwrap();
    owner.next().await;
    owner
        .send(&json!({"type": "auth", "token": alice.token}))
        .await;
    assert_eq!(owner.next().await["type"], "auth_confirmed");
    assert_eq!(owner.next().await["type"], "subscription_confirmed");
}

#[tokio::test]
async fn the_topic_of_anothers_inference_is_as_one_that_is_not_there() {
    let world = World::start().await;
    let admin = world.admin().await;
    let lab = world.organisation(&admin, "lab").await;
    let alice = world.person(&admin, "alice", "user", &lab).await;
    let bob = world.person(&admin, "bob", "user", &lab).await;
    let theirs = inference(&world, &alice);
    let nobodys = RequestId::generate(Timestamp::from_micros(5));
    let mut listener = world.connect(&bob).await;
    let mut said = Vec::new();
    for id in [theirs, nobodys] {
        let topics = json!([format!("inference_{id}")]);
        let refused = listener
            .ask(&json!({"type": "subscribe", "data": {"topics": topics}}))
            .await;
        let text = refused["error"].as_str().unwrap().to_owned();
        said.push(text.replace(&id.to_string(), "ID"));
    }
    assert_eq!(said[0], said[1]);
}

#[tokio::test]
async fn everybody_hears_the_heartbeat() {
    let world = World::with(|config| {
        config.heartbeat_interval = std::time::Duration::from_millis(50);
    })
    .await;
    let admin = world.admin().await;
    let (_, key) = world.key(&admin, "viewer").await;
    let mut listener = world.connect(&key).await;
    listener.subscribe(json!(["heartbeat"])).await;
    let beat = listener.next().await;
    assert_eq!(beat["type"], "heartbeat");
    assert_eq!(beat["data"], json!({"status": "alive"}));
}
