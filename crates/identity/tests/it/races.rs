//! Changes that meet a change of another replica which is not committed yet. Only PostgreSQL lets two writers begin.

use http::Method;
use serde_json::json;
use store::Tx;
use store::testing::TestStore;
use tokio::task::yield_now;

use crate::app::{Answer, PASSWORD, TestApp};

/// Begins what another replica does: counts a change and makes it, without the commit.
async fn begin(app: &TestApp, change: &'static str) -> Tx {
    let mut tx = app.db.write().await.unwrap();
    let counted = "UPDATE settings SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE key = 'identity.generation'";
    assert_eq!(tx.execute(counted, ()).await.unwrap(), 1);
    assert_eq!(tx.execute(change, ()).await.unwrap(), 1);
    tx
}

/// Runs the request until it waits for what the transaction has locked, commits that, and returns the answer.
async fn meet(mut tx: Tx, request: impl Future<Output = Answer>) -> Answer {
    let met = async {
        loop {
            let row = tx
                .fetch_optional(
                    "SELECT CAST(count(*) AS BIGINT) AS waiting FROM pg_locks
                     WHERE NOT granted AND transactionid = CAST(pg_current_xact_id() AS xid)",
                    (),
                )
                .await
                .unwrap()
                .unwrap();
            if row.get::<i64>("waiting").unwrap() > 0 {
                break;
            }
            yield_now().await;
        }
        tx.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(request, met);
    answer
}

async fn app() -> TestApp {
    TestApp::start(TestStore::postgres().await).await
}

#[tokio::test]
async fn a_new_role_does_not_undo_that_somebody_was_disabled_meanwhile() {
    let app = app().await;
    let admin = app.set_up().await;
    let (ann, _) = app.person(&admin, "ann", "user").await;
    let disabled = begin(
        &app,
        "UPDATE users SET disabled_at = 1 WHERE username = 'ann'",
    )
    .await;
    let request = app.patch(&ann, Some(&admin), json!({"role": "operator"}));
    let answer = meet(disabled, request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["role"], "operator");
    assert_ne!(answer.body["disabled_at"], json!(null));
    assert_eq!(app.log_in("ann", PASSWORD, "127.0.0.1").await.status, 401);
}

#[tokio::test]
async fn disabling_does_not_undo_a_role_given_meanwhile() {
    let app = app().await;
    let admin = app.set_up().await;
    let (ann, _) = app.person(&admin, "ann", "admin").await;
    let demoted = begin(
        &app,
        "UPDATE users SET role = 'viewer' WHERE username = 'ann'",
    )
    .await;
    let request = app.patch(&ann, Some(&admin), json!({"disabled": true}));
    let answer = meet(demoted, request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["role"], "viewer");
    assert_ne!(answer.body["disabled_at"], json!(null));
    let listed = app.get("/api/v1/users", Some(&admin)).await.body;
    let listed = listed["items"].as_array().unwrap();
    let ann = listed.iter().find(|user| user["username"] == "ann");
    assert_eq!(ann.unwrap()["role"], "viewer");
}

#[tokio::test]
async fn nobody_signs_in_with_a_password_replaced_or_an_account_disabled_meanwhile() {
    for change in [
        "UPDATE users SET password_hash = 'another' WHERE username = 'ann'",
        "UPDATE users SET disabled_at = 1 WHERE username = 'ann'",
    ] {
        let app = app().await;
        let admin = app.set_up().await;
        app.person(&admin, "ann", "user").await;
        let sessions = app.identity.snapshot().len();
        let changed = begin(&app, change).await;
        let answer = meet(changed, app.log_in("ann", PASSWORD, "127.0.0.1")).await;
        assert_eq!(answer.status, 401, "{change}");
        assert!(app.identity.snapshot().len() <= sessions);
    }
}

#[tokio::test]
async fn a_password_replaced_meanwhile_is_not_changed_with_the_former_one() {
    for change in [
        "UPDATE users SET password_hash = 'another' WHERE username = 'ann'",
        "UPDATE users SET disabled_at = 1 WHERE username = 'ann'",
    ] {
        let app = app().await;
        let admin = app.set_up().await;
        let (_, ann) = app.person(&admin, "ann", "user").await;
        let changed = begin(&app, change).await;
        let body = json!({"current": PASSWORD, "new": "taken over again"});
        let request = app.put("/api/v1/me/password", Some(&ann), body);
        let answer = meet(changed, request).await;
        assert_eq!(answer.status, 403, "{change}");
    }
}

#[tokio::test]
async fn a_key_is_changed_as_another_replica_has_left_it() {
    let app = app().await;
    let admin = app.set_up().await;
    let (id, _) = app.key(&admin, json!({"name": "k"})).await;
    let path = format!("/api/v1/keys/{id}");
    let limited = begin(&app, "UPDATE api_keys SET tokens_per_minute = 7").await;
    let answer = meet(
        limited,
        app.patch(&path, Some(&admin), json!({"name": "l"})),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["limits"], json!({"tokens_per_minute": 7}));
    let shown = app.get(&path, Some(&admin)).await;
    assert_eq!(shown.body["name"], "l");
    assert_eq!(shown.body["limits"], json!({"tokens_per_minute": 7}));

    let version = shown.headers["etag"].to_str().unwrap();
    let (request, header) = ((Method::PATCH, &*path), ("if-match", version));
    let limited = begin(&app, "UPDATE api_keys SET tokens_per_minute = 8").await;
    let request = app.send_with(request, Some(&admin), header, json!({"name": "m"}));
    assert_eq!(meet(limited, request).await.status, 412);
    let shown = app.get(&path, Some(&admin)).await;
    assert_eq!(shown.body["name"], "l");
    assert_eq!(shown.body["limits"], json!({"tokens_per_minute": 8}));

    let revoked = begin(&app, "UPDATE api_keys SET revoked_at = 1").await;
    let answer = meet(
        revoked,
        app.patch(&path, Some(&admin), json!({"name": "n"})),
    )
    .await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    let recorded = app.get("/api/v1/audit?action=key.edit", Some(&admin)).await;
    assert_eq!(recorded.body["items"].as_array().unwrap().len(), 1);
    let whole = app.get("/api/v1/audit/verify", Some(&admin)).await;
    assert_eq!(whole.body["whole"], true);
}
