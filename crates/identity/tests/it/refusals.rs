//! Bad input, and callers who may not.

use serde_json::{Value, json};
use store::testing::TestStore;

use crate::app::TestApp;

#[tokio::test]
async fn bad_bodies_are_refused_with_the_reason() {
    let app = TestApp::start(TestStore::sqlite().await).await;
    let admin = app.set_up().await;
    let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    for (body, part) in [
        (json!({}), "missing field `name`"),
        (json!({"name": ""}), "1 to 100"),
        (json!({"name": "  "}), "1 to 100"),
        (json!({"name": "x".repeat(101)}), "1 to 100"),
        (json!({"name": "a\nb"}), "1 to 100"),
        (json!({"name": 5}), "expected a string"),
        (
            json!({"name": "x", "scope": "all"}),
            "unknown field `scope`",
        ),
        (json!({"name": "x", "role": "root"}), "unknown variant"),
        (json!({"name": "x", "limits": [5]}), "expected a map"),
        (
            json!({"name": "x", "limits": {"requests": 5}}),
            "unknown field",
        ),
        (json!({"name": "x", "models": []}), "models"),
        (json!({"name": "x", "models": ["a*b"]}), "models"),
        (json!({"name": "x", "models": many}), "models"),
        (json!({"name": "x", "expires_at": "tomorrow"}), "RFC 3339"),
        (
            json!({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}),
            "past",
        ),
    ] {
        let answer = app.post("/api/v1/keys", Some(&admin), body.clone()).await;
        assert_eq!(answer.status, 400, "{body}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{body}: {detail}");
    }
    for path in [
        "/api/v1/keys?cursor=***",
        "/api/v1/keys?limit=x",
        "/api/v1/keys?page=2",
    ] {
        assert_eq!(app.get(path, Some(&admin)).await.status, 400, "{path}");
    }
    let list = app.get("/api/v1/keys", Some(&admin)).await;
    assert_eq!(list.body["items"], json!([]));
}

#[tokio::test]
async fn a_password_never_comes_back_in_an_error() {
    let app = TestApp::start(TestStore::sqlite().await).await;
    for body in [
        json!({"username": "admin", "password": ["hunter2"]}),
        json!({"username": "admin", "password": {"hunter2": 1}}),
        json!({"username": 7, "password": "hunter2"}),
    ] {
        let answer = app.post("/api/v1/login", None, body).await;
        assert_eq!(answer.status, 400);
        assert!(
            !answer.body.to_string().contains("hunter2"),
            "{}",
            answer.body
        );
    }
}

/// Every described route that asks for a credential refuses to answer without a valid one.
#[tokio::test]
async fn every_protected_route_refuses_strangers() {
    let app = TestApp::start(TestStore::sqlite().await).await;
    app.set_up().await;
    let document = serde_json::to_value(app.identity.routes().to_openapi()).unwrap();
    let mut protected = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(
                operation["operationId"].is_string(),
                "{method} {path} has no id"
            );
            assert!(
                operation["summary"].is_string(),
                "{method} {path} has no summary"
            );
            if operation["security"].is_null() {
                continue;
            }
            protected.push(format!("{method} {path}"));
            let path = path.replace("{id}", "00000000-0000-7000-8000-000000000000");
            for credential in [None, Some("rmd_x"), Some("rms_x"), Some("x")] {
                let answer = match method.as_str() {
                    "get" => app.get(&path, credential).await,
                    "delete" => app.delete(&path, credential).await,
                    "put" => app.put(&path, credential, Value::Null).await,
                    "patch" => app.patch(&path, credential, Value::Null).await,
                    _ => app.post(&path, credential, Value::Null).await,
                };
                assert_eq!(answer.status, 401, "{method} {path} with {credential:?}");
            }
        }
    }
    protected.sort();
    assert_eq!(
        protected,
        [
            "delete /api/v1/invitations/{id}",
            "delete /api/v1/keys/{id}",
            "delete /api/v1/me/identities/{provider}",
            "delete /api/v1/me/sessions",
            "delete /api/v1/me/sessions/{id}",
            "delete /api/v1/roles/{name}",
            "delete /api/v1/users/{id}/sessions",
            "delete /api/v1/users/{id}/totp",
            "get /api/v1/audit",
            "get /api/v1/audit/verify",
            "get /api/v1/invitations",
            "get /api/v1/keys",
            "get /api/v1/keys/{id}",
            "get /api/v1/me",
            "get /api/v1/me/export",
            "get /api/v1/me/identities",
            "get /api/v1/me/profile",
            "get /api/v1/me/sessions",
            "get /api/v1/me/totp",
            "get /api/v1/organisations",
            "get /api/v1/roles",
            "get /api/v1/roles/{name}",
            "get /api/v1/users",
            "get /api/v1/users/{id}",
            "get /api/v1/users/{id}/export",
            "get /api/v1/users/{id}/sessions",
            "patch /api/v1/keys/{id}",
            "patch /api/v1/me/profile",
            "patch /api/v1/roles/{name}",
            "patch /api/v1/users/{id}",
            "post /api/v1/invitations",
            "post /api/v1/keys",
            "post /api/v1/logout",
            "post /api/v1/me/identities",
            "post /api/v1/me/totp",
            "post /api/v1/me/totp/confirm",
            "post /api/v1/me/totp/disable",
            "post /api/v1/me/totp/recovery-codes",
            "post /api/v1/organisations",
            "post /api/v1/roles",
            "post /api/v1/users",
            "post /api/v1/users/{id}/erase",
            "post /api/v1/users/{id}/password-reset",
            "put /api/v1/me/password",
        ]
    );
}
