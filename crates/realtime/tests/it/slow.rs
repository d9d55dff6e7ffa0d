//! Clients that do not keep up, and those beside them.

use std::time::Duration;

use realtime::Topic;
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn who_falls_behind_what_is_kept_is_closed_with_a_code_and_can_resume() {
    let world = World::with(|config| config.history_messages = 10).await;
    let admin = world.admin().await;
    let mut listener = world.connect(&admin).await;
    listener.subscribe(json!(["node_status"])).await;
    // All at once, before the connection has its turn on this single thread.
    for number in 0..50 {
        world
            .hub
            .publish(Topic::NodeStatus, &json!({"number": number}));
    }
    assert_eq!(listener.closed().await, 4008);
    let metric = "remuda_realtime_connections_closed_total{reason=\"slow\"}";
    assert_eq!(world.metric(metric), 1);
}

#[tokio::test]
async fn who_does_not_read_is_cut_and_the_others_get_everything() {
    const MESSAGES: usize = 400;
    let world = World::with(|config| {
        config.send_timeout = Duration::from_secs(2);
        config.history_bytes = 64 << 20;
        config.history_total_bytes = 128 << 20;
        config.max_per_caller = 100;
    })
    .await;
    let admin = world.admin().await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut listener = world.connect(&admin).await;
        listener.subscribe(json!(["node_status"])).await;
        stalled.push(listener);
    }
    let mut healthy = world.connect(&admin).await;
    healthy.subscribe(json!(["node_status"])).await;
    let reading = tokio::spawn(async move {
        for number in 0..MESSAGES {
            assert_eq!(healthy.next().await["data"]["number"], number);
        }
        healthy
    });
    // More than the system takes for a client that does not read.
    let pad = "x".repeat(64 << 10);
    for number in 0..MESSAGES {
        world
            .hub
            .publish(Topic::NodeStatus, &json!({"number": number, "pad": pad}));
    }
    let mut healthy = reading.await.unwrap();
    world.until_connected(1).await;
    healthy.heard_nothing().await;
    let metric = "remuda_realtime_connections_closed_total{reason=\"slow\"}";
    assert_eq!(world.metric(metric), 20);
}
