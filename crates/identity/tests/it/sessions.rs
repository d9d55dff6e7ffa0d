//! Sessions after signing in: refreshed, listed, ended.

use std::time::Duration;

use identity::AuthError;
use primitives::Clock as _;
use serde_json::{Value, json};
use store::testing::TestStore;

use crate::app::{Answer, PASSWORD, REQUIRED, TestApp, identity};

store::on_every_engine! {
    a_refresh_token_works_once_and_used_again_ends_the_session,
    two_refreshes_at_once_get_the_same_token,
    a_refresh_whose_answer_was_lost_is_answered_again_for_a_moment,
    a_session_lasts_a_day_and_one_more_when_used_in_its_last_hour,
    a_refresh_token_is_never_an_access_token_nor_the_other_way_round,
    an_access_token_is_good_only_as_long_as_its_session,
    a_session_of_an_earlier_build_works_until_it_ends,
    sessions_are_listed_and_ended_by_their_owner_only,
    signing_out_everywhere_ends_all_sessions_and_no_key,
    an_administrator_lists_and_ends_the_sessions_of_their_people,
    another_replica_verifies_and_refreshes_what_this_one_issued,
    published_keys_verify_tokens_and_are_replaced_with_overlap,
    tokens_of_other_issuers_are_refused,
    spent_tokens_are_forgotten_after_a_hundred,
}

fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap().to_owned()
}

async fn refresh(app: &TestApp, token: &str) -> Answer {
    app.post(
        "/api/v1/token/refresh",
        None,
        json!({"refresh_token": token}),
    )
    .await
}

/// Signs the administrator in and returns the access token and the refresh token.
async fn signed_in(app: &TestApp) -> (String, String) {
    let body = app.log_in("admin", PASSWORD, "127.0.0.1").await.body;
    (text(&body, "access_token"), text(&body, "refresh_token"))
}

async fn a_refresh_token_works_once_and_used_again_ends_the_session(store: TestStore) {
    let app = TestApp::start(store).await;
    let other = app.set_up().await;
    let (first, token) = signed_in(&app).await;
    app.wait(Duration::from_mins(59));
    let next = refresh(&app, &token).await;
    assert_eq!(next.status, 200, "{}", next.body);
    let (second, next) = (
        text(&next.body, "access_token"),
        text(&next.body, "refresh_token"),
    );
    for access in [&first, &second, &other] {
        assert!(app.authenticate(Some(access)).is_ok());
    }
    app.wait(Duration::from_secs(11));
    let reused = refresh(&app, &token).await;
    assert_eq!(reused.status, 401);
    let detail = text(&reused.body, "detail");
    assert!(detail.contains("used before"), "{detail}");
    for access in [&first, &second] {
        assert_eq!(
            app.authenticate(Some(access)).unwrap_err(),
            AuthError::Unknown
        );
    }
    assert_eq!(refresh(&app, &next).await.status, 401);
    assert!(app.authenticate(Some(&other)).is_ok(), "another session");
}

async fn two_refreshes_at_once_get_the_same_token(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let (_, token) = signed_in(&app).await;
    let (one, two) = tokio::join!(refresh(&app, &token), refresh(&app, &token));
    assert_eq!([one.status, two.status], [200, 200], "{}", two.body);
    let next = text(&one.body, "refresh_token");
    assert_eq!(text(&two.body, "refresh_token"), next);
    assert_eq!(one.body["session_id"], two.body["session_id"]);
    for body in [&one.body, &two.body] {
        assert!(app.authenticate(Some(&text(body, "access_token"))).is_ok());
    }
    assert_eq!(refresh(&app, &next).await.status, 200);
}

async fn a_refresh_whose_answer_was_lost_is_answered_again_for_a_moment(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let (_, token) = signed_in(&app).await;
    let unheard = text(&refresh(&app, &token).await.body, "refresh_token");
    app.wait(Duration::from_secs(10));
    let again = refresh(&app, &token).await;
    assert_eq!(text(&again.body, "refresh_token"), unheard);
    app.wait(Duration::from_secs(1));
    assert_eq!(refresh(&app, &token).await.status, 401, "too late");
    assert_eq!(
        refresh(&app, &unheard).await.status,
        401,
        "the session has ended"
    );

    let (_, token) = signed_in(&app).await;
    let next = text(&refresh(&app, &token).await.body, "refresh_token");
    let last = text(&refresh(&app, &next).await.body, "refresh_token");
    assert_eq!(
        refresh(&app, &token).await.status,
        401,
        "its successor was heard"
    );
    assert_eq!(refresh(&app, &last).await.status, 401);
}

async fn a_session_lasts_a_day_and_one_more_when_used_in_its_last_hour(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let (_, token) = signed_in(&app).await;
    let (_, idle) = signed_in(&app).await;
    let start = app.clock.now();
    app.wait(Duration::from_hours(22));
    let early = refresh(&app, &token).await.body;
    assert_eq!(
        text(&early, "session_expires_at"),
        "2026-01-03T03:04:05.000000Z"
    );
    app.wait(Duration::from_mins(61));
    let late = refresh(&app, &text(&early, "refresh_token")).await.body;
    assert_eq!(
        text(&late, "session_expires_at"),
        "2026-01-04T02:05:05.000000Z"
    );
    let access = text(&late, "access_token");
    assert!(app.authenticate(Some(&access)).is_ok());
    app.wait(Duration::from_hours(24).saturating_sub(app.clock.now().since(start)));
    assert_eq!(refresh(&app, &idle).await.status, 401, "it has ended");
    assert_eq!(
        refresh(&app, &text(&late, "refresh_token")).await.status,
        200
    );
}

async fn a_refresh_token_is_never_an_access_token_nor_the_other_way_round(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let (access, token) = signed_in(&app).await;
    assert_eq!(
        app.authenticate(Some(&token)).unwrap_err(),
        AuthError::Unknown
    );
    assert_eq!(app.get("/api/v1/me", Some(&token)).await.status, 401);
    assert_eq!(refresh(&app, &access).await.status, 401);
    for text in ["", "rmr_x", "x"] {
        assert_eq!(refresh(&app, text).await.status, 401);
    }
    assert!(app.authenticate(Some(&access)).is_ok());
    let extra = json!({"refresh_token": token, "more": 1});
    assert_eq!(
        app.post("/api/v1/token/refresh", None, extra).await.status,
        400
    );
}

async fn an_access_token_is_good_only_as_long_as_its_session(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (ann, session) = app.person(&admin, "ann", "user").await;
    // Verified once, and so known.
    assert!(app.authenticate(Some(&session)).is_ok());
    app.patch(&ann, Some(&admin), json!({"disabled": true}))
        .await;
    assert_eq!(
        app.authenticate(Some(&session)).unwrap_err(),
        AuthError::Unknown
    );
    for damaged in [
        format!("{session}x"),
        session.replacen("ey", "eyy", 1),
        session[..session.len() - 1].to_owned(),
    ] {
        assert_eq!(
            app.authenticate(Some(&damaged)).unwrap_err(),
            AuthError::Unknown
        );
    }
}

async fn a_session_of_an_earlier_build_works_until_it_ends(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let mut tx = app.db.write().await.unwrap();
    let secret = "rms_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    tx.execute(
        "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at)
         SELECT '01900000-0000-7000-8000-00000000000a', id, $1, created_at, created_at + 86400000000 FROM users",
        store::params![blake3::hash(secret.as_bytes()).as_bytes().to_vec()],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let app = app.restarted(REQUIRED).await;
    assert_eq!(
        app.get("/api/v1/me", Some(secret)).await.body["name"],
        "admin"
    );
    app.wait(Duration::from_hours(23));
    assert!(app.authenticate(Some(secret)).is_ok());
    assert_eq!(refresh(&app, secret).await.status, 401);
    let listed = app.get("/api/v1/me/sessions", Some(secret)).await.body;
    assert!(
        listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|session| session["current"] == true)
    );
    let ended = app.post("/api/v1/logout", Some(secret), Value::Null).await;
    assert_eq!(ended.status, 204);
    assert!(app.authenticate(Some(secret)).is_err());
}

async fn sessions_are_listed_and_ended_by_their_owner_only(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, ann) = app.person(&admin, "ann", "user").await;
    app.wait(Duration::from_secs(1));
    let elsewhere = app.log_in("ann", PASSWORD, "10.1.2.3").await.body;
    let list = app.get("/api/v1/me/sessions", Some(&ann)).await.body;
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(
        (&items[0]["current"], &items[1]["current"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(items[1]["ip"], "10.1.2.3");
    assert_eq!(items[1]["id"], elsewhere["session_id"]);
    assert!(!list.to_string().contains("token"));

    let path = format!("/api/v1/me/sessions/{}", text(&elsewhere, "session_id"));
    assert_eq!(
        app.delete(&path, Some(&admin)).await.status,
        404,
        "not theirs"
    );
    let (_, key) = app.key(&admin, json!({"name": "k"})).await;
    assert_eq!(app.delete(&path, Some(&key)).await.status, 403);
    assert_eq!(app.get("/api/v1/me/sessions", Some(&key)).await.status, 403);
    assert_eq!(app.delete(&path, Some(&ann)).await.status, 204);
    let access = text(&elsewhere, "access_token");
    assert!(app.authenticate(Some(&access)).is_err());
    assert_eq!(app.delete(&path, Some(&ann)).await.status, 404);
    let mine = app
        .get("/api/v1/me/sessions?limit=1", Some(&ann))
        .await
        .body;
    assert_eq!(mine["items"].as_array().unwrap().len(), 1);
    assert_eq!(mine["next_cursor"], Value::Null);
}

async fn signing_out_everywhere_ends_all_sessions_and_no_key(store: TestStore) {
    let app = TestApp::start(store).await;
    let first = app.set_up().await;
    let (_, key) = app.key(&first, json!({"name": "k"})).await;
    let (second, token) = signed_in(&app).await;
    let ended = app.delete("/api/v1/me/sessions", Some(&second)).await;
    assert_eq!(ended.status, 204);
    for access in [&first, &second] {
        assert!(app.authenticate(Some(access)).is_err());
    }
    assert_eq!(refresh(&app, &token).await.status, 401);
    assert!(app.authenticate(Some(&key)).is_ok());
    assert_eq!(
        app.delete("/api/v1/me/sessions", Some(&key)).await.status,
        403
    );
}

async fn an_administrator_lists_and_ends_the_sessions_of_their_people(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (ann, session) = app.person(&admin, "ann", "user").await;
    let (bob, bobs) = app.person(&admin, "bob", "user").await;
    let path = format!("{ann}/sessions");
    let list = app.get(&path, Some(&admin)).await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(app.get(&path, Some(&bobs)).await.status, 403);
    assert_eq!(app.delete(&path, Some(&bobs)).await.status, 403);
    assert_eq!(app.delete(&path, Some(&admin)).await.status, 204);
    assert!(app.authenticate(Some(&session)).is_err());
    assert!(app.authenticate(Some(&bobs)).is_ok());

    let made = app
        .post("/api/v1/organisations", Some(&admin), json!({"name": "o"}))
        .await;
    let body = json!({"username": "boss", "password": PASSWORD, "role": "admin", "org_id": made.body["id"]});
    app.post("/api/v1/users", Some(&admin), body).await;
    let other_admin = app.sign_in("boss").await;
    let path = format!("{bob}/sessions");
    assert_eq!(app.get(&path, Some(&other_admin)).await.status, 404);
    assert_eq!(app.delete(&path, Some(&other_admin)).await.status, 404);
    assert!(app.authenticate(Some(&bobs)).is_ok());
}

async fn another_replica_verifies_and_refreshes_what_this_one_issued(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let (access, token) = signed_in(&app).await;
    let (replica, _) = identity(&app.store.open().await, &app.clock, REQUIRED)
        .await
        .unwrap();
    let now = app.clock.now();
    assert!(replica.snapshot().authenticate(Some(&access), now).is_ok());
    let next = replica.refresh(&token).await.unwrap();
    app.identity.reconcile_once().await.unwrap();
    assert!(app.authenticate(Some(next.access_token.expose())).is_ok());
    app.wait(Duration::from_secs(11));
    assert!(replica.refresh(&token).await.is_err(), "used before");
    app.identity.reconcile_once().await.unwrap();
    assert!(app.authenticate(Some(&access)).is_err());
}

async fn published_keys_verify_tokens_and_are_replaced_with_overlap(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let ids = async || {
        let set = app.get("/.well-known/jwks.json", None).await;
        assert_eq!(set.status, 200);
        let keys = set.body["keys"].as_array().unwrap().clone();
        assert!(keys.iter().all(|key| key["kty"] == "OKP"
            && key["crv"] == "Ed25519"
            && key["x"].as_str().unwrap().len() == 43
            && key.as_object().unwrap().get("d").is_none()));
        keys.iter().map(|key| text(key, "kid")).collect::<Vec<_>>()
    };
    let first = ids().await;
    assert_eq!(first.len(), 1);
    app.wait(Duration::from_hours(30 * 24 - 1));
    app.identity.reconcile_once().await.unwrap();
    let both = ids().await;
    assert_eq!((both.len(), &both[1]), (2, &first[0]));
    let old = app.sign_in("admin").await;
    app.wait(Duration::from_mins(59));
    assert!(app.authenticate(Some(&old)).is_ok());
    app.wait(Duration::from_mins(1));
    let new = app.sign_in("admin").await;
    app.wait(Duration::from_mins(59));
    assert!(app.authenticate(Some(&new)).is_ok());
    app.wait(Duration::from_mins(61));
    app.identity.reconcile_once().await.unwrap();
    assert_eq!(ids().await, [both[0].clone()]);
}

async fn tokens_of_other_issuers_are_refused(store: TestStore) {
    let app = TestApp::start(store).await;
    let session = app.set_up().await;
    let app = app
        .restarted(identity::AuthConfig {
            issuer: "https://elsewhere.example".into(),
            ..REQUIRED
        })
        .await;
    assert_eq!(
        app.authenticate(Some(&session)).unwrap_err(),
        AuthError::Unknown
    );
    let session = app.sign_in("admin").await;
    assert!(app.authenticate(Some(&session)).is_ok());
}

async fn spent_tokens_are_forgotten_after_a_hundred(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let (_, first) = signed_in(&app).await;
    let mut token = first.clone();
    for _ in 0..101 {
        app.wait(Duration::from_secs(1));
        token = text(&refresh(&app, &token).await.body, "refresh_token");
    }
    let mut tx = app.db.read().await.unwrap();
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS spent FROM spent_refresh_tokens",
            (),
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.get::<i64>("spent").unwrap(), 100);
    tx.commit().await.unwrap();
    assert_eq!(refresh(&app, &first).await.status, 401);
    assert_eq!(refresh(&app, &token).await.status, 200, "as any other text");
}
