//! What a password may be, and what becomes of hashes that other systems made.

use serde_json::json;
use store::testing::TestStore;

use crate::app::{PASSWORD, TestApp};

store::on_every_engine! {
    passwords_that_are_guessed_soon_are_refused_wherever_one_is_set,
    a_bcrypt_hash_signs_in_once_and_is_replaced,
}

async fn passwords_that_are_guessed_soon_are_refused_wherever_one_is_set(store: TestStore) {
    let app = TestApp::start(store).await;
    let token = app.setup_token().expose().clone();
    let common = "Sunshine1";
    let setup = json!({"token": token, "username": "admin", "password": "password1"});
    assert_eq!(app.post("/api/v1/setup", None, setup).await.status, 400);
    let admin = app.set_up().await;
    let (ann, session) = app.person(&admin, "annabella", "user").await;
    for (password, reason) in [
        (common, "most common"),
        ("short", "at least 8"),
        ("AnnaBella", "user name"),
    ] {
        let body = json!({"username": "annabella", "password": password});
        let made = app.post("/api/v1/users", Some(&admin), body).await;
        let reset = app
            .patch(&ann, Some(&admin), json!({"password": password}))
            .await;
        let body = json!({"current": PASSWORD, "new": password});
        let changed = app.put("/api/v1/me/password", Some(&session), body).await;
        for answer in [made, reset, changed] {
            assert_eq!(answer.status, 400, "{password}");
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains(reason), "{detail}");
        }
    }
    assert!(app.authenticate(Some(&session)).is_ok());
}

async fn a_bcrypt_hash_signs_in_once_and_is_replaced(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    app.person(&admin, "ann", "user").await;
    // From the test vectors of jBCrypt.
    let mut tx = app.db.write().await.unwrap();
    let stored = "$2a$06$.rCVZVOThsIa97pEDOxvGuRRgzG64bvtJ0938xuqzv18d3ZpQhstC";
    tx.execute(
        "UPDATE users SET password_hash = $1 WHERE username = 'ann'",
        store::params![stored],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let hash = async || {
        let mut tx = app.db.read().await.unwrap();
        let row = tx
            .fetch_optional("SELECT password_hash FROM users WHERE username = 'ann'", ())
            .await
            .unwrap()
            .unwrap();
        tx.commit().await.unwrap();
        row.get::<String>("password_hash").unwrap()
    };
    assert_eq!(
        app.log_in("ann", "another one", "127.0.0.1").await.status,
        401
    );
    assert_eq!(hash().await, stored);
    let password = "abcdefghijklmnopqrstuvwxyz";
    assert_eq!(app.log_in("ann", password, "127.0.0.1").await.status, 200);
    assert!(hash().await.starts_with("$argon2id$"));
    assert_eq!(app.log_in("ann", password, "127.0.0.1").await.status, 200);
}
