//! What a restart keeps.

use identity::{AuthConfig, PrincipalKind};
use serde_json::json;
use store::testing::TestStore;

use crate::app::{PASSWORD, REQUIRED, TestApp};

store::on_every_engine! {
    a_restart_keeps_users_sessions_and_keys,
    loopback_needs_no_key_unless_required_and_beyond_it_always_does,
}

async fn a_restart_keeps_users_sessions_and_keys(store: TestStore) {
    let app = TestApp::start(store).await;
    let session = app.set_up().await;
    let (revoked, revoked_secret) = app.key(&session, json!({"name": "old"})).await;
    let (_, secret) = app
        .key(&session, json!({"name": "laptop", "models": ["phi3"]}))
        .await;
    app.delete(&format!("/api/v1/keys/{revoked}"), Some(&session))
        .await;

    let app = app.restarted(REQUIRED).await;
    assert!(app.authenticate(Some(&session)).is_ok());
    assert!(!app.authenticate(Some(&secret)).unwrap().may_use("llama3"));
    assert!(app.authenticate(Some(&revoked_secret)).is_err());
    assert_eq!(app.log_in("admin", PASSWORD, "127.0.0.1").await.status, 200);
}

async fn loopback_needs_no_key_unless_required_and_beyond_it_always_does(store: TestStore) {
    let config = |required, loopback_only| AuthConfig {
        required,
        loopback_only,
        ..AuthConfig::REQUIRED
    };
    let app = TestApp::start(store).await;
    assert!(app.authenticate(None).is_err());
    let app = app.restarted(config(false, true)).await;
    assert_eq!(
        app.authenticate(None).unwrap().kind,
        PrincipalKind::Anonymous
    );
    assert_eq!(
        app.authenticate(Some("ollama")).unwrap().kind,
        PrincipalKind::Anonymous
    );
    assert!(app.authenticate(Some("rmd_invalid")).is_err());
    assert_eq!(app.get("/api/v1/me", None).await.body["kind"], "anonymous");
    assert_eq!(app.get("/api/v1/keys", None).await.status, 401);
    let app = app.restarted(config(false, false)).await;
    assert!(app.authenticate(None).is_err());
    assert!(app.authenticate(Some("ollama")).is_err());
}
