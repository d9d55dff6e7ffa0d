//! The first administrator.

use identity::{AuthConfig, SetupState};
use primitives::Secret;
use serde_json::json;
use store::testing::TestStore;

use crate::app::{PASSWORD, REQUIRED, TestApp, identity};

store::on_every_engine! {
    the_token_makes_one_administrator_and_then_nothing,
    a_wrong_token_makes_nobody,
    a_refused_password_does_not_use_the_token_up,
    the_token_survives_a_restart_but_is_told_once,
    a_password_at_start_makes_the_administrator,
    a_changed_password_at_start_replaces_the_old_one,
    replicas_that_start_together_make_one_administrator,
    a_password_at_start_restores_an_administrator_who_was_demoted_or_moved,
}

async fn a_password_at_start_restores_an_administrator_who_was_demoted_or_moved(store: TestStore) {
    let mut app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let record = app.own_record(&admin).await;
    let (_, bob) = app.person(&admin, "bob", "admin").await;
    let demoted = app
        .patch(&record, Some(&bob), json!({"role": "viewer"}))
        .await;
    assert_eq!(demoted.status, 200, "{}", demoted.body);
    for moved in [false, true] {
        if moved {
            let body = json!({"name": "elsewhere"});
            let made = app.post("/api/v1/organisations", Some(&bob), body).await;
            let mut tx = app.db.write().await.unwrap();
            tx.execute(
                "UPDATE users SET org_id = $1 WHERE username = 'admin'",
                store::params![made.body["id"].as_str().unwrap()],
            )
            .await
            .unwrap();
            tx.commit().await.unwrap();
        }
        app = app.restarted(with_password(PASSWORD)).await;
        let session = app.log_in("admin", PASSWORD, "127.0.0.1").await.body["token"].clone();
        let me = app.get("/api/v1/me", session.as_str()).await.body;
        assert_eq!(me["platform_admin"], true, "moved: {moved}, {me}");
    }
}

async fn replicas_that_start_together_make_one_administrator(store: TestStore) {
    let app = TestApp::start(store).await;
    let config = || AuthConfig {
        admin_password: Some(Secret::new(PASSWORD.to_owned())),
        ..REQUIRED
    };
    let replica = || identity(&app.db, &app.clock, config());
    let (one, two, three) = tokio::join!(replica(), replica(), replica());
    for outcome in [one, two, three] {
        outcome.unwrap();
    }
    assert_eq!(app.log_in("admin", PASSWORD, "127.0.0.1").await.status, 200);
}

async fn the_token_makes_one_administrator_and_then_nothing(store: TestStore) {
    let app = TestApp::start(store).await;
    let session = app.set_up().await;
    let me = app.get("/api/v1/me", Some(&session)).await;
    assert_eq!(me.body["name"], "admin");
    assert_eq!(me.body["role"], "admin");

    let again =
        json!({"token": app.setup_token().expose(), "username": "eve", "password": "another pass"});
    assert_eq!(app.post("/api/v1/setup", None, again).await.status, 409);
}

async fn a_wrong_token_makes_nobody(store: TestStore) {
    let app = TestApp::start(store).await;
    for token in [
        "",
        "rmt_wrong",
        "rmt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        let body = json!({"token": token, "username": "eve", "password": "another pass"});
        let answer = app.post("/api/v1/setup", None, body).await;
        assert_eq!(answer.status, 403);
        assert!(
            answer.body["detail"]
                .as_str()
                .unwrap()
                .contains("REMUDA_ADMIN_PASSWORD")
        );
    }
    assert_eq!(
        app.log_in("eve", "another pass", "127.0.0.1").await.status,
        401
    );
    app.set_up().await;
}

async fn a_refused_password_does_not_use_the_token_up(store: TestStore) {
    let app = TestApp::start(store).await;
    for (username, password) in [("admin", "short"), ("a b", PASSWORD), ("", PASSWORD)] {
        let body = json!({"token": app.setup_token().expose(), "username": username, "password": password});
        assert_eq!(app.post("/api/v1/setup", None, body).await.status, 400);
    }
    app.set_up().await;
}

async fn the_token_survives_a_restart_but_is_told_once(store: TestStore) {
    let app = TestApp::start(store).await;
    let token = app.setup_token().expose().clone();
    let app = app.restarted(REQUIRED).await;
    assert!(matches!(app.setup, SetupState::TokenPending));
    let body = json!({"token": token, "username": "admin", "password": PASSWORD});
    assert_eq!(app.post("/api/v1/setup", None, body).await.status, 201);
    let app = app.restarted(REQUIRED).await;
    assert!(matches!(app.setup, SetupState::Done));
}

fn with_password(password: &str) -> AuthConfig {
    AuthConfig {
        admin_password: Some(Secret::new(password.to_owned())),
        ..REQUIRED
    }
}

async fn a_password_at_start_makes_the_administrator(store: TestStore) {
    let app = TestApp::start(store).await;
    let token = app.setup_token().expose().clone();
    let app = app.restarted(with_password("from the start")).await;
    assert!(matches!(app.setup, SetupState::Done));
    assert_eq!(
        app.log_in("admin", "from the start", "127.0.0.1")
            .await
            .status,
        200
    );
    let body = json!({"token": token, "username": "eve", "password": PASSWORD});
    assert_eq!(app.post("/api/v1/setup", None, body).await.status, 409);
}

async fn a_changed_password_at_start_replaces_the_old_one(store: TestStore) {
    let app = TestApp::start(store).await;
    let session = app.set_up().await;
    let app = app.restarted(with_password(PASSWORD)).await;
    assert!(app.authenticate(Some(&session)).is_ok());
    let app = app.restarted(with_password("a new password")).await;
    assert!(app.authenticate(Some(&session)).is_err());
    assert_eq!(app.log_in("admin", PASSWORD, "127.0.0.1").await.status, 401);
    assert_eq!(
        app.log_in("admin", "a new password", "127.0.0.1")
            .await
            .status,
        200
    );
}
