//! Roles of an organisation's own, and keys with chosen permissions.

use http::Method;
use identity::Role;
use serde_json::{Value, json};
use store::testing::TestStore;

use crate::app::{PASSWORD, REQUIRED, TestApp, identity};

store::on_every_engine! {
    a_role_is_made_changed_and_removed_and_each_is_recorded,
    a_role_gives_what_it_says_and_nothing_else,
    nobody_gives_what_they_do_not_have,
    who_may_do_less_lays_no_hand_on_who_may_do_more,
    a_key_does_what_was_chosen_and_no_more_than_its_owner,
    a_changed_role_is_in_effect_on_another_replica_when_it_compares,
}

async fn role(app: &TestApp, admin: &str, name: &str, permissions: Value) {
    let body = json!({"name": name, "permissions": permissions});
    let made = app.post("/api/v1/roles", Some(admin), body).await;
    assert_eq!(made.status, 201, "{}", made.body);
}

/// Makes a person with a role of the organisation's own; returns the path of their record and their session.
async fn person(app: &TestApp, admin: &str, name: &str, role: &str) -> (String, String) {
    let body = json!({"username": name, "password": PASSWORD, "custom_role": role});
    let made = app.post("/api/v1/users", Some(admin), body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["custom_role"], role);
    let path = format!("/api/v1/users/{}", made.body["id"].as_str().unwrap());
    (path, app.sign_in(name).await)
}

async fn a_role_is_made_changed_and_removed_and_each_is_recorded(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let roles = "/api/v1/roles";
    for (body, status) in [
        (json!({"name": "Keeper", "permissions": []}), 400),
        (json!({"name": "admin", "permissions": []}), 400),
        (json!({"name": "", "permissions": []}), 400),
        (json!({"name": "x".repeat(51), "permissions": []}), 400),
        (json!({"name": "keeper"}), 400),
        (
            json!({"name": "keeper", "permissions": ["nodes:explode"]}),
            400,
        ),
        (
            json!({"name": "keeper", "permissions": [], "description": "x".repeat(201)}),
            400,
        ),
        (
            json!({"name": "keeper", "permissions": ["keys:manage"], "description": " of keys "}),
            201,
        ),
        (json!({"name": "keeper", "permissions": []}), 409),
    ] {
        let answer = app.post(roles, Some(&admin), body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
    }
    let listed = app.get(roles, Some(&admin)).await.body;
    let names: Vec<&str> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| role["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["admin", "operator", "user", "viewer", "keeper"]);

    let path = "/api/v1/roles/keeper";
    let shown = app.get(path, Some(&admin)).await;
    assert_eq!(shown.body["description"], "of keys");
    assert_eq!(
        shown.body["permissions"],
        json!(["keys:read", "keys:manage"])
    );
    let tag = shown.headers["etag"].to_str().unwrap().to_owned();
    let edit = async |body| {
        let (request, tag) = ((Method::PATCH, path), ("if-match", tag.as_str()));
        app.send_with(request, Some(&admin), tag, body).await
    };
    let changed = edit(json!({"permissions": ["audit:read"]})).await;
    assert_eq!(changed.body["permissions"], json!(["audit:read"]));
    assert_eq!(edit(json!({"description": ""})).await.status, 412);

    let (ann, _) = person(&app, &admin, "ann", "keeper").await;
    assert_eq!(app.delete(path, Some(&admin)).await.status, 409, "in use");
    app.patch(&ann, Some(&admin), json!({"role": "user"})).await;
    assert_eq!(app.delete(path, Some(&admin)).await.status, 204);
    assert_eq!(app.get(path, Some(&admin)).await.status, 404);
    assert_eq!(app.delete(path, Some(&admin)).await.status, 404);
    let gone = app
        .patch(&ann, Some(&admin), json!({"custom_role": "keeper"}))
        .await;
    assert_eq!(gone.status, 400, "{}", gone.body);
    for action in ["role.create", "role.edit", "role.delete"] {
        let path = format!("/api/v1/audit?action={action}");
        let page = app.get(&path, Some(&admin)).await;
        let records = page.body["items"].as_array().unwrap().clone();
        assert_eq!(records.len(), 1, "{action}");
        assert_eq!(records[0]["subject_id"], "keeper");
    }
}

async fn a_role_gives_what_it_says_and_nothing_else(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    role(&app, &admin, "reader", json!(["keys:read", "users:read"])).await;
    let (path, ann) = person(&app, &admin, "ann", "reader").await;
    let me = app.get("/api/v1/me", Some(&ann)).await.body;
    assert_eq!(me["permissions"], json!(["keys:read", "users:read"]));
    assert_eq!(me["role"], "viewer");
    assert!(!app.authenticate(Some(&ann)).unwrap().may_infer());
    for (list, status) in [
        ("/api/v1/keys", 200),
        ("/api/v1/users", 200),
        ("/api/v1/roles", 200),
        ("/api/v1/audit", 403),
        ("/api/v1/invitations", 403),
        ("/api/v1/organisations", 403),
    ] {
        let answer = app.get(list, Some(&ann)).await;
        assert_eq!(answer.status, status, "{list}: {}", answer.body);
    }
    let refused = app
        .post("/api/v1/keys", Some(&ann), json!({"name": "k"}))
        .await;
    assert_eq!(refused.status, 403);
    let told = refused.body["detail"].as_str().unwrap();
    assert!(told.contains("keys:manage"), "{told}");
    // The same session, from the moment of the change.
    let more = json!({"permissions": ["inference:run", "audit:read"]});
    let changed = app.patch("/api/v1/roles/reader", Some(&admin), more).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(app.get("/api/v1/audit", Some(&ann)).await.status, 200);
    assert_eq!(app.get("/api/v1/keys", Some(&ann)).await.status, 403);
    assert!(app.authenticate(Some(&ann)).unwrap().may_infer());
    let back = json!({"role": "viewer"});
    assert_eq!(app.patch(&path, Some(&admin), back).await.status, 200);
    assert_eq!(app.get("/api/v1/audit", Some(&ann)).await.status, 403);
}

async fn nobody_gives_what_they_do_not_have(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let every = json!([
        "inference:run",
        "keys:manage",
        "users:manage",
        "invitations:manage",
        "roles:manage",
        "audit:read"
    ]);
    role(&app, &admin, "almost", every).await;
    role(
        &app,
        &admin,
        "staff",
        json!([
            "users:manage",
            "roles:manage",
            "keys:manage",
            "invitations:manage"
        ]),
    )
    .await;
    role(&app, &admin, "auditor", json!(["audit:read"])).await;
    let (own, staff) = person(&app, &admin, "staff", "staff").await;
    let (_, almost) = person(&app, &admin, "almost", "almost").await;
    let user = |name: &str, key: &str, role: &str| json!({"username": name, "password": PASSWORD, key: role});
    for (path, body) in [
        (
            "/api/v1/roles",
            json!({"name": "r", "permissions": ["audit:read"]}),
        ),
        ("/api/v1/users", user("a", "role", "admin")),
        ("/api/v1/users", user("a", "role", "user")),
        ("/api/v1/users", user("a", "custom_role", "auditor")),
        ("/api/v1/keys", json!({"name": "k", "role": "admin"})),
        ("/api/v1/keys", json!({"name": "k"})),
        (
            "/api/v1/keys",
            json!({"name": "k", "scopes": ["audit:read"]}),
        ),
        ("/api/v1/invitations", json!({"role": "admin"})),
    ] {
        let refused = app.post(path, Some(&staff), body.clone()).await;
        assert_eq!(refused.status, 403, "{path} {body}: {}", refused.body);
    }
    // Every single permission does not add up to an administrator, who may be the platform's.
    for (path, body) in [
        ("/api/v1/users", user("a", "role", "admin")),
        ("/api/v1/keys", json!({"name": "k", "role": "admin"})),
        ("/api/v1/invitations", json!({"role": "admin"})),
    ] {
        let refused = app.post(path, Some(&almost), body.clone()).await;
        assert_eq!(refused.status, 403, "{path} {body}: {}", refused.body);
    }
    for path in ["/api/v1/nodes", "/api/v1/organisations"] {
        assert!(
            app.post(path, Some(&almost), json!({"name": "x"}))
                .await
                .status
                >= 403
        );
    }
    // Nor by the way of a role that one has or that others have.
    for (path, body) in [
        (
            "/api/v1/roles/staff",
            json!({"permissions": ["users:manage", "audit:read"]}),
        ),
        ("/api/v1/roles/auditor", json!({"permissions": []})),
        (own.as_str(), json!({"custom_role": "almost"})),
    ] {
        let refused = app.patch(path, Some(&staff), body.clone()).await;
        assert!(
            matches!(refused.status, 403 | 409),
            "{path} {body}: {}",
            refused.body
        );
    }
    assert_eq!(
        app.delete("/api/v1/roles/auditor", Some(&staff))
            .await
            .status,
        403
    );
    // What they have they may give.
    let less = json!({"name": "less", "permissions": ["keys:read"]});
    assert_eq!(
        app.post("/api/v1/roles", Some(&staff), less).await.status,
        201
    );
    let made = app
        .post(
            "/api/v1/users",
            Some(&staff),
            user("bob", "custom_role", "less"),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
}

async fn who_may_do_less_lays_no_hand_on_who_may_do_more(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    role(&app, &admin, "desk", json!(["users:manage", "keys:manage"])).await;
    let (_, desk) = person(&app, &admin, "desk", "desk").await;
    let boss = app.own_record(&admin).await;
    let (ann, _) = app.person(&admin, "ann", "user").await;
    let (key, _) = app
        .key(&admin, json!({"name": "of the admin", "role": "admin"}))
        .await;
    for target in [&boss, &ann] {
        for (method, path, body) in [
            (
                Method::PATCH,
                target.clone(),
                json!({"password": "another good one"}),
            ),
            (Method::PATCH, target.clone(), json!({"disabled": true})),
            (
                Method::POST,
                format!("{target}/password-reset"),
                Value::Null,
            ),
            (Method::DELETE, format!("{target}/totp"), Value::Null),
            (Method::DELETE, format!("{target}/sessions"), Value::Null),
        ] {
            let answer = app
                .send_with((method.clone(), &path), Some(&desk), ("x-test", "1"), body)
                .await;
            assert_eq!(answer.status, 403, "{method} {path}: {}", answer.body);
        }
    }
    let path = format!("/api/v1/keys/{key}");
    let edited = app.patch(&path, Some(&desk), json!({"name": "mine"})).await;
    assert_eq!(edited.status, 403, "{}", edited.body);
    // Whoever may do as little they look after.
    let (eve, _) = app.person(&admin, "eve", "viewer").await;
    let disabled = app
        .patch(&eve, Some(&desk), json!({"disabled": true}))
        .await;
    assert_eq!(disabled.status, 200, "{}", disabled.body);
}

async fn a_key_does_what_was_chosen_and_no_more_than_its_owner(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let both = json!({"name": "k", "role": "user", "scopes": ["audit:read"]});
    assert_eq!(
        app.post("/api/v1/keys", Some(&admin), both).await.status,
        400
    );
    let chosen = json!({"name": "auditor", "scopes": ["audit:read"]});
    let (id, key) = app.key(&admin, chosen).await;
    assert_eq!(app.get("/api/v1/audit", Some(&key)).await.status, 200);
    assert_eq!(app.get("/api/v1/keys", Some(&key)).await.status, 403);
    assert!(!app.authenticate(Some(&key)).unwrap().may_infer());
    let path = format!("/api/v1/keys/{id}");
    let shown = app.get(&path, Some(&admin)).await.body;
    assert_eq!(shown["scopes"], json!(["audit:read"]));
    let other = json!({"scopes": ["inference:run", "keys:read"]});
    assert_eq!(app.patch(&path, Some(&admin), other).await.status, 200);
    assert_eq!(app.get("/api/v1/audit", Some(&key)).await.status, 403);
    assert_eq!(app.get("/api/v1/keys", Some(&key)).await.status, 200);
    let principal = app.authenticate(Some(&key)).unwrap();
    assert!(principal.may_infer() && principal.role == Role::User);

    role(&app, &admin, "keeper", json!(["keys:manage", "audit:read"])).await;
    let (_, ann) = person(&app, &admin, "ann", "keeper").await;
    let (_, hers) = app
        .key(
            &ann,
            json!({"name": "hers", "scopes": ["keys:read", "audit:read"]}),
        )
        .await;
    assert_eq!(app.get("/api/v1/audit", Some(&hers)).await.status, 200);
    let less = json!({"permissions": ["keys:manage"]});
    app.patch("/api/v1/roles/keeper", Some(&admin), less).await;
    assert_eq!(app.get("/api/v1/audit", Some(&hers)).await.status, 403);
    assert_eq!(app.get("/api/v1/keys", Some(&hers)).await.status, 200);
}

async fn a_changed_role_is_in_effect_on_another_replica_when_it_compares(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    role(&app, &admin, "reader", json!(["keys:read"])).await;
    let (_, ann) = person(&app, &admin, "ann", "reader").await;
    let (other, _) = identity(&app.db, &app.clock, REQUIRED).await.unwrap();
    let may = |other: &identity::Identity| {
        let snapshot = other.snapshot();
        let principal = snapshot.authenticate(Some(&ann), primitives::Clock::now(&app.clock));
        principal.unwrap().permissions.names()
    };
    assert_eq!(may(&other), ["keys:read"]);
    let changed = json!({"permissions": ["audit:read"]});
    app.patch("/api/v1/roles/reader", Some(&admin), changed)
        .await;
    // Each replica compares twice a second.
    other.reconcile_once().await.unwrap();
    assert_eq!(may(&other), ["audit:read"]);
}
