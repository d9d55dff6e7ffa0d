//! How many there may be of people and keys, in one organisation and in all.

use serde_json::json;
use store::testing::TestStore;
use store::{Statement, params};

use crate::app::{PASSWORD, TestApp};

store::on_every_engine! {
    an_organisation_has_a_bounded_number_of_people,
    an_organisation_has_a_bounded_number_of_keys_and_leaves_room_for_others,
}

/// Makes `$1` people of the organisation `$2`.
const PEOPLE: &str = "
    WITH RECURSIVE numbers (n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
    INSERT INTO users (id, org_id, username, password_hash, role, created_at)
    SELECT 'u' || CAST(n AS TEXT), $2, 'user ' || CAST(n AS TEXT), '', 'user', 0 FROM numbers";

/// Makes `$1` keys of the organisation `$2`.
const KEYS: Statement = Statement::per_engine(
    "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
     INSERT INTO api_keys (id, org_id, name, prefix, secret_hash, scopes, created_at, expires_at)
     SELECT $2 || n, $2, 'k', 'rmd_', CAST($2 || n AS BLOB), '[]', 0, 1 FROM numbers",
    "WITH RECURSIVE numbers (n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
     INSERT INTO api_keys (id, org_id, name, prefix, secret_hash, scopes, created_at, expires_at)
     SELECT $2 || n, $2, 'k', 'rmd_', convert_to($2 || n, 'UTF8'), '[]', 0, 1 FROM numbers",
);

async fn fill(app: &TestApp, sql: impl Into<Statement>, count: u64, org: &str) {
    let mut tx = app.db.write().await.unwrap();
    assert_eq!(tx.execute(sql, params![count, org]).await.unwrap(), count);
    tx.commit().await.unwrap();
}

async fn organisation(app: &TestApp, admin: &str) -> String {
    let made = app
        .post("/api/v1/organisations", Some(admin), json!({"name": "lab"}))
        .await;
    made.body["id"].as_str().unwrap().to_owned()
}

async fn an_organisation_has_a_bounded_number_of_people(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let lab = organisation(&app, &admin).await;
    fill(&app, PEOPLE, 9_999, &lab).await;
    let make = async |name: &str, org: Option<&str>| {
        let body = json!({"username": name, "password": PASSWORD, "org_id": org});
        app.post("/api/v1/users", Some(&admin), body).await
    };
    assert_eq!(make("last", Some(&lab)).await.status, 201);
    let refused = make("one-more", Some(&lab)).await;
    assert_eq!(refused.status, 409);
    assert!(refused.body["detail"].as_str().unwrap().contains("10000"));
    assert_eq!(make("elsewhere", None).await.status, 201);
}

async fn an_organisation_has_a_bounded_number_of_keys_and_leaves_room_for_others(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let lab = organisation(&app, &admin).await;
    fill(&app, KEYS, 5_000, &lab).await;
    let make = async |name: &str, org: Option<&str>| {
        let body = json!({"name": name, "org_id": org});
        app.post("/api/v1/keys", Some(&admin), body).await
    };
    let refused = make("x", Some(&lab)).await;
    assert_eq!(refused.status, 409);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(
        detail.contains("5000") && detail.contains("revoke"),
        "{detail}"
    );
    assert_eq!(make("x", None).await.status, 201);
    for other in ["a", "b", "c"] {
        fill(&app, KEYS, 5_000, other).await;
    }
    assert_eq!(make("y", None).await.status, 409);
}
