//! Changes on condition that the thing is as the client believes.

use http::Method;
use serde_json::json;
use store::testing::TestStore;

use crate::app::TestApp;

store::on_every_engine! {
    a_change_is_refused_when_somebody_else_was_quicker,
    only_what_can_be_changed_is_in_the_version,
}

async fn a_change_is_refused_when_somebody_else_was_quicker(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (key, _) = app.key(&admin, json!({"name": "k"})).await;
    let (user, session) = app.person(&admin, "ann", "user").await;
    let key = format!("/api/v1/keys/{key}");
    for (path, credential, show, first, second) in [
        (
            key.as_str(),
            &admin,
            key.as_str(),
            json!({"name": "a"}),
            json!({"name": "b"}),
        ),
        (
            &user,
            &admin,
            &user,
            json!({"role": "viewer"}),
            json!({"role": "operator"}),
        ),
        (
            "/api/v1/me/profile",
            &session,
            "/api/v1/me/profile",
            json!({"display_name": "Ann"}),
            json!({"display_name": "Bee"}),
        ),
    ] {
        let shown = app.get(show, Some(credential)).await;
        let before = shown.headers["etag"].to_str().unwrap().to_owned();
        let change = async |tag: &str, body| {
            let (request, header) = ((Method::PATCH, path), ("if-match", tag));
            app.send_with(request, Some(credential), header, body).await
        };
        let changed = change(&before, first.clone()).await;
        assert_eq!(changed.status, 200, "{path}: {}", changed.body);
        let after = changed.headers["etag"].to_str().unwrap().to_owned();
        assert_ne!(after, before);
        assert_eq!(app.get(show, Some(credential)).await.headers["etag"], after);
        let late = change(&before, second.clone()).await;
        assert_eq!(late.status, 412, "{path}");
        let detail = late.body["detail"].as_str().unwrap();
        assert!(detail.contains("read it again"), "{detail}");
        for (name, value) in first.as_object().unwrap() {
            assert_eq!(app.get(show, Some(credential)).await.body[name], *value);
        }
        assert_eq!(change("*", second.clone()).await.status, 200);
        // Without a condition the last one wins, as ever.
        assert_eq!(app.patch(path, Some(credential), first).await.status, 200);
    }
}

async fn only_what_can_be_changed_is_in_the_version(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (id, secret) = app.key(&admin, json!({"name": "k"})).await;
    let path = format!("/api/v1/keys/{id}");
    let before = app.get(&path, Some(&admin)).await;
    app.get("/api/v1/me", Some(&secret)).await;
    app.identity.reconcile_once().await.unwrap();
    let after = app.get(&path, Some(&admin)).await;
    assert!(after.body["last_used_at"].is_string());
    assert_eq!(after.headers["etag"], before.headers["etag"]);
    let unknown = "/api/v1/keys/00000000-0000-7000-8000-0000000000ff";
    assert_eq!(app.get(unknown, Some(&admin)).await.status, 404);
}
