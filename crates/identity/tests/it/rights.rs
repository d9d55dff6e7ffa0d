//! Rights that are taken away: from whom they may be, and what goes with them.

use axum::extract::FromRequestParts as _;
use http::Request;
use identity::{OrgAdmin, PrincipalKind, Role, UserEdit, UserError, WantedRole};
use primitives::UserId;
use serde_json::json;
use store::testing::TestStore;
use web::IfMatch;

use crate::app::{PASSWORD, TestApp};

store::on_every_engine! {
    the_last_administrator_of_an_organisation_stays,
    ones_own_key_does_no_more_to_oneself_than_oneself,
    administrators_who_demote_each_other_at_once_leave_one,
    a_key_never_does_more_than_its_owner_may,
    a_key_made_through_a_key_ends_with_the_same_person,
    ones_own_password_is_not_reset,
    lost_rights_are_lost_at_once_even_when_the_reload_fails,
}

async fn the_last_administrator_of_an_organisation_stays(store: TestStore) {
    let app = TestApp::start(store).await;
    let platform = app.set_up().await;
    let made = app
        .post(
            "/api/v1/organisations",
            Some(&platform),
            json!({"name": "lab"}),
        )
        .await;
    let body = json!({"username": "boss", "password": PASSWORD, "role": "admin", "org_id": made.body["id"]});
    let boss = app.post("/api/v1/users", Some(&platform), body).await.body;
    let boss = format!("/api/v1/users/{}", boss["id"].as_str().unwrap());
    for body in [json!({"disabled": true}), json!({"role": "operator"})] {
        let refused = app.patch(&boss, Some(&platform), body).await;
        assert_eq!(refused.status, 409, "each organisation keeps its own");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("make somebody else an administrator first"));
    }
    let body = json!({"username": "heir", "password": PASSWORD, "role": "admin", "org_id": made.body["id"]});
    app.post("/api/v1/users", Some(&platform), body).await;
    let demoted = app
        .patch(&boss, Some(&platform), json!({"role": "operator"}))
        .await;
    assert_eq!(demoted.status, 200);
}

async fn ones_own_key_does_no_more_to_oneself_than_oneself(store: TestStore) {
    let app = TestApp::start(store).await;
    let platform = app.set_up().await;
    app.person(&platform, "ann", "admin").await;
    let record = app.own_record(&platform).await;
    let admin_key = json!({"name": "k", "role": "admin"});
    let (_, key) = app.key(&platform, admin_key).await;
    let (_, second) = app
        .key(&key, json!({"name": "made by a key", "role": "admin"}))
        .await;
    for key in [&key, &second] {
        for body in [
            json!({"password": "a stolen key's own"}),
            json!({"disabled": true}),
            json!({"role": "user"}),
        ] {
            let refused = app.patch(&record, Some(key), body.clone()).await;
            assert_eq!(refused.status, 409, "{body}");
        }
    }
    assert_eq!(app.log_in("admin", PASSWORD, "127.0.0.1").await.status, 200);
}

/// Lets a request of an administrator in.
async fn let_in(app: &TestApp, session: &str) -> (OrgAdmin, UserId) {
    let request = Request::get("/").header("authorization", format!("Bearer {session}"));
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let admin = OrgAdmin::from_request_parts(&mut parts, &app.identity)
        .await
        .unwrap();
    match admin.principal().kind {
        PrincipalKind::User(id) => (admin, id),
        other => panic!("not a person: {other:?}"),
    }
}

async fn administrators_who_demote_each_other_at_once_leave_one(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, bob) = app.person(&admin, "bob", "admin").await;
    // Both are let in before either is demoted.
    let (one, one_id) = let_in(&app, &admin).await;
    let (other, other_id) = let_in(&app, &bob).await;
    let demote = || UserEdit {
        role: Some(WantedRole::BuiltIn(Role::User)),
        ..UserEdit::default()
    };
    let (first, second) = tokio::join!(
        app.identity
            .edit_user(&one, other_id, demote(), &IfMatch::ANY),
        app.identity
            .edit_user(&other, one_id, demote(), &IfMatch::ANY),
    );
    match (first, second) {
        (Ok(_), Err(UserError::LastAdmin)) | (Err(UserError::LastAdmin), Ok(_)) => {}
        outcomes => panic!("{outcomes:?}"),
    }
    let left = [&admin, &bob]
        .into_iter()
        .filter(|session| app.authenticate(Some(session)).unwrap().role == Role::Admin)
        .count();
    assert_eq!(left, 1);
}

async fn a_key_never_does_more_than_its_owner_may(store: TestStore) {
    let app = TestApp::start(store).await;
    let platform = app.set_up().await;
    let (ann, session) = app.person(&platform, "ann", "admin").await;
    let (_, key) = app
        .key(&session, json!({"name": "k", "role": "admin"}))
        .await;
    let (_, small) = app
        .key(&session, json!({"name": "s", "role": "user"}))
        .await;
    let role = |key: &str| app.authenticate(Some(key)).unwrap().role;
    for (owner, most, least) in [
        ("operator", Role::Operator, Role::User),
        ("viewer", Role::Viewer, Role::Viewer),
        ("admin", Role::Admin, Role::User),
    ] {
        let changed = app
            .patch(&ann, Some(&platform), json!({"role": owner}))
            .await;
        assert_eq!(changed.status, 200);
        assert_eq!((role(&key), role(&small)), (most, least), "{owner}");
        let listed = app.get("/api/v1/keys", Some(&key)).await.status;
        assert_eq!(listed, if owner == "admin" { 200 } else { 403 });
    }
}

async fn a_key_made_through_a_key_ends_with_the_same_person(store: TestStore) {
    let app = TestApp::start(store).await;
    let platform = app.set_up().await;
    let (ann, session) = app.person(&platform, "ann", "admin").await;
    let admin_key = |name: &str| json!({"name": name, "role": "admin"});
    let (_, first) = app.key(&session, admin_key("first")).await;
    let (_, second) = app.key(&first, admin_key("second")).await;
    let (_, third) = app.key(&second, admin_key("third")).await;
    let edit = async |body| app.patch(&ann, Some(&platform), body).await.status;
    assert_eq!(edit(json!({"role": "user"})).await, 200);
    assert_eq!(app.authenticate(Some(&third)).unwrap().role, Role::User);
    assert_eq!(edit(json!({"disabled": true})).await, 200);
    for key in [&first, &second, &third] {
        assert!(app.authenticate(Some(key)).is_err());
    }
}

async fn ones_own_password_is_not_reset(store: TestStore) {
    let app = TestApp::start(store).await;
    let session = app.set_up().await;
    let record = app.own_record(&session).await;
    let body = json!({"password": "without the present one"});
    let refused = app.patch(&record, Some(&session), body).await;
    assert_eq!(refused.status, 409);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("PUT /api/v1/me/password"), "{detail}");
    assert_eq!(app.log_in("admin", PASSWORD, "127.0.0.1").await.status, 200);
}

async fn lost_rights_are_lost_at_once_even_when_the_reload_fails(store: TestStore) {
    let app = TestApp::start(store).await;
    let platform = app.set_up().await;
    let (ann, session) = app.person(&platform, "ann", "admin").await;
    let (_, key) = app
        .key(&session, json!({"name": "k", "role": "admin"}))
        .await;
    // Credentials can no longer be loaded, while people can still be changed.
    let mut tx = app.db.write().await.unwrap();
    tx.execute("ALTER TABLE api_keys RENAME TO keys_out_of_reach", ())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(app.identity.reconcile_once().await.is_ok(), "not reloaded");

    let edit = async |body| app.patch(&ann, Some(&platform), body).await.status;
    assert_eq!(edit(json!({"role": "viewer"})).await, 200);
    assert!(app.identity.reconcile_once().await.is_err());
    for credential in [&session, &key] {
        let caller = app.authenticate(Some(credential)).unwrap();
        assert_eq!(caller.role, Role::Viewer);
    }
    assert_eq!(edit(json!({"disabled": true})).await, 200);
    for credential in [&session, &key] {
        assert!(app.authenticate(Some(credential)).is_err());
    }
    assert_eq!(app.authenticate(Some(&platform)).unwrap().role, Role::Admin);
}
