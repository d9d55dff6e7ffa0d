//! Lists: pages by cursor and by offset, totals, orders, filters.

use serde_json::{Value, json};
use store::testing::TestStore;

use crate::app::{PASSWORD, TestApp};

store::on_every_engine! {
    every_item_stands_on_exactly_one_page_in_every_order,
    lists_are_narrowed_and_counted,
    a_cursor_of_one_order_is_none_of_another,
}

fn names(page: &Value, field: &str) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    let name = |item: &Value| item[field].as_str().unwrap().to_owned();
    items.iter().map(name).collect()
}

/// Walks through a list page by page.
async fn walk(app: &TestApp, admin: &str, path: &str, field: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("{path}{cursor}"), Some(admin)).await;
        assert_eq!(page.status, 200, "{}", page.body);
        all.extend(names(&page.body, field));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

async fn every_item_stands_on_exactly_one_page_in_every_order(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    for name in ["bb", "a", "d", "c"] {
        app.wait(std::time::Duration::from_secs(1));
        app.key(&admin, json!({"name": name})).await;
        let body = json!({"username": name, "password": PASSWORD});
        app.post("/api/v1/users", Some(&admin), body).await;
        app.post("/api/v1/organisations", Some(&admin), json!({"name": name}))
            .await;
        app.wait(std::time::Duration::from_secs(1));
    }
    for (path, field, first) in [
        ("/api/v1/keys", "name", None),
        ("/api/v1/users", "username", Some("admin")),
        ("/api/v1/organisations", "name", Some("default")),
    ] {
        let made: Vec<String> = first
            .into_iter()
            .chain(["bb", "a", "d", "c"])
            .map(str::to_owned)
            .collect();
        let mut by_name = made.clone();
        by_name.sort();
        let reversed = |mut list: Vec<String>| {
            list.reverse();
            list
        };
        for (sort, expected) in [
            ("created_at", made.clone()),
            ("-created_at", reversed(made.clone())),
            ("name", by_name.clone()),
            ("-name", reversed(by_name.clone())),
        ] {
            for size in [1, 2, 3] {
                let list = format!("{path}?sort={sort}&limit={size}");
                assert_eq!(walk(&app, &admin, &list, field).await, expected, "{list}");
            }
            let skipping = app
                .get(&format!("{path}?sort={sort}&offset=2"), Some(&admin))
                .await;
            assert_eq!(names(&skipping.body, field), expected[2..], "{path} {sort}");
            assert_eq!(skipping.body["total"], expected.len(), "{path}");
        }
    }
    let sessions = app.get("/api/v1/me/sessions?offset=1", Some(&admin)).await;
    assert_eq!(
        (&sessions.body["items"], &sessions.body["total"]),
        (&json!([]), &json!(1))
    );
    let audit = app
        .get(
            "/api/v1/audit?action=key.create&limit=3&offset=1",
            Some(&admin),
        )
        .await;
    assert_eq!(audit.body["total"], 4);
    assert_eq!(audit.body["items"].as_array().unwrap().len(), 3);
}

async fn lists_are_narrowed_and_counted(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (ci, _) = app.key(&admin, json!({"name": "CI runner 100%"})).await;
    app.key(&admin, json!({"name": "laptop_1"})).await;
    app.delete(&format!("/api/v1/keys/{ci}"), Some(&admin))
        .await;
    let (ann, _) = app.person(&admin, "ann", "operator").await;
    app.person(&admin, "bob", "user").await;
    app.patch(&ann, Some(&admin), json!({"disabled": true}))
        .await;
    for (path, field, expected) in [
        ("/api/v1/keys?q=RUNNER", "name", vec!["CI runner 100%"]),
        ("/api/v1/keys?q=0%25", "name", vec!["CI runner 100%"]),
        ("/api/v1/keys?q=p_1", "name", vec!["laptop_1"]),
        ("/api/v1/keys?q=r_n", "name", vec![]),
        (
            "/api/v1/keys?status=revoked",
            "name",
            vec!["CI runner 100%"],
        ),
        ("/api/v1/keys?status=active", "name", vec!["laptop_1"]),
        ("/api/v1/users?disabled=true", "username", vec!["ann"]),
        ("/api/v1/users?role=user", "username", vec!["bob"]),
        ("/api/v1/users?disabled=false&q=B", "username", vec!["bob"]),
    ] {
        let page = app.get(path, Some(&admin)).await;
        assert_eq!(names(&page.body, field), expected, "{path}");
        assert_eq!(page.body["total"], expected.len(), "{path}");
    }
    for bad in [
        "sort=size",
        "status=lost",
        "disabled=perhaps",
        "offset=100001",
        "limit=0",
    ] {
        let refused = app.get(&format!("/api/v1/keys?{bad}"), Some(&admin)).await;
        assert_eq!(refused.status, 400, "{bad}");
    }
}

async fn a_cursor_of_one_order_is_none_of_another(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    for name in ["a", "b"] {
        app.key(&admin, json!({"name": name})).await;
    }
    let page = app
        .get("/api/v1/keys?limit=1&sort=name", Some(&admin))
        .await;
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let other = format!("/api/v1/keys?sort=-name&cursor={cursor}");
    let refused = app.get(&other, Some(&admin)).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.body["detail"]
            .as_str()
            .unwrap()
            .contains("start again")
    );
}
