//! With the database stopped, who was let in before is let in still.

use std::time::Duration;

use identity::AuthError;
use primitives::Clock as _;
use serde_json::json;
use store::testing::TestStore;

use crate::app::{PASSWORD, TestApp};

store::on_every_engine! {
    known_credentials_work_while_the_database_is_stopped,
}

async fn known_credentials_work_while_the_database_is_stopped(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, secret) = app.key(&admin, json!({"name": "laptop"})).await;
    app.store.stop(&app.db).await;

    app.wait(Duration::from_mins(1));
    assert!(app.identity.reconcile_once().await.is_err());
    assert!(app.authenticate(Some(&secret)).is_ok());
    assert_eq!(app.get("/api/v1/me", Some(&admin)).await.status, 200);
    assert!(app.authenticate(Some("rmd_unknown")).is_err());
    let age = app.identity.snapshot().age(app.clock.now());
    assert_eq!(age, Duration::from_mins(1));

    let answer = app
        .post("/api/v1/keys", Some(&admin), json!({"name": "x"}))
        .await;
    assert_eq!(answer.status, 503);
    assert_eq!(app.log_in("admin", PASSWORD, "127.0.0.1").await.status, 503);

    // Not for ever: what nobody could revoke for a day is not believed any more.
    app.wait(Duration::from_hours(24));
    assert_eq!(
        app.authenticate(Some(&secret)).unwrap_err(),
        AuthError::Stale
    );
    let refused = app.get("/api/v1/me", Some(&secret)).await;
    assert_eq!(refused.status, 503);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("max_staleness"), "{detail}");
    app.store.resume().await;
}

#[tokio::test]
async fn a_database_that_comes_back_gets_the_uses_of_the_meantime() {
    let app = TestApp::start(TestStore::postgres().await).await;
    let admin = app.set_up().await;
    let (_, secret) = app.key(&admin, json!({"name": "laptop"})).await;
    app.store.stop(&app.db).await;
    app.wait(Duration::from_secs(30));
    app.authenticate(Some(&secret)).unwrap();
    assert!(app.identity.reconcile_once().await.is_err());
    app.store.resume().await;
    // Connections that were idle at the stop fail once each before they are replaced.
    let mut recovered = false;
    for _ in 0..10 {
        recovered = recovered || app.identity.reconcile_once().await.is_ok();
    }
    assert!(recovered);
    let shown = app.get("/api/v1/keys", Some(&admin)).await.body;
    assert_eq!(
        shown["items"][0]["last_used_at"],
        "2026-01-02T03:04:35.000000Z"
    );
}
