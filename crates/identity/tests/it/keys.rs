//! API keys.

use std::time::Duration;

use identity::{AuthError, PriorityClass, Role};
use serde_json::{Value, json};
use store::testing::TestStore;
use tokio_util::sync::CancellationToken;

use crate::app::{REQUIRED, TestApp, identity};

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
    a_changed_key_is_in_effect_at_once_and_on_other_replicas,
    a_key_is_changed_only_to_what_a_key_may_be,
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
    let admin = app.sign_in("admin").await;
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
    let allows = |secret: &str| app.authenticate(Some(secret)).unwrap().shares_identical;
    assert!(allows(&shared));
    assert!(!allows(&private) && !allows(&admin));
    let list = app.get("/api/v1/keys", Some(&admin)).await.body;
    for key in list["items"].as_array().unwrap() {
        assert_eq!(key["share_identical"], key["name"] == "shared");
    }
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
    let admin = app.sign_in("admin").await;
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
    let (replica, _) = identity(&app.store.open().await, &app.clock, REQUIRED)
        .await
        .unwrap();
    let now = primitives::Clock::now(&app.clock);
    assert!(replica.snapshot().authenticate(Some(&secret), now).is_ok());
    app.delete(&format!("/api/v1/keys/{id}"), Some(&admin))
        .await;
    replica.reconcile_once().await.unwrap();
    assert!(replica.snapshot().authenticate(Some(&secret), now).is_err());
}

/// Waits until another replica, which compares by itself, sees what is expected.
async fn wait_until(what: &str, seen: impl Fn() -> bool) {
    let seen = async {
        while !seen() {
            tokio::task::yield_now().await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(30), seen).await;
    assert!(outcome.is_ok(), "{what} was not seen");
}

async fn a_changed_key_is_in_effect_at_once_and_on_other_replicas(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (replica, _) = identity(&app.store.open().await, &app.clock, REQUIRED)
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let comparing = tokio::spawn(replica.clone().reconcile(stop.clone()));
    let body = json!({"name": "k", "models": ["phi3"], "limits": {"requests_per_minute": 5}});
    let (id, secret) = app.key(&admin, body).await;
    let there = || {
        let now = primitives::Clock::now(&app.clock);
        replica.snapshot().authenticate(Some(&secret), now)
    };
    wait_until("the key", || there().is_ok()).await;

    let path = format!("/api/v1/keys/{id}");
    let edit = json!({
        "name": "renamed", "role": "viewer", "models": null, "priority": "batch", "share_identical": true,
        "limits": {"tokens_per_minute": 7}, "expires_at": "2026-01-03T00:00:00Z",
    });
    let changed = app.patch(&path, Some(&admin), edit).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(changed.body["name"], "renamed");
    assert_eq!(changed.body["limits"], json!({"tokens_per_minute": 7}));
    let check = |caller: &identity::Principal| {
        caller.may_use("llama3")
            && caller.shares_identical
            && caller.role == Role::Viewer
            && caller.limits.tokens_per_minute == Some(7)
            && caller.limits.requests_per_minute.is_none()
            && caller.priority == Some(PriorityClass::Batch)
    };
    assert!(check(&app.authenticate(Some(&secret)).unwrap()));
    wait_until("the change", || there().is_ok_and(|caller| check(&caller))).await;

    let back = json!({"priority": null, "expires_at": null, "limits": {}});
    let changed = app.patch(&path, Some(&admin), back).await.body;
    assert_eq!(
        (&changed["priority"], &changed["expires_at"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(changed["name"], "renamed", "what is absent stays");
    app.delete(&path, Some(&admin)).await;
    wait_until("the end", || there().is_err()).await;
    assert_eq!(app.patch(&path, Some(&admin), json!({})).await.status, 409);
    stop.cancel();
    comparing.await.unwrap();
}

async fn a_key_is_changed_only_to_what_a_key_may_be(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (id, secret) = app.key(&admin, json!({"name": "k"})).await;
    app.key(&admin, json!({"name": "other"})).await;
    let path = format!("/api/v1/keys/{id}");
    for (body, status) in [
        (json!({"name": ""}), 400),
        (json!({"name": null}), 200),
        (json!({"models": []}), 400),
        (json!({"models": ["a*b"]}), 400),
        (json!({"limits": {"requests_per_minute": 0}}), 400),
        (json!({"expires_at": "2020-01-01T00:00:00Z"}), 400),
        (json!({"secret": "x"}), 400),
        (json!({"name": "other"}), 409),
        (json!({"name": "k"}), 200),
    ] {
        let answer = app.patch(&path, Some(&admin), body.clone()).await;
        assert_eq!(answer.status, status, "{body} {}", answer.body);
    }
    let (_, ann) = app.person(&admin, "ann", "user").await;
    assert_eq!(app.patch(&path, Some(&ann), json!({})).await.status, 403);
    let unknown = "/api/v1/keys/00000000-0000-7000-8000-000000000000";
    assert_eq!(
        app.patch(unknown, Some(&admin), json!({})).await.status,
        404
    );
    let made = app
        .post("/api/v1/organisations", Some(&admin), json!({"name": "o"}))
        .await;
    let body = json!({"username": "boss", "password": crate::app::PASSWORD, "role": "admin", "org_id": made.body["id"]});
    app.post("/api/v1/users", Some(&admin), body).await;
    let boss = app.sign_in("boss").await;
    let stolen = app
        .patch(&path, Some(&boss), json!({"role": "viewer"}))
        .await;
    assert_eq!(stolen.status, 404);
    assert_eq!(app.authenticate(Some(&secret)).unwrap().role, Role::User);
}
