//! How people come in, come back, and what they tell of themselves.

use std::time::Duration;

use identity::{AuthConfig, Registration};
use serde_json::{Value, json};
use store::testing::TestStore;

use crate::app::{Answer, PASSWORD, REQUIRED, TestApp};

store::on_every_engine! {
    a_lost_password_is_reset_once_by_who_has_the_token,
    a_reset_is_only_for_ones_own_people_and_not_for_oneself,
    an_invitation_gives_its_role_and_works_once,
    invitations_are_listed_withdrawn_and_end,
    nobody_registers_where_that_is_closed,
    everybody_registers_as_a_user_where_that_is_open,
    people_change_their_profile,
}

const NEW: &str = "a password found again";

async fn reset(app: &TestApp, token: &str, password: &str) -> u16 {
    let body = json!({"token": token, "password": password});
    app.post("/api/v1/password-reset", None, body).await.status
}

async fn register(app: &TestApp, body: Value) -> Answer {
    app.post("/api/v1/register", None, body).await
}

async fn a_lost_password_is_reset_once_by_who_has_the_token(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (ann, session) = app.person(&admin, "ann", "admin").await;
    let (_, key) = app.key(&session, json!({"name": "k"})).await;
    let path = format!("{ann}/password-reset");
    let start = async || {
        let made = app.post(&path, Some(&admin), Value::Null).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.body["token"].as_str().unwrap().to_owned()
    };
    let first = start().await;
    let token = start().await;
    assert!(app.authenticate(Some(&session)).is_ok(), "nothing changed");
    assert_eq!(reset(&app, &first, NEW).await, 403, "replaced");
    assert_eq!(reset(&app, &token, "password1").await, 400);
    assert_eq!(reset(&app, &token, NEW).await, 204);
    assert_eq!(reset(&app, &token, NEW).await, 403, "used");
    assert!(app.authenticate(Some(&session)).is_err());
    assert!(app.authenticate(Some(&key)).is_ok());
    assert_eq!(app.log_in("ann", PASSWORD, "127.0.0.1").await.status, 401);
    assert_eq!(app.log_in("ann", NEW, "127.0.0.1").await.status, 200);

    let late = start().await;
    app.wait(Duration::from_hours(24));
    assert_eq!(reset(&app, &late, PASSWORD).await, 403, "ended");
    for text in ["", "rmp_x", late.get(..20).unwrap()] {
        assert_eq!(reset(&app, text, PASSWORD).await, 403);
    }
}

async fn a_reset_is_only_for_ones_own_people_and_not_for_oneself(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let own = format!("{}/password-reset", app.own_record(&admin).await);
    assert_eq!(app.post(&own, Some(&admin), Value::Null).await.status, 409);
    let admin_key = json!({"name": "k", "role": "admin"});
    let (_, key) = app.key(&admin, admin_key).await;
    assert_eq!(app.post(&own, Some(&key), Value::Null).await.status, 409);
    let made = app
        .post("/api/v1/organisations", Some(&admin), json!({"name": "o"}))
        .await;
    let body = json!({"username": "boss", "password": PASSWORD, "role": "admin", "org_id": made.body["id"]});
    app.post("/api/v1/users", Some(&admin), body).await;
    let boss = app.sign_in("boss").await;
    assert_eq!(app.post(&own, Some(&boss), Value::Null).await.status, 404);

    let (ann, _) = app.person(&admin, "ann", "user").await;
    let path = format!("{ann}/password-reset");
    let token = app.post(&path, Some(&admin), Value::Null).await.body["token"].clone();
    app.patch(&ann, Some(&admin), json!({"disabled": true}))
        .await;
    assert_eq!(reset(&app, token.as_str().unwrap(), NEW).await, 403);
}

async fn an_invitation_gives_its_role_and_works_once(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let made = app
        .post("/api/v1/organisations", Some(&admin), json!({"name": "o"}))
        .await;
    let org = made.body["id"].clone();
    let body = json!({"role": "operator", "org_id": org, "note": " Ann of the lab "});
    let invitation = app.post("/api/v1/invitations", Some(&admin), body).await;
    assert_eq!(invitation.status, 201, "{}", invitation.body);
    assert_eq!(invitation.body["note"], "Ann of the lab");
    let token = &invitation.body["token"];

    let with = |name: &str, password: &str| json!({"username": name, "password": password, "invitation": token});
    let mut chosen = with("ann", PASSWORD);
    chosen["role"] = json!("admin");
    assert_eq!(
        register(&app, chosen).await.status,
        400,
        "no self-given role"
    );
    assert_eq!(register(&app, with("admin", PASSWORD)).await.status, 409);
    assert_eq!(register(&app, with("ann", "password1")).await.status, 400);
    let ann = register(&app, with("Ann", PASSWORD)).await;
    assert_eq!(ann.status, 201, "{}", ann.body);
    assert_eq!(
        (&ann.body["role"], &ann.body["org_id"]),
        (&json!("operator"), &org)
    );
    assert_eq!(ann.body["username"], "ann");
    app.sign_in("ann").await;
    assert_eq!(register(&app, with("bob", PASSWORD)).await.status, 403);
    for other in [json!("rmi_x"), json!(null)] {
        let body = json!({"username": "bob", "password": PASSWORD, "invitation": other});
        assert_eq!(register(&app, body).await.status, 403);
    }
}

async fn invitations_are_listed_withdrawn_and_end(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let invite =
        async |by: &str, body: Value| app.post("/api/v1/invitations", Some(by), body).await;
    let first = invite(&admin, json!({})).await.body;
    let short = json!({"expires_at": "2026-01-02T03:05:05Z"});
    let second = invite(&admin, short).await.body;
    for bad in [
        json!({"expires_at": "2026-01-02T03:04:05Z"}),
        json!({"expires_at": "2027-01-02T03:04:05Z"}),
        json!({"note": "x".repeat(201)}),
        json!({"note": "a\nb"}),
        json!({"role": "root"}),
    ] {
        assert_eq!(invite(&admin, bad.clone()).await.status, 400, "{bad}");
    }
    let nowhere = json!({"org_id": "00000000-0000-7000-8000-0000000000ff"});
    assert_eq!(invite(&admin, nowhere).await.status, 404);
    let listed = async |by: &str| {
        let list = app.get("/api/v1/invitations", Some(by)).await;
        assert!(!list.body.to_string().contains("rmi_"));
        list.body["items"].as_array().unwrap().len()
    };
    assert_eq!(listed(&admin).await, 2);

    let made = app
        .post("/api/v1/organisations", Some(&admin), json!({"name": "o"}))
        .await;
    let body = json!({"username": "boss", "password": PASSWORD, "role": "admin", "org_id": made.body["id"]});
    app.post("/api/v1/users", Some(&admin), body).await;
    let boss = app.sign_in("boss").await;
    assert_eq!(listed(&boss).await, 0);
    let path = format!("/api/v1/invitations/{}", first["id"].as_str().unwrap());
    assert_eq!(app.delete(&path, Some(&boss)).await.status, 404);
    assert_eq!(app.delete(&path, Some(&admin)).await.status, 204);
    assert_eq!(app.delete(&path, Some(&admin)).await.status, 404);
    app.wait(Duration::from_mins(1));
    assert_eq!(listed(&admin).await, 0);
    for invitation in [first, second] {
        let body =
            json!({"username": "ann", "password": PASSWORD, "invitation": invitation["token"]});
        assert_eq!(register(&app, body).await.status, 403);
    }
}

fn with_registration(registration: Registration) -> AuthConfig {
    AuthConfig {
        registration,
        ..REQUIRED
    }
}

async fn nobody_registers_where_that_is_closed(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let invited = app
        .post("/api/v1/invitations", Some(&admin), json!({}))
        .await;
    let app = app.restarted(with_registration(Registration::Closed)).await;
    let body =
        json!({"username": "ann", "password": PASSWORD, "invitation": invited.body["token"]});
    let refused = register(&app, body).await;
    assert_eq!(refused.status, 403);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("ask an administrator"), "{detail}");
    let more = app
        .post("/api/v1/invitations", Some(&admin), json!({}))
        .await;
    assert_eq!(more.status, 409);
}

async fn everybody_registers_as_a_user_where_that_is_open(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let app = app.restarted(with_registration(Registration::Open)).await;
    let body = json!({"username": "ann", "password": PASSWORD, "email": "Ann@Example.org", "display_name": "Ann"});
    let ann = register(&app, body).await;
    assert_eq!(ann.status, 201, "{}", ann.body);
    assert_eq!(
        (&ann.body["role"], &ann.body["email"]),
        (&json!("user"), &json!("ann@example.org"))
    );
    let same = json!({"username": "ann2", "password": PASSWORD, "email": "ann@example.org"});
    assert_eq!(register(&app, same).await.status, 409);
    for (field, bad) in [
        ("email", "nowhere"),
        ("username", "a b"),
        ("display_name", "a\nb"),
    ] {
        let mut body = json!({"username": "bob", "password": PASSWORD});
        body[field] = json!(bad);
        assert_eq!(register(&app, body).await.status, 400, "{field}");
    }
    let mut statuses = Vec::new();
    for number in 0..10 {
        let body = json!({"username": format!("crowd{number}"), "password": PASSWORD});
        let answer = register(&app, body).await;
        statuses.push((answer.status, answer.retry_after.is_some()));
    }
    assert_eq!(statuses[0], (201, false));
    assert_eq!(statuses[9], (429, true));
}

async fn people_change_their_profile(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, ann) = app.person(&admin, "ann", "user").await;
    let edit = async |by: &str, body: Value| app.patch("/api/v1/me/profile", Some(by), body).await;
    let changed = edit(
        &ann,
        json!({"email": "ann@example.org", "display_name": " Ann B "}),
    )
    .await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let shown = app.get("/api/v1/me/profile", Some(&ann)).await.body;
    assert_eq!(shown, changed.body);
    assert_eq!(
        (&shown["display_name"], &shown["role"]),
        (&json!("Ann B"), &json!("user"))
    );
    let taken = edit(&admin, json!({"email": "ANN@example.org"})).await;
    assert_eq!(taken.status, 409);
    for bad in [
        json!({"email": "x"}),
        json!({"role": "admin"}),
        json!({"username": "eve"}),
        json!({"display_name": "x".repeat(101)}),
    ] {
        assert_eq!(edit(&ann, bad.clone()).await.status, 400, "{bad}");
    }
    let removed = edit(&ann, json!({"email": ""})).await.body;
    assert_eq!(removed["email"], Value::Null);
    assert_eq!(removed["display_name"], "Ann B");
    let (_, key) = app.key(&admin, json!({"name": "k"})).await;
    assert_eq!(app.get("/api/v1/me/profile", Some(&key)).await.status, 403);
    assert_eq!(edit(&key, json!({})).await.status, 403);
}
