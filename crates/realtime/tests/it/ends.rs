//! What ends a connection that did nothing wrong.

use std::time::Duration;

use http::Method;
use realtime::Topic;
use serde_json::json;

use crate::listener::Listener;
use crate::world::World;

#[tokio::test]
async fn a_revoked_key_loses_its_connections_and_others_keep_theirs() {
    let world = World::start().await;
    let admin = world.admin().await;
    let (path, key) = world.key(&admin, "admin").await;
    let mut kept = world.connect(&admin).await;
    kept.subscribe(json!(["node_status"])).await;
    let mut by_header = world.connect(&key).await;
    by_header.subscribe(json!(["node_status"])).await;
    let mut by_message = Listener::open(world.address, "/ws", None).await.unwrap();
    by_message.next().await;
    by_message
        .ask(&json!({"type": "auth", "token": key.token}))
        .await;
    let reply = admin.send(Method::DELETE, &path, None).await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    assert_eq!(by_header.closed().await, 4003);
    assert_eq!(by_message.closed().await, 4003);
    let refused = Listener::open(world.address, "/ws", Some(&key.token)).await;
    assert_eq!(refused.err().unwrap().0, 401);
    world.hub.publish(Topic::NodeStatus, &json!({}));
    assert_eq!(kept.next().await["type"], "node_status");
}

#[tokio::test]
async fn a_session_that_ends_and_a_role_that_changes_close_the_connection() {
    let world = World::start().await;
    let admin = world.admin().await;
    let org = world.organisation(&admin, "lab").await;
    let boss = world.person(&admin, "boss", "admin", &org).await;
    // One administrator has to stay.
    world.person(&admin, "deputy", "admin", &org).await;
    let mut listener = world.connect(&boss).await;
    listener.subscribe(json!(["inference"])).await;
    let me = boss.api.get("/api/v1/me").await.unwrap().json().unwrap();
    let path = format!("/api/v1/users/{}", me["id"].as_str().unwrap());
    let change = json!({"role": "user"});
    let reply = admin.send(Method::PATCH, &path, Some(&change)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(listener.closed().await, 4003);

    let again = world.connect(&boss).await;
    let reply = boss.api.post("/api/v1/logout", &json!({})).await.unwrap();
    assert_eq!(reply.status, 204, "{}", reply.text());
    assert_eq!(again.closed().await, 4003);
}

#[tokio::test]
async fn a_newer_token_of_the_same_caller_is_taken_and_anothers_is_not() {
    let world = World::start().await;
    let admin = world.admin().await;
    let newer = world.admin().await;
    let (_, key) = world.key(&admin, "user").await;
    let mut listener = world.connect(&admin).await;
    let taken = listener
        .ask(&json!({"type": "auth", "token": newer.token}))
        .await;
    assert_eq!(taken["type"], "auth_confirmed");
    // The older session does not matter any more.
    let reply = admin.api.post("/api/v1/logout", &json!({})).await.unwrap();
    assert_eq!(reply.status, 204, "{}", reply.text());
    world.until_connected(1).await;
    listener.subscribe(json!(["node_status"])).await;
    listener
        .send(&json!({"type": "auth", "token": key.token}))
        .await;
    assert_eq!(listener.closed().await, 4003);
}

#[tokio::test]
async fn stopping_tells_everybody_and_lets_nobody_in() {
    let world = World::start().await;
    let admin = world.admin().await;
    let listener = world.connect(&admin).await;
    let stranger = Listener::open(world.address, "/ws", None).await.unwrap();
    let (one, other, ()) = tokio::join!(
        listener.closed(),
        stranger.closed(),
        world.hub.shutdown(Duration::from_secs(10))
    );
    assert_eq!((one, other), (1001, 1001));
    assert_eq!(world.hub.connections(), 0);
    let refused = Listener::open(world.address, "/ws", Some(&admin.token)).await;
    assert_eq!(refused.err().unwrap().0, 503);
}

#[tokio::test]
async fn a_client_that_does_not_hear_the_end_keeps_nobody_waiting() {
    let world = World::start().await;
    let admin = world.admin().await;
    // Neither reads nor closes.
    let _deaf = world.connect(&admin).await;
    world.hub.shutdown(Duration::from_secs(10)).await;
    assert_eq!(world.hub.connections(), 0);
}

#[tokio::test]
async fn who_goes_away_leaves_nothing_behind() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    listener.subscribe(json!(["node_status"])).await;
    assert_eq!(world.hub.listeners(Topic::NodeStatus), 1);
    drop(listener);
    world.until_connected(0).await;
    assert_eq!(world.hub.listeners(Topic::NodeStatus), 0);
    assert_eq!(world.metric("remuda_realtime_connections"), 0);
    let metric = "remuda_realtime_connections_closed_total{reason=\"gone\"}";
    assert_eq!(world.metric(metric), 1);
}
