//! Settings: typed, all or none, with history, gone back to, in effect everywhere.

use http::Method;
use serde_json::{Value, json};
use store::testing::TestStore;
use tokio_util::sync::CancellationToken;

use crate::app::{Answer, TestApp};

store::on_every_engine! {
    settings_are_set_all_or_none_and_shown,
    a_change_by_somebody_quicker_is_noticed,
    settings_are_gone_back_to,
    what_one_process_sets_applies_at_the_other,
}

const CONFIG: &str = "/api/v1/system/config";

async fn set(app: &TestApp, config: Value) -> Answer {
    app.call(Method::PUT, CONFIG, json!({"config": config}))
        .await
}

fn shown<'a>(answer: &'a Answer, key: &str) -> &'a Value {
    let settings = answer.body["settings"].as_array().unwrap();
    settings
        .iter()
        .find(|setting| setting["key"] == key)
        .unwrap()
}

async fn settings_are_set_all_or_none_and_shown(store: TestStore) {
    let app = TestApp::start(&store).await;
    let before = app.get(CONFIG).await;
    assert_eq!((before.status, &before.body["version"]), (200, &json!(0)));
    assert_eq!(shown(&before, "queue.batch")["value"], 100);
    assert_eq!(shown(&before, "queue.batch")["set"], false);
    let both = set(&app, json!({"queue.batch": 7, "auth.registration": "open"})).await;
    assert_eq!((both.status, &both.body["version"]), (200, &json!(1)));
    assert_eq!(app.system.settings().borrow().integer("queue.batch"), 7);
    assert_eq!(
        app.system.settings().borrow().text("auth.registration"),
        "open"
    );
    for (config, part) in [
        (
            json!({"queue.batch": 8, "queue.default": 0}),
            "from 1 to 1000000",
        ),
        (
            json!({"queue.batch": 8, "queue.size": 1}),
            "there is no setting",
        ),
        (
            json!({"auth.registration": "ajar"}),
            "one of closed, invite, open",
        ),
        (json!({"queue.batch": "8"}), "whole number"),
        (json!({}), "no setting is named"),
    ] {
        let refused = set(&app, config.clone()).await;
        assert_eq!(refused.status, 400, "{config}");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{config}: {detail}");
    }
    let now = app.get(CONFIG).await;
    assert_eq!(
        shown(&now, "queue.batch")["value"],
        7,
        "nothing of a refused change stays"
    );
    let unset = set(&app, json!({"queue.batch": null})).await;
    assert_eq!(shown(&unset, "queue.batch"), shown(&before, "queue.batch"));
    let same = set(&app, json!({"queue.batch": null})).await;
    assert_eq!(same.body["version"], 2, "what changes nothing is no change");
    let audit = app.get("/api/v1/audit?action=setting.edit").await;
    assert_eq!(audit.body["total"], 2);
    assert_eq!(
        audit.body["items"][1]["new"],
        json!({"auth.registration": "open", "queue.batch": 7})
    );
}

async fn a_change_by_somebody_quicker_is_noticed(store: TestStore) {
    let app = TestApp::start(&store).await;
    let tag = app.get(CONFIG).await.headers["etag"]
        .to_str()
        .unwrap()
        .to_owned();
    let body = |value: u32| json!({"config": {"queue.batch": value}});
    let first = app.put_if(CONFIG, &tag, body(1)).await;
    assert_eq!(first.status, 200);
    assert_eq!(app.put_if(CONFIG, &tag, body(2)).await.status, 412);
    let tag = first.headers["etag"].to_str().unwrap();
    assert_eq!(app.put_if(CONFIG, tag, body(3)).await.status, 200);
}

async fn settings_are_gone_back_to(store: TestStore) {
    let app = TestApp::start(&store).await;
    for value in [1, 2, 3] {
        set(&app, json!({"queue.batch": value})).await;
    }
    set(&app, json!({"queue.default": 9})).await;
    let back = async |version: i64| {
        let body = json!({"version": version});
        app.call(Method::POST, "/api/v1/system/config/rollback", body)
            .await
    };
    let second = back(2).await;
    assert_eq!((second.status, &second.body["version"]), (200, &json!(5)));
    assert_eq!(shown(&second, "queue.batch")["value"], 2);
    assert_eq!(shown(&second, "queue.default")["set"], false);
    assert_eq!(shown(&back(4).await, "queue.default")["value"], 9);
    assert_eq!(shown(&back(0).await, "queue.batch")["set"], false);
    assert_eq!(back(99).await.status, 404);
    assert_eq!(back(-1).await.status, 404);
    let history = app.get("/api/v1/system/config/history?limit=2").await;
    assert_eq!(history.body["total"], 7);
    assert_eq!(history.body["items"][0]["version"], 7);
    assert_eq!(history.body["items"][0]["by"], "admin");
    let next = history.body["next_cursor"].as_str().unwrap();
    let older = app
        .get(&format!("/api/v1/system/config/history?cursor={next}"))
        .await;
    assert_eq!(older.body["items"][0]["version"], 5);
    let differences = older.body["items"][0]["differences"].as_array().unwrap();
    assert_eq!(
        differences[0],
        json!({"key": "queue.batch", "old": 3, "new": 2})
    );
    assert_eq!(differences[1], json!({"key": "queue.default", "old": 9}));
}

async fn what_one_process_sets_applies_at_the_other(store: TestStore) {
    let here = TestApp::start(&store).await;
    let there = here.another(&store).await;
    let stop = CancellationToken::new();
    let following = tokio::spawn(there.system.clone().reconcile(stop.clone()));
    let mut settings = there.system.settings();
    set(&here, json!({"queue.batch": 5})).await;
    settings
        .wait_for(|settings| settings.integer("queue.batch") == 5)
        .await
        .unwrap();
    stop.cancel();
    following.await.unwrap();
}
