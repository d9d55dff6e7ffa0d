//! API keys.

use std::time::Duration;

use identity::AuthError;
use serde_json::{Value, json};
use store::testing::TestStore;

use crate::app::TestApp;

store::on_every_engine! {
    a_key_works_at_once_and_its_secret_is_shown_once,
    a_revoked_key_stops_at_once_and_stays_listed,
    a_key_expires_by_itself,
    a_key_may_use_only_its_models,
    only_an_admin_key_administers,
    answers_are_shared_only_where_that_was_asked_for,
    a_name_is_free_again_when_its_key_no_longer_works,
    a_key_whose_owner_is_disabled_is_listed_so,
    the_last_use_is_listed_after_a_while,
    keys_are_listed_page_by_page,
    changes_of_another_replica_are_picked_up,
}

async fn a_key_works_at_once_and_its_secret_is_shown_once(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (id, secret) = app.key(&admin, json!({"name": "laptop"})).await;
    let caller = app.authenticate(Some(&secret)).unwrap();
    assert_eq!(&*caller.name, "laptop");
    assert_eq!(caller.id(), Some(id.clone()));

    let list = app.get("/api/v1/keys", Some(&admin)).await;
    let shown = &list.body["items"][0];
    assert_eq!(shown["id"], id);
    assert_eq!(shown["name"], "laptop");
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["prefix"], secret[..8]);
    assert!(!list.body.to_string().contains(&secret[8..]));
    let debug = format!(
        "{:?} {:?} {caller:?}",
        app.identity,
        app.identity.snapshot()
    );
    assert!(!debug.contains(&secret[8..]));
}

async fn a_revoked_key_stops_at_once_and_stays_listed(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (id, secret) = app.key(&admin, json!({"name": "laptop"})).await;
    let path = format!("/api/v1/keys/{id}");
    assert_eq!(app.delete(&path, Some(&admin)).await.status, 204);
    assert_eq!(
        app.authenticate(Some(&secret)).unwrap_err(),
        AuthError::Unknown
    );
    assert_eq!(app.get("/api/v1/me", Some(&secret)).await.status, 401);

    let revoked_at =
        app.get("/api/v1/keys", Some(&admin)).await.body["items"][0]["revoked_at"].clone();
    app.wait(Duration::from_mins(1));
    assert_eq!(app.delete(&path, Some(&admin)).await.status, 204);
    let shown = app.get("/api/v1/keys", Some(&admin)).await.body["items"][0].clone();
    assert_eq!(shown["status"], "revoked");
    assert_eq!(shown["revoked_at"], revoked_at);

    let unknown = "/api/v1/keys/00000000-0000-7000-8000-000000000000";
    assert_eq!(app.delete(unknown, Some(&admin)).await.status, 404);
    assert_eq!(app.delete("/api/v1/keys/x", Some(&admin)).await.status, 400);
}

async fn a_key_expires_by_itself(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let body = json!({"name": "guest", "expires_at": "2026-01-02T04:04:05Z"});
    let (_, secret) = app.key(&admin, body).await;
    app.wait(Duration::from_secs(3599));
    assert!(app.authenticate(Some(&secret)).is_ok());
    app.wait(Duration::from_secs(1));
    assert_eq!(
        app.authenticate(Some(&secret)).unwrap_err(),
        AuthError::Expired
    );
    let list = app.get("/api/v1/keys", Some(&admin)).await;
    assert_eq!(list.body["items"][0]["status"], "expired");
}

async fn a_key_may_use_only_its_models(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, secret) = app
        .key(
            &admin,
            json!({"name": "small", "models": ["phi3", "qwen*"]}),
        )
        .await;
    let caller = app.authenticate(Some(&secret)).unwrap();
    assert!(caller.may_use("phi3:latest") && caller.may_use("qwen2:7b"));
    assert!(!caller.may_use("llama3"));
    assert!(app.authenticate(Some(&admin)).unwrap().may_use("llama3"));
}

async fn only_an_admin_key_administers(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, user_key) = app.key(&admin, json!({"name": "u"})).await;
    let (_, admin_key) = app.key(&admin, json!({"name": "a", "role": "admin"})).await;
    assert_eq!(app.get("/api/v1/keys", Some(&user_key)).await.status, 403);
    assert_eq!(
        app.post("/api/v1/keys", Some(&user_key), json!({"name": "x"}))
            .await
            .status,
        403
    );
    assert_eq!(app.get("/api/v1/keys", Some(&admin_key)).await.status, 200);
    app.key(&admin_key, json!({"name": "by key"})).await;
}

async fn answers_are_shared_only_where_that_was_asked_for(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, private) = app.key(&admin, json!({"name": "private"})).await;
    let body = json!({"name": "shared", "share_identical": true});
    let (_, shared) = app.key(&admin, body).await;
    let shares = |secret: &str| app.authenticate(Some(secret)).unwrap().shares_identical;
    assert!(shares(&shared));
    assert!(!shares(&private) && !shares(&admin));
    let list = app.get("/api/v1/keys", Some(&admin)).await.body;
    assert_eq!(list["items"][0]["share_identical"], false);
    assert_eq!(list["items"][1]["share_identical"], true);
    let body = json!({"name": "x", "share_identical": "yes"});
    assert_eq!(
        app.post("/api/v1/keys", Some(&admin), body).await.status,
        400
    );
}

async fn a_name_is_free_again_when_its_key_no_longer_works(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, ann) = app.person(&admin, "ann", "admin").await;
    let body = json!({"name": "ci", "expires_at": "2026-01-02T04:04:05Z"});
    app.key(&admin, body.clone()).await;
    let taken = app
        .post("/api/v1/keys", Some(&admin), json!({"name": " ci "}))
        .await;
    assert_eq!(taken.status, 409);
    let detail = taken.body["detail"].as_str().unwrap();
    assert!(detail.contains("revoke that key first"), "{detail}");
    app.key(&ann, body).await;

    app.wait(Duration::from_hours(1));
    let (id, _) = app.key(&admin, json!({"name": "ci"})).await;
    app.delete(&format!("/api/v1/keys/{id}"), Some(&admin))
        .await;
    app.key(&admin, json!({"name": "ci"})).await;
}

async fn a_key_whose_owner_is_disabled_is_listed_so(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (record, ann) = app.person(&admin, "ann", "admin").await;
    let (_, key) = app.key(&ann, json!({"name": "ann's"})).await;
    let status =
        async || app.get("/api/v1/keys", Some(&admin)).await.body["items"][0]["status"].clone();
    for (disabled, shown) in [(true, "owner_disabled"), (false, "active")] {
        let body = json!({"disabled": disabled});
        assert_eq!(app.patch(&record, Some(&admin), body).await.status, 200);
        assert_eq!(status().await, shown);
        assert_eq!(app.authenticate(Some(&key)).is_ok(), !disabled);
    }
}

async fn the_last_use_is_listed_after_a_while(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, secret) = app.key(&admin, json!({"name": "laptop"})).await;
    let last_used = async || {
        app.get("/api/v1/keys", Some(&admin)).await.body["items"][0]["last_used_at"].clone()
    };
    assert_eq!(last_used().await, Value::Null);
    app.wait(Duration::from_secs(10));
    app.authenticate(Some(&secret)).unwrap();
    app.identity.reconcile_once().await.unwrap();
    assert_eq!(last_used().await, "2026-01-02T03:04:15.000000Z");
}

async fn keys_are_listed_page_by_page(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    for number in 0..5 {
        app.wait(Duration::from_secs(1));
        app.key(&admin, json!({"name": format!("k{number}")})).await;
    }
    let (mut names, mut path) = (Vec::new(), "/api/v1/keys?limit=2".to_owned());
    loop {
        let page = app.get(&path, Some(&admin)).await.body;
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| key["name"].clone()),
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/keys?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(names, ["k0", "k1", "k2", "k3", "k4"]);
}

async fn changes_of_another_replica_are_picked_up(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (id, secret) = app.key(&admin, json!({"name": "laptop"})).await;
    let (replica, _) = identity::Identity::open(
        app.store.open().await,
        std::sync::Arc::new(app.clock.clone()),
        crate::app::REQUIRED,
    )
    .await
    .unwrap();
    let now = primitives::Clock::now(&app.clock);
    assert!(replica.snapshot().authenticate(Some(&secret), now).is_ok());
    app.delete(&format!("/api/v1/keys/{id}"), Some(&admin))
        .await;
    replica.reconcile_once().await.unwrap();
    assert!(replica.snapshot().authenticate(Some(&secret), now).is_err());
}
