//! Requests that are sent again under the same name.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use store::params;
use store::testing::TestStore;

use crate::app::{Answer, TestApp};

store::on_every_engine! {
    a_request_sent_again_has_no_second_effect,
    the_name_of_a_request_is_its_callers_own,
    a_refused_request_may_be_tried_anew,
    many_at_once_have_one_effect,
    what_was_interrupted_says_so,
    names_are_bounded_and_forgotten_after_a_day,
}

async fn create(app: &TestApp, by: &str, name: &str, body: Value) -> Answer {
    let (request, header) = ((Method::POST, "/api/v1/keys"), ("idempotency-key", name));
    app.send_with(request, Some(by), header, body).await
}

async fn count(app: &TestApp, by: &str) -> Value {
    app.get("/api/v1/keys", Some(by)).await.body["total"].clone()
}

async fn a_request_sent_again_has_no_second_effect(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let body = json!({"name": "k"});
    let first = create(&app, &admin, "one", body.clone()).await;
    assert_eq!(first.status, 201, "{}", first.body);
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let app = app.restarted(crate::app::REQUIRED).await;
    let again = create(&app, &admin, "one", body.clone()).await;
    assert_eq!(again.status, 201);
    assert_eq!(
        again.body, first.body,
        "the secret too, which is shown once otherwise"
    );
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.headers["content-type"], first.headers["content-type"]);
    assert_eq!(count(&app, &admin).await, 1);
    let other = create(&app, &admin, "one", json!({"name": "other"})).await;
    assert_eq!(other.status, 422, "{}", other.body);
    assert_eq!(count(&app, &admin).await, 1);
    // What is kept is sealed.
    let mut tx = app.db.read().await.unwrap();
    let row = tx
        .fetch_optional("SELECT answer_sealed FROM idempotency_keys", ())
        .await
        .unwrap();
    let sealed: Vec<u8> = row.unwrap().get("answer_sealed").unwrap();
    let secret = first.body["secret"].as_str().unwrap().as_bytes();
    assert!(!sealed.windows(secret.len()).any(|part| part == secret));
}

async fn the_name_of_a_request_is_its_callers_own(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, ann) = app.person(&admin, "ann", "admin").await;
    let body = json!({"name": "k"});
    let one = create(&app, &admin, "same", body.clone()).await;
    let two = create(&app, &ann, "same", body.clone()).await;
    assert_eq!((one.status, two.status), (201, 201));
    assert_ne!(one.body["secret"], two.body["secret"]);
    // Who may no longer is refused, whatever they know.
    let path = app.own_record(&ann).await;
    app.patch(&path, Some(&admin), json!({"disabled": true}))
        .await;
    assert_eq!(create(&app, &ann, "same", body.clone()).await.status, 401);
    app.patch(&path, Some(&admin), json!({"disabled": false}))
        .await;
    assert_eq!(create(&app, "rmd_nobody", "same", body).await.status, 401);
}

async fn a_refused_request_may_be_tried_anew(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (id, _) = app.key(&admin, json!({"name": "taken"})).await;
    let body = json!({"name": "taken"});
    assert_eq!(create(&app, &admin, "x", body.clone()).await.status, 409);
    app.delete(&format!("/api/v1/keys/{id}"), Some(&admin))
        .await;
    assert_eq!(create(&app, &admin, "x", body).await.status, 201);
    for bad in ["", "a b", &"x".repeat(256)] {
        let refused = create(&app, &admin, bad, json!({"name": "never"})).await;
        assert_eq!(refused.status, 400, "{bad:?}");
    }
}

async fn many_at_once_have_one_effect(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let once = || create(&app, &admin, "at once", json!({"name": "k"}));
    let bad = once().await;
    assert_eq!(bad.status, 400, "a space is not visible");
    let once = || create(&app, &admin, "at-once", json!({"name": "k"}));
    let (a, b, c, d) = tokio::join!(once(), once(), once(), once());
    let mut statuses = [a.status, b.status, c.status, d.status];
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201);
    assert!(
        statuses.iter().all(|status| matches!(status, 201 | 409)),
        "{statuses:?}"
    );
    assert_eq!(count(&app, &admin).await, 1);
}

async fn what_was_interrupted_says_so(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    assert_eq!(
        create(&app, &admin, "x", json!({"name": "k"})).await.status,
        201
    );
    // As a process leaves it that ended before it could keep the answer.
    let mut tx = app.db.write().await.unwrap();
    tx.execute("UPDATE idempotency_keys SET answer_sealed = NULL", ())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let under_way = create(&app, &admin, "x", json!({"name": "k"})).await;
    assert_eq!(under_way.status, 409);
    app.wait(Duration::from_mins(3));
    let interrupted = create(&app, &admin, "x", json!({"name": "k"})).await;
    assert_eq!(interrupted.status, 409);
    let detail = interrupted.body["detail"].as_str().unwrap();
    assert!(detail.contains("look whether it had"), "{detail}");
}

async fn names_are_bounded_and_forgotten_after_a_day(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (_, key) = app
        .key(&admin, json!({"name": "maker", "role": "admin"}))
        .await;
    assert_eq!(
        create(&app, &key, "first", json!({"name": "k"}))
            .await
            .status,
        201
    );
    let mut tx = app.db.write().await.unwrap();
    let row = tx
        .fetch_optional("SELECT caller, begun_at FROM idempotency_keys", ())
        .await
        .unwrap()
        .unwrap();
    let (caller, begun_at): (String, i64) =
        (row.get("caller").unwrap(), row.get("begun_at").unwrap());
    for number in 1..1_000 {
        tx.execute(
            "INSERT INTO idempotency_keys (caller, name, request_hash, begun_at) VALUES ($1, $2, $3, $4)",
            params![caller.as_str(), format!("filler {number}"), vec![0_u8], begun_at],
        )
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(
        create(&app, &key, "one-more", json!({"name": "l"}))
            .await
            .status,
        429
    );
    assert_eq!(
        create(&app, &key, "first", json!({"name": "k"}))
            .await
            .status,
        201,
        "known ones go on"
    );
    app.wait(Duration::from_hours(25));
    app.identity.reconcile_once().await.unwrap();
    assert_eq!(
        create(&app, &key, "one-more", json!({"name": "l"}))
            .await
            .status,
        201
    );
    let again = create(&app, &key, "first", json!({"name": "k"})).await;
    assert_eq!(
        again.status, 409,
        "it is another request after a day, and the name is taken: {}",
        again.body
    );
}
