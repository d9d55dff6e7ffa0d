//! Who gets a connection.

use std::time::Duration;

use serde_json::json;
use testbed::TestClient;

use crate::listener::Listener;
use crate::world::{ALLOWED_ORIGIN, World};

#[tokio::test]
async fn a_key_or_a_session_in_the_head_is_enough() {
    let world = World::start().await;
    let admin = world.admin().await;
    let (_, key) = world.key(&admin, "user").await;
    for person in [&admin, &key] {
        let mut listener = Listener::open(world.address, "/ws", Some(&person.token))
            .await
            .unwrap();
        let welcome = listener.next().await;
        assert_eq!(welcome["type"], "welcome");
        assert!(welcome["data"]["client_id"].is_string(), "{welcome}");
        assert!(welcome["timestamp"].is_string(), "{welcome}");
        let pong = listener.ask(&json!({"type": "heartbeat", "id": "h"})).await;
        assert_eq!(pong["data"]["status"], "pong");
        assert_eq!(pong["id"], "h");
    }
}

#[tokio::test]
async fn who_presents_nothing_says_first_who_they_are() {
    let world = World::start().await;
    let admin = world.admin().await;
    let mut listener = Listener::open(world.address, "/ws", None).await.unwrap();
    assert_eq!(listener.next().await["type"], "welcome");
    let refused = listener
        .ask(&json!({"type": "subscribe", "data": {"topics": ["heartbeat"]}}))
        .await;
    assert_eq!(refused["type"], "error");
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("say who you are")
    );
    let known = listener
        .ask(&json!({"type": "auth", "id": "a", "token": admin.token}))
        .await;
    assert_eq!(known["type"], "auth_confirmed", "{known}");
    assert_eq!(known["data"]["role"], "admin");
    listener.subscribe(json!(["node_status"])).await;
    world
        .hub
        .publish(realtime::Topic::NodeStatus, &json!({"node_id": "n"}));
    assert_eq!(listener.next().await["data"]["node_id"], "n");
}

#[tokio::test]
async fn a_wrong_token_and_silence_end_the_connection() {
    let world = World::with(|config| config.auth_timeout = Duration::from_millis(200)).await;
    let mut wrong = Listener::open(world.address, "/ws", None).await.unwrap();
    wrong
        .send(&json!({"type": "auth", "token": "rmd_no"}))
        .await;
    assert_eq!(wrong.closed().await, 4001);
    let mut chatting = Listener::open(world.address, "/ws", None).await.unwrap();
    chatting.send(&json!({"type": "heartbeat"})).await;
    assert_eq!(chatting.closed().await, 4001, "talking gives no more time");
    assert_eq!(
        world.metric("remuda_realtime_connections_closed_total{reason=\"unauthenticated\"}"),
        2
    );
}

#[tokio::test]
async fn an_invalid_credential_is_refused_before_the_upgrade() {
    let world = World::start().await;
    for path in ["/ws", "/ws/inference/01890a5d-ac96-774b-bcce-b302099a8057"] {
        let refused = Listener::open(world.address, path, Some("rmd_no")).await;
        assert_eq!(refused.err().unwrap().0, 401, "{path}");
    }
    assert_eq!(world.hub.connections(), 0);
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so() {
    let world = World::start().await;
    let reply = TestClient::new(world.address).get("/ws").await.unwrap();
    assert_eq!(reply.status, 400);
    assert!(
        reply.text().contains("WebSocket client"),
        "{}",
        reply.text()
    );
    let half = TestClient::new(world.address)
        .with_header("connection", "upgrade")
        .unwrap()
        .with_header("upgrade", "websocket")
        .unwrap();
    let reply = half.get("/ws").await.unwrap();
    assert_eq!(reply.status, 400);
    assert_eq!(reply.headers["sec-websocket-version"], "13");
    let keyless = half.with_header("sec-websocket-version", "13").unwrap();
    let reply = keyless.get("/ws").await.unwrap();
    assert_eq!(reply.status, 400);
    assert!(
        reply.text().contains("sec-websocket-key"),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn pages_of_foreign_origins_may_not_connect() {
    let world = World::start().await;
    let admin = world.admin().await;
    let bearer = format!("Bearer {}", admin.token);
    let own = format!("http://{}", world.address);
    let open = async |origin: &str| {
        let headers = [("origin", origin), ("authorization", bearer.as_str())];
        Listener::open_with(world.address, "/ws", &headers)
            .await
            .map(drop)
            .map_err(|(status, _)| status)
    };
    assert_eq!(open(&own).await, Ok(()));
    assert_eq!(open(ALLOWED_ORIGIN).await, Ok(()));
    for foreign in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(open(foreign).await, Err(403), "{foreign}");
    }
}

#[tokio::test]
async fn connections_are_bounded_in_all_and_for_each_caller() {
    let world = World::with(|config| {
        config.max_connections = 3;
        config.max_per_caller = 2;
    })
    .await;
    let admin = world.admin().await;
    let org = world.organisation(&admin, "lab").await;
    let user = world.person(&admin, "alice", "user", &org).await;
    let _held = [world.connect(&admin).await, world.connect(&admin).await];
    let open = async |token: Option<&str>| Listener::open(world.address, "/ws", token).await;
    let (status, _) = open(Some(&admin.token)).await.err().unwrap();
    assert_eq!(status, 429);
    let stranger = open(None).await.unwrap();
    let (status, _) = open(Some(&user.token)).await.err().unwrap();
    assert_eq!(status, 503);
    drop(stranger);
    world.until_connected(2).await;
    // By first message the bound of the caller is met later.
    let mut late = open(None).await.unwrap();
    late.next().await;
    late.send(&json!({"type": "auth", "token": admin.token}))
        .await;
    assert_eq!(late.closed().await, 4030);
    world.until_connected(2).await;
    let _third = world.connect(&user).await;
    assert_eq!(world.metric("remuda_realtime_connections_refused_total"), 2);
}
