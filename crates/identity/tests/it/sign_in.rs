//! Signing in and out.

use std::time::Duration;

use identity::AuthError;
use primitives::{Clock as _, SessionId};
use serde_json::Value;
use store::testing::TestStore;

use crate::app::{PASSWORD, TestApp};

store::on_every_engine! {
    the_right_password_signs_in_and_a_wrong_one_does_not,
    guessing_is_slowed_down_by_origin_and_forgotten_after_success,
    an_access_token_ends_after_an_hour,
    signing_out_ends_this_session_only,
    old_sessions_make_room,
}

async fn the_right_password_signs_in_and_a_wrong_one_does_not(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let right = app.log_in("Admin", PASSWORD, "127.0.0.1").await;
    assert_eq!(right.status, 200);
    assert_eq!(right.body["expires_at"], "2026-01-02T04:04:05.000000Z");
    assert_eq!(right.body["expires_in"], 3600);
    assert_eq!(right.body["token_type"], "Bearer");
    assert_eq!(
        right.body["session_expires_at"],
        "2026-01-03T03:04:05.000000Z"
    );
    let session = right.body["access_token"].as_str().unwrap();
    assert_eq!(
        app.get("/api/v1/me", Some(session)).await.body["kind"],
        "user"
    );

    let wrong = app.log_in("admin", "wrong horse", "127.0.0.1").await;
    let unknown = app.log_in("nobody", PASSWORD, "127.0.0.1").await;
    assert_eq!((wrong.status, unknown.status), (401, 401));
    let without_id = |mut body: Value| {
        body.as_object_mut().unwrap().remove("request_id");
        body
    };
    assert_eq!(without_id(wrong.body), without_id(unknown.body));
}

async fn guessing_is_slowed_down_by_origin_and_forgotten_after_success(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    for _ in 0..5 {
        assert_eq!(
            app.log_in("admin", "wrong horse", "10.0.0.1").await.status,
            401
        );
    }
    let locked = app.log_in("admin", PASSWORD, "10.0.0.1").await;
    assert_eq!((locked.status, locked.retry_after), (429, Some(1)));
    assert_eq!(app.log_in("admin", PASSWORD, "10.0.0.2").await.status, 200);

    app.wait(Duration::from_secs(1));
    assert_eq!(
        app.log_in("admin", "wrong horse", "10.0.0.1").await.status,
        401
    );
    assert_eq!(
        app.log_in("admin", PASSWORD, "10.0.0.1").await.retry_after,
        Some(2)
    );
    app.wait(Duration::from_secs(2));
    assert_eq!(app.log_in("admin", PASSWORD, "10.0.0.1").await.status, 200);
    assert_eq!(app.log_in("admin", PASSWORD, "10.0.0.1").await.status, 200);
}

async fn an_access_token_ends_after_an_hour(store: TestStore) {
    let app = TestApp::start(store).await;
    let session = app.set_up().await;
    app.wait(Duration::from_secs(3600 - 1));
    assert!(app.authenticate(Some(&session)).is_ok());
    app.wait(Duration::from_secs(1));
    assert_eq!(
        app.authenticate(Some(&session)).unwrap_err(),
        AuthError::Expired
    );
    assert_eq!(app.get("/api/v1/me", Some(&session)).await.status, 401);
}

async fn signing_out_ends_this_session_only(store: TestStore) {
    let app = TestApp::start(store).await;
    let first = app.set_up().await;
    let second = app.log_in("admin", PASSWORD, "127.0.0.1").await.body["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let log_out =
        async |token: Option<&str>| app.post("/api/v1/logout", token, Value::Null).await.status;
    assert_eq!(log_out(Some(&first)).await, 204);
    assert!(app.authenticate(Some(&first)).is_err());
    assert!(app.authenticate(Some(&second)).is_ok());
    assert_eq!(log_out(Some(&first)).await, 401);
    assert_eq!(log_out(None).await, 401);
}

async fn old_sessions_make_room(store: TestStore) {
    let app = TestApp::start(store).await;
    let first = app.set_up().await;
    let mut tx = app.db.write().await.unwrap();
    for number in 0_u8..100 {
        tx.execute(
            "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at)
             SELECT $1, id, $2, created_at + 1, created_at + 1000000000 FROM users",
            store::params![SessionId::generate(app.clock.now()), vec![number; 32]],
        )
        .await
        .unwrap();
    }
    // Counted, as every change is, without a note of what it was about.
    tx.execute(
        "UPDATE settings SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE key = 'identity.generation'",
        (),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    app.wait(Duration::from_secs(1));
    let newest = app.log_in("admin", PASSWORD, "127.0.0.1").await.body["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        app.authenticate(Some(&first)).unwrap_err(),
        AuthError::Unknown
    );
    assert!(app.authenticate(Some(&newest)).is_ok());
    assert_eq!(app.identity.snapshot().len(), 100);
}
