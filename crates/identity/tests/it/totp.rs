//! The second factor.

use std::time::Duration;

use primitives::Clock as _;
use serde_json::{Value, json};
use store::testing::TestStore;
use totp_rs::{Builder, Secret};

use crate::app::{Answer, PASSWORD, TestApp};

store::on_every_engine! {
    signing_in_takes_a_code_once_it_is_confirmed_and_each_code_once,
    a_recovery_code_works_once,
    a_password_alone_or_a_session_alone_changes_nothing,
    codes_are_not_guessed,
    a_disabled_second_factor_is_gone,
    an_administrator_removes_it_for_who_has_lost_everything,
    the_secret_is_stored_sealed,
}

/// What an authenticator shows now.
fn code(app: &TestApp, secret: &str) -> String {
    let now = u64::try_from(app.clock.now().as_secs()).unwrap();
    Builder::new()
        .with_secret(Secret::try_from_base32(secret).unwrap())
        .with_account_name("x")
        .build()
        .unwrap()
        .generate(now)
        .to_string()
}

async fn log_in(app: &TestApp, code: Option<&str>) -> Answer {
    let body = json!({"username": "ann", "password": PASSWORD, "code": code});
    app.post("/api/v1/login", None, body).await
}

/// Enrols an authenticator and returns its secret and the recovery codes.
pub(crate) async fn enrolled(app: &TestApp, session: &str) -> (String, Vec<String>) {
    let body = json!({"password": PASSWORD});
    let begun = app.post("/api/v1/me/totp", Some(session), body).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let secret = begun.body["secret"].as_str().unwrap().to_owned();
    let uri = begun.body["uri"].as_str().unwrap();
    assert!(uri.contains(&secret) && uri.contains("ann"), "{uri}");
    let body = json!({"code": code(app, &secret)});
    let confirmed = app
        .post("/api/v1/me/totp/confirm", Some(session), body)
        .await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    app.wait(Duration::from_secs(30));
    (secret, texts(&confirmed.body["recovery_codes"]))
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

async fn signing_in_takes_a_code_once_it_is_confirmed_and_each_code_once(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, ann) = app.person(&admin, "ann", "user").await;
    let begun = app
        .post("/api/v1/me/totp", Some(&ann), json!({"password": PASSWORD}))
        .await;
    assert_eq!(begun.status, 201);
    assert_eq!(log_in(&app, None).await.status, 200, "not confirmed yet");
    let wrong = json!({"code": "000000"});
    let refused = app.post("/api/v1/me/totp/confirm", Some(&ann), wrong).await;
    assert_eq!(refused.status, 403);

    let (secret, codes) = enrolled(&app, &ann).await;
    assert_eq!(codes.len(), 10);
    let state = app.get("/api/v1/me/totp", Some(&ann)).await.body;
    assert_eq!(state, json!({"enabled": true, "recovery_codes_left": 10}));
    let missing = log_in(&app, None).await;
    assert_eq!(missing.status, 401);
    assert_eq!(missing.body["reason"], "code_required");
    let code = code(&app, &secret);
    assert_eq!(log_in(&app, Some(&code)).await.status, 200);
    let again = log_in(&app, Some(&code)).await;
    assert_eq!(again.status, 401, "used before");
    assert_eq!(again.body["reason"], Value::Null);
    app.wait(Duration::from_secs(30));
    let next = self::code(&app, &secret);
    assert_eq!(log_in(&app, Some(&next)).await.status, 200);
    assert_eq!(
        log_in(&app, Some(&code)).await.status,
        401,
        "an earlier one"
    );
    let body = json!({"password": PASSWORD});
    let twice = app.post("/api/v1/me/totp", Some(&ann), body).await;
    assert_eq!(twice.status, 409);
}

async fn a_recovery_code_works_once(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, ann) = app.person(&admin, "ann", "user").await;
    let (secret, codes) = enrolled(&app, &ann).await;
    let as_written = codes[3].to_uppercase().replace('-', " ");
    assert_eq!(log_in(&app, Some(&as_written)).await.status, 200);
    assert_eq!(log_in(&app, Some(&codes[3])).await.status, 401);
    let state = app.get("/api/v1/me/totp", Some(&ann)).await.body;
    assert_eq!(state["recovery_codes_left"], 9);
    let body = json!({"code": code(&app, &secret)});
    let renewed = app
        .post("/api/v1/me/totp/recovery-codes", Some(&ann), body)
        .await;
    assert_eq!(renewed.status, 200);
    assert_eq!(log_in(&app, Some(&codes[4])).await.status, 401, "replaced");
    let renewed = texts(&renewed.body["recovery_codes"]);
    assert_eq!(log_in(&app, Some(&renewed[0])).await.status, 200);
}

async fn a_password_alone_or_a_session_alone_changes_nothing(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, ann) = app.person(&admin, "ann", "user").await;
    let post = async |path: &str, body: Value| app.post(path, Some(&ann), body).await.status;
    let wrong = json!({"password": "another one"});
    assert_eq!(post("/api/v1/me/totp", wrong).await, 403);
    let nothing = json!({"code": "123456"});
    assert_eq!(post("/api/v1/me/totp/confirm", nothing.clone()).await, 409);
    assert_eq!(post("/api/v1/me/totp/recovery-codes", nothing).await, 409);
    let (secret, _) = enrolled(&app, &ann).await;
    let disable = "/api/v1/me/totp/disable";
    let body = json!({"password": "another one", "code": code(&app, &secret)});
    assert_eq!(post(disable, body).await, 403);
    let body = json!({"password": PASSWORD, "code": "000000"});
    assert_eq!(post(disable, body).await, 403);
    assert_eq!(log_in(&app, None).await.status, 401);
    let (_, key) = app.key(&admin, json!({"name": "k"})).await;
    let body = json!({"password": PASSWORD});
    assert_eq!(
        app.post("/api/v1/me/totp", Some(&key), body).await.status,
        403
    );
}

async fn codes_are_not_guessed(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, ann) = app.person(&admin, "ann", "user").await;
    let (secret, _) = enrolled(&app, &ann).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(log_in(&app, Some("000000")).await.status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let right = log_in(&app, Some(&code(&app, &secret))).await;
    assert_eq!(right.status, 429);
    app.wait(Duration::from_secs(right.retry_after.unwrap()));
    assert_eq!(log_in(&app, Some(&code(&app, &secret))).await.status, 200);
}

async fn a_disabled_second_factor_is_gone(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, ann) = app.person(&admin, "ann", "user").await;
    let (_, codes) = enrolled(&app, &ann).await;
    let body = json!({"password": PASSWORD, "code": codes[0]});
    let disabled = app.post("/api/v1/me/totp/disable", Some(&ann), body).await;
    assert_eq!(disabled.status, 204, "{}", disabled.body);
    assert_eq!(log_in(&app, None).await.status, 200);
    let state = app.get("/api/v1/me/totp", Some(&ann)).await.body;
    assert_eq!(state, json!({"enabled": false, "recovery_codes_left": 0}));
    enrolled(&app, &ann).await;
}

async fn an_administrator_removes_it_for_who_has_lost_everything(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (ann, session) = app.person(&admin, "ann", "user").await;
    enrolled(&app, &session).await;
    let path = format!("{ann}/totp");
    assert_eq!(app.delete(&path, Some(&session)).await.status, 403);
    assert_eq!(app.delete(&path, Some(&admin)).await.status, 204);
    assert!(app.authenticate(Some(&session)).is_err());
    assert_eq!(log_in(&app, None).await.status, 200);
    assert_eq!(app.delete(&path, Some(&admin)).await.status, 409);
    let own = format!("{}/totp", app.own_record(&admin).await);
    assert_eq!(app.delete(&own, Some(&admin)).await.status, 409);
}

async fn the_secret_is_stored_sealed(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, ann) = app.person(&admin, "ann", "user").await;
    let (secret, _) = enrolled(&app, &ann).await;
    let plain = Secret::try_from_base32(&secret).unwrap();
    let mut tx = app.db.read().await.unwrap();
    let row = tx
        .fetch_optional("SELECT totp_secret FROM users WHERE username = 'ann'", ())
        .await
        .unwrap()
        .unwrap();
    tx.commit().await.unwrap();
    let stored: Vec<u8> = row.get("totp_secret").unwrap();
    assert!(!stored.windows(20).any(|part| part == plain.as_bytes()));
}
