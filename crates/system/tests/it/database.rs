//! What the database tells of itself, and removing what has expired.

use std::time::Duration;

use http::Method;
use serde_json::json;
use store::testing::TestStore;

use crate::app::{PASSWORD, TestApp};

store::on_every_engine! {
    the_database_tells_of_itself,
    what_has_expired_is_removed_and_what_has_not_stays,
}

async fn the_database_tells_of_itself(store: TestStore) {
    let app = TestApp::start(&store).await;
    let body = json!({"name": "k"});
    assert_eq!(
        app.call(Method::POST, "/api/v1/keys", body).await.status,
        201
    );
    let health = app.get("/api/v1/system/database").await;
    assert_eq!(health.status, 200, "{}", health.body);
    let engine = app.db.engine().as_str();
    assert_eq!(health.body["engine"], engine);
    assert!(health.body["size_bytes"].as_u64().unwrap() > 10_000);
    assert!(health.body["connections"].as_u64().unwrap() >= 1);
    assert!(!health.body["server_version"].as_str().unwrap().is_empty());
    let slow = app.get("/api/v1/system/database/slow-queries").await;
    assert_eq!(slow.status, 200, "{}", slow.body);
    assert!(slow.body["available"].is_boolean());
    let cleaned = app
        .call(Method::POST, "/api/v1/system/database/clean", json!(null))
        .await;
    assert_eq!(cleaned.status, 200, "{}", cleaned.body);
    let tables = app.get("/api/v1/system/database/tables").await;
    let keys = tables.body["items"].as_array().unwrap();
    let keys = keys
        .iter()
        .find(|table| table["name"] == "api_keys")
        .unwrap();
    // PostgreSQL counts what was written a moment before twice until it looks again.
    assert!(keys["rows"].as_u64() >= Some(1), "{keys}");
    let statistics = app.get("/api/v1/system/stats").await;
    for (field, count) in [
        ("organisations", 1),
        ("users", 1),
        ("keys", 1),
        ("sessions", 1),
        ("nodes", 0),
    ] {
        assert_eq!(
            statistics.body[field], count,
            "{field}: {}",
            statistics.body
        );
    }
    assert!(statistics.body["changes"].as_u64().unwrap() >= 2);
}

async fn what_has_expired_is_removed_and_what_has_not_stays(store: TestStore) {
    let app = TestApp::start(&store).await;
    let ann = json!({"username": "ann", "password": PASSWORD});
    let made = app.call(Method::POST, "/api/v1/users", ann.clone()).await;
    let reset = format!(
        "/api/v1/users/{}/password-reset",
        made.body["id"].as_str().unwrap()
    );
    assert_eq!(
        app.call(Method::POST, &reset, json!(null)).await.status,
        201
    );
    assert_eq!(
        app.call(Method::POST, "/api/v1/invitations", json!({}))
            .await
            .status,
        201
    );
    let key = app
        .call(
            Method::POST,
            "/api/v1/keys",
            json!({"name": "k", "role": "admin"}),
        )
        .await;
    let clean = async |app: &TestApp| {
        app.call(Method::POST, "/api/v1/system/database/clean", json!(null))
            .await
            .body
    };
    let nothing =
        json!({"sessions": 0, "password_resets": 0, "invitations": 0, "idempotency_keys": 0});
    assert_eq!(clean(&app).await, nothing);
    app.clock.advance(Duration::from_hours(30 * 24));
    app.identity.reconcile_once().await.unwrap();
    let mut app = app;
    key.body["secret"]
        .as_str()
        .unwrap()
        .clone_into(&mut app.admin);
    let removed =
        json!({"sessions": 1, "password_resets": 1, "invitations": 1, "idempotency_keys": 0});
    assert_eq!(clean(&app).await, removed);
    assert_eq!(clean(&app).await, nothing);
    let audit = app.get("/api/v1/audit?action=database.clean").await;
    assert_eq!(
        audit.body["total"], 1,
        "what removed nothing is not recorded"
    );
    assert_eq!(audit.body["items"][0]["new"], removed);
}
