//! Organisations: what is one's own, and what of others stays unseen.

use identity::{DEFAULT_ORG, PriorityClass};
use serde_json::{Value, json};
use store::testing::TestStore;

use crate::app::{PASSWORD, TestApp};

store::on_every_engine! {
    the_first_administrator_administers_the_platform,
    an_administrator_sees_and_changes_only_their_own_organisation,
    a_disabled_person_and_their_keys_stop_at_once,
    a_changed_role_is_in_effect_at_once,
    a_key_carries_its_organisation_its_class_and_its_limits,
    people_change_their_own_password,
    what_was_there_before_belongs_to_the_first_organisation,
}

/// Makes an organisation with an administrator and returns its id and the administrator's session.
async fn organisation(app: &TestApp, platform: &str, name: &str) -> (String, String) {
    let made = app
        .post(
            "/api/v1/organisations",
            Some(platform),
            json!({"name": name}),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    let org = made.body["id"].as_str().unwrap().to_owned();
    let username = format!("boss-of-{name}");
    let body = json!({"username": username, "password": PASSWORD, "role": "admin", "org_id": org});
    let made = app.post("/api/v1/users", Some(platform), body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let session = app.log_in(&username, PASSWORD, "127.0.0.1").await.body["token"].clone();
    (org, session.as_str().unwrap().to_owned())
}

async fn names(app: &TestApp, path: &str, credential: &str, field: &str) -> Vec<Value> {
    let list = app.get(path, Some(credential)).await;
    assert_eq!(list.status, 200, "{}", list.body);
    let items = list.body["items"].as_array().unwrap();
    items.iter().map(|item| item[field].clone()).collect()
}

async fn the_first_administrator_administers_the_platform(store: TestStore) {
    let app = TestApp::start(store).await;
    let platform = app.set_up().await;
    let me = app.get("/api/v1/me", Some(&platform)).await.body;
    assert_eq!(me["org_id"], DEFAULT_ORG.to_string());
    assert_eq!(me["platform_admin"], true);
    assert_eq!(
        names(&app, "/api/v1/organisations", &platform, "name").await,
        ["default"]
    );
    organisation(&app, &platform, "research").await;
    assert_eq!(
        names(&app, "/api/v1/organisations", &platform, "name").await,
        ["default", "research"]
    );
    let again = app
        .post(
            "/api/v1/organisations",
            Some(&platform),
            json!({"name": " research "}),
        )
        .await;
    assert_eq!(again.status, 409);
    for name in ["", "a\nb"] {
        let refused = app
            .post(
                "/api/v1/organisations",
                Some(&platform),
                json!({"name": name}),
            )
            .await;
        assert_eq!(refused.status, 400);
    }
}

async fn an_administrator_sees_and_changes_only_their_own_organisation(store: TestStore) {
    let app = TestApp::start(store).await;
    let platform = app.set_up().await;
    let (ours, we) = organisation(&app, &platform, "ours").await;
    let (theirs, they) = organisation(&app, &platform, "theirs").await;
    let (key, secret) = app.key(&they, json!({"name": "their key"})).await;
    let me = app.get("/api/v1/me", Some(&they)).await;
    let stranger = me.body["id"].as_str().unwrap();

    assert_eq!(
        names(&app, "/api/v1/organisations", &we, "id").await,
        [ours.as_str()]
    );
    assert_eq!(
        names(&app, "/api/v1/users", &we, "username").await,
        ["boss-of-ours"]
    );
    assert!(names(&app, "/api/v1/keys", &we, "name").await.is_empty());
    // What is others' does not exist: 404, never 403.
    for list in ["users", "keys"] {
        let path = format!("/api/v1/{list}?org_id={theirs}");
        assert_eq!(app.get(&path, Some(&we)).await.status, 404);
    }
    assert_eq!(
        app.delete(&format!("/api/v1/keys/{key}"), Some(&we))
            .await
            .status,
        404
    );
    let edit = app
        .patch(
            &format!("/api/v1/users/{stranger}"),
            Some(&we),
            json!({"disabled": true}),
        )
        .await;
    assert_eq!(edit.status, 404);
    for (path, body) in [
        ("/api/v1/keys", json!({"name": "x", "org_id": theirs})),
        (
            "/api/v1/users",
            json!({"username": "spy", "password": PASSWORD, "org_id": theirs}),
        ),
    ] {
        assert_eq!(app.post(path, Some(&we), body).await.status, 404, "{path}");
    }
    let made = app
        .post("/api/v1/organisations", Some(&we), json!({"name": "more"}))
        .await;
    assert_eq!(made.status, 403);
    assert!(app.authenticate(Some(&secret)).is_ok());

    // Administrators of the platform may.
    assert_eq!(
        names(
            &app,
            &format!("/api/v1/keys?org_id={theirs}"),
            &platform,
            "name"
        )
        .await,
        ["their key"]
    );
    assert_eq!(
        app.delete(&format!("/api/v1/keys/{key}"), Some(&platform))
            .await
            .status,
        204
    );
    assert!(app.authenticate(Some(&secret)).is_err());
    let nowhere = "00000000-0000-7000-8000-0000000000ff";
    let body = json!({"name": "x", "org_id": nowhere});
    assert_eq!(
        app.post("/api/v1/keys", Some(&platform), body).await.status,
        404
    );
    for list in ["users", "keys"] {
        let path = format!("/api/v1/{list}?org_id={nowhere}");
        assert_eq!(app.get(&path, Some(&platform)).await.status, 404, "{path}");
    }
}

async fn a_disabled_person_and_their_keys_stop_at_once(store: TestStore) {
    let app = TestApp::start(store).await;
    let platform = app.set_up().await;
    let (_, boss) = organisation(&app, &platform, "shop").await;
    let body = json!({"username": "Ann", "password": PASSWORD, "role": "admin"});
    let ann = app.post("/api/v1/users", Some(&boss), body).await.body;
    assert_eq!(
        (&ann["username"], &ann["role"]),
        (&json!("ann"), &json!("admin"))
    );
    let session = app.log_in("ann", PASSWORD, "127.0.0.1").await.body["token"].clone();
    let session = session.as_str().unwrap();
    let (_, key) = app.key(session, json!({"name": "ann's"})).await;
    let path = format!("/api/v1/users/{}", ann["id"].as_str().unwrap());

    let disabled = app
        .patch(&path, Some(&boss), json!({"disabled": true}))
        .await;
    assert_eq!(disabled.status, 200, "{}", disabled.body);
    assert_eq!(disabled.body["disabled_at"], "2026-01-02T03:04:05.000000Z");
    assert!(app.authenticate(Some(session)).is_err());
    assert!(app.authenticate(Some(&key)).is_err());
    assert_eq!(app.log_in("ann", PASSWORD, "127.0.0.1").await.status, 401);

    let enabled = app
        .patch(&path, Some(&boss), json!({"disabled": false}))
        .await;
    assert_eq!(enabled.body["disabled_at"], Value::Null);
    assert!(app.authenticate(Some(&key)).is_ok());
    assert!(
        app.authenticate(Some(session)).is_err(),
        "sessions have ended"
    );
    assert_eq!(app.log_in("ann", PASSWORD, "127.0.0.1").await.status, 200);

    let session = app.log_in("ann", PASSWORD, "127.0.0.1").await.body["token"].clone();
    let reset = app
        .patch(&path, Some(&boss), json!({"password": "a lost one found"}))
        .await;
    assert_eq!(reset.status, 200);
    assert!(app.authenticate(session.as_str()).is_err());
    assert_eq!(app.log_in("ann", PASSWORD, "127.0.0.1").await.status, 401);
    assert_eq!(
        app.log_in("ann", "a lost one found", "127.0.0.1")
            .await
            .status,
        200
    );
    assert_eq!(
        app.patch(&path, Some(&boss), json!({"password": "short"}))
            .await
            .status,
        400
    );

    let boss_id = app.get("/api/v1/me", Some(&boss)).await.body["id"].clone();
    let own = format!("/api/v1/users/{}", boss_id.as_str().unwrap());
    for edit in [json!({"disabled": true}), json!({"role": "user"})] {
        assert_eq!(app.patch(&own, Some(&boss), edit).await.status, 409);
    }
}

async fn a_changed_role_is_in_effect_at_once(store: TestStore) {
    let app = TestApp::start(store).await;
    let platform = app.set_up().await;
    for role in ["admin", "operator", "user", "viewer"] {
        let body = json!({"username": format!("a-{role}"), "password": PASSWORD, "role": role});
        let made = app.post("/api/v1/users", Some(&platform), body).await;
        assert_eq!(made.body["role"], role);
        let session = app
            .log_in(&format!("a-{role}"), PASSWORD, "127.0.0.1")
            .await
            .body["token"]
            .clone();
        let session = session.as_str().unwrap();
        let caller = app.authenticate(Some(session)).unwrap();
        assert_eq!(caller.role.as_str(), role);
        assert_eq!(caller.may_infer(), role != "viewer");
        let may_list = app.get("/api/v1/users", Some(session)).await.status;
        assert_eq!(may_list, if role == "admin" { 200 } else { 403 }, "{role}");

        let path = format!("/api/v1/users/{}", made.body["id"].as_str().unwrap());
        let changed = app
            .patch(&path, Some(&platform), json!({"role": "viewer"}))
            .await;
        assert_eq!(changed.status, 200);
        assert_eq!(
            app.authenticate(Some(session)).unwrap().role.as_str(),
            "viewer"
        );
    }
    let taken = json!({"username": "A-ADMIN", "password": PASSWORD});
    assert_eq!(
        app.post("/api/v1/users", Some(&platform), taken)
            .await
            .status,
        409
    );
    for bad in [
        json!({"username": "a b", "password": PASSWORD}),
        json!({"username": "b", "password": "short"}),
        json!({"username": "b", "password": PASSWORD, "role": "god"}),
    ] {
        assert_eq!(
            app.post("/api/v1/users", Some(&platform), bad).await.status,
            400
        );
    }
}

async fn a_key_carries_its_organisation_its_class_and_its_limits(store: TestStore) {
    let app = TestApp::start(store).await;
    let platform = app.set_up().await;
    let (org, boss) = organisation(&app, &platform, "lab").await;
    let body = json!({"name": "nightly", "priority": "batch",
        "limits": {"requests_per_minute": 60, "tokens_per_month": 5_000_000_000_u64}});
    let (_, secret) = app.key(&boss, body).await;
    let caller = app.authenticate(Some(&secret)).unwrap();
    assert_eq!(caller.org.to_string(), org);
    assert_eq!(
        caller.priority_of(PriorityClass::Interactive),
        PriorityClass::Batch
    );
    assert_eq!(caller.limits.requests_per_minute, Some(60));
    assert_eq!(caller.limits.tokens_per_minute, None);
    assert_eq!(caller.limits.tokens_per_month, Some(5_000_000_000));
    assert!(!caller.is_platform_admin());

    let shown = app.get("/api/v1/keys", Some(&boss)).await.body["items"][0].clone();
    assert_eq!(shown["org_id"], org);
    assert_eq!(shown["priority"], "batch");
    assert_eq!(shown["scopes"], json!(["inference"]));
    assert_eq!(
        shown["limits"],
        json!({"requests_per_minute": 60, "tokens_per_month": 5_000_000_000_u64})
    );
    for limits in [
        json!({"requests_per_minute": 0}),
        json!({"tokens_per_minute": 2_000_000_000_000_000_u64}),
        json!({"tokens_per_minute": -1}),
        json!({"tokens": 1}),
    ] {
        let body = json!({"name": "x", "limits": limits});
        assert_eq!(
            app.post("/api/v1/keys", Some(&boss), body).await.status,
            400,
            "{limits}"
        );
    }
    // An administrator's key of another organisation does not administer the platform.
    let (_, admin_key) = app.key(&boss, json!({"name": "a", "role": "admin"})).await;
    let made = app
        .post(
            "/api/v1/organisations",
            Some(&admin_key),
            json!({"name": "more"}),
        )
        .await;
    assert_eq!(made.status, 403);
    assert_eq!(app.get("/api/v1/keys", Some(&admin_key)).await.status, 200);
}

async fn what_was_there_before_belongs_to_the_first_organisation(store: TestStore) {
    let app = TestApp::start(store).await;
    // Rows as an earlier build wrote them.
    let mut tx = app.db.write().await.unwrap();
    tx.execute(
        "INSERT INTO users (id, username, password_hash, role, created_at)
         VALUES ('01900000-0000-7000-8000-00000000000a', 'old', 'h', 'admin', 0)",
        (),
    )
    .await
    .unwrap();
    tx.execute(
        "INSERT INTO api_keys (id, name, prefix, secret_hash, scopes, created_at)
         VALUES ('01900000-0000-7000-8000-00000000000b', 'old key', 'rmd_', $1, $2, 0)",
        store::params![vec![7_u8; 32], json!(["inference", "admin"])],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let app = app
        .restarted(identity::AuthConfig {
            admin_password: Some(primitives::Secret::new(PASSWORD.to_owned())),
            ..crate::app::REQUIRED
        })
        .await;
    let session = app.log_in("admin", PASSWORD, "127.0.0.1").await.body["token"].clone();
    let platform = session.as_str().unwrap();
    let default = DEFAULT_ORG.to_string();
    for path in ["/api/v1/users", "/api/v1/keys"] {
        let owners = names(&app, path, platform, "org_id").await;
        assert!(
            !owners.is_empty() && owners.iter().all(|org| *org == default),
            "{path}: {owners:?}"
        );
    }
}

async fn people_change_their_own_password(store: TestStore) {
    let app = TestApp::start(store).await;
    let platform = app.set_up().await;
    let here = app.log_in("admin", PASSWORD, "127.0.0.1").await.body["token"].clone();
    let here = here.as_str().unwrap();
    let change = async |credential: &str, current: &str, new: &str| {
        let body = json!({"current": current, "new": new});
        app.put("/api/v1/me/password", Some(credential), body)
            .await
            .status
    };
    assert_eq!(change(here, "wrong", "another password").await, 403);
    assert_eq!(change(here, PASSWORD, "short").await, 400);
    let (_, key) = app.key(&platform, json!({"name": "k"})).await;
    assert_eq!(change(&key, PASSWORD, "another password").await, 403);
    assert_eq!(change(here, PASSWORD, "another password").await, 204);

    assert!(app.authenticate(Some(here)).is_ok());
    assert!(
        app.authenticate(Some(&platform)).is_err(),
        "other sessions end"
    );
    assert!(app.authenticate(Some(&key)).is_ok());
    assert_eq!(app.log_in("admin", PASSWORD, "127.0.0.1").await.status, 401);
    let again = app.log_in("admin", "another password", "127.0.0.1").await;
    assert_eq!(again.status, 200);
}
