//! The four functions as their callers see them.

use http::Request;
use inventory::InventoryConfig;
use serde_json::{Value, json};
use store::testing::TestStore;

use crate::app::{Answer, Process};

store::on_every_engine! {
    the_functions_answer_as_the_original_does,
    what_is_refused_says_so_in_the_originals_words,
    keys_need_the_permission_and_strangers_are_kept_out,
    an_open_inventory_lets_anybody_in_but_no_bad_key,
    pages_of_other_sites_change_nothing_in_an_open_inventory,
}

pub(crate) fn assert_error(answer: &Answer, status: u16, code: &str, message: &str) {
    let told = &answer.body;
    assert_eq!(answer.status, status, "{told}");
    assert_eq!(told["code"], code, "{told}");
    assert_eq!(told["message"], message, "{told}");
    assert_eq!(
        answer.headers["content-type"],
        "application/json; charset=utf-8"
    );
    for field in ["details", "hint"] {
        assert!(told.get(field).is_some(), "{field} is missing: {told}");
    }
}

async fn the_functions_answer_as_the_original_does(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    for (serial, slots) in [
        ("A", "PP"),
        ("B", "P"),
        ("C", "PRQ"),
        ("D", "PRQ"),
        ("E", "PP"),
        ("F", "PP"),
    ] {
        let made = process.add(serial, slots).await;
        assert_eq!(made.status, 204, "{}", made.body);
        assert_eq!(made.headers["content-range"], "0-0/*");
        assert_eq!(made.body, "");
    }
    let script = [
        ("associate_widgets", "A", "A", "P", 400),
        ("associate_widgets", "A", "B", "P", 204),
        ("associate_widgets", "C", "B", "P", 400),
        ("associate_widgets", "C", "A", "R", 400),
        ("associate_widgets", "C", "D", "R", 204),
        ("associate_widgets", "D", "C", "Q", 204),
        ("associate_widgets", "E", "F", "P", 204),
        ("associate_widgets", "F", "E", "P", 409),
        ("remove_association", "F", "E", "P", 204),
        ("remove_association", "E", "F", "P", 400),
        ("associate_widgets", "Z", "F", "P", 400),
        ("associate_widgets", "E", "F", "R", 400),
    ];
    for (function, first, second, port, status) in script {
        let answer = process.pair(function, first, second, port).await;
        assert_eq!(
            answer.status, status,
            "{function} {first} {second} {port}: {}",
            answer.body
        );
    }
    assert_eq!(process.table().await["B"], ["P-A"]);
    for serial in ["Z", "A", "C"] {
        assert_eq!(process.remove(serial).await.status, 204);
    }
    let table = process.table().await;
    assert_eq!(table.keys().collect::<Vec<_>>(), ["B", "D", "E", "F"]);
    assert_eq!(table["B"], ["P-"]);
    assert_eq!(table["D"], ["P-", "Q-", "R-"]);
    // The other spelling of the name, and no slots at all.
    let other = json!({"widget_sn": "G", "name": "n", "slots": null});
    assert_eq!(process.rpc("add_widget", other).await.status, 204);
    process.stop().await;
}

async fn what_is_refused_says_so_in_the_originals_words(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    for (serial, slots) in [("E", "PP"), ("F", "PP"), ("G", "P")] {
        process.add(serial, slots).await;
    }
    let taken = process.add("E", "").await;
    assert_error(
        &taken,
        409,
        "23505",
        "duplicate key value violates unique constraint \"widgets_serial_number_key\"",
    );
    assert_eq!(
        taken.body["details"],
        "Key (serial_number)=(E) already exists."
    );
    let many = process.add("H", "PPPP").await;
    assert_error(
        &many,
        400,
        "P0001",
        "Cannot add widget: too many slots (maximum is 3)",
    );
    let associate = "associate_widgets";
    let itself = process.pair(associate, "E", "E", "P").await;
    assert_error(&itself, 400, "P0001", "Widgets cannot self-associate");
    let unknown = process.pair(associate, "X", "Y", "P").await;
    assert_error(
        &unknown,
        400,
        "P0001",
        "Widget with serial number X does not exist",
    );
    process.pair(associate, "E", "F", "P").await;
    let twice = process.pair(associate, "E", "F", "P").await;
    assert_error(
        &twice,
        409,
        "23505",
        "duplicate key value violates unique constraint \"idx_unique_widget_slot_assoc_except_null_assoc\"",
    );
    process.pair(associate, "E", "G", "P").await;
    // Without a free slot that comes before the second association.
    let full = process.pair(associate, "F", "E", "P").await;
    assert_error(
        &full,
        400,
        "P0001",
        "Widget with serial number E does not not have available slots on port P",
    );
    let apart = process.pair("remove_association", "F", "G", "P").await;
    assert_error(
        &apart,
        400,
        "P0001",
        "Widgets with serial numbers F and G are not associated on port P",
    );
    process.stop().await;
}

async fn key(process: &Process, body: Value) -> String {
    let made = process.send("/api/v1/keys", &body.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    made.body["secret"].as_str().unwrap().to_owned()
}

async fn keys_need_the_permission_and_strangers_are_kept_out(store: TestStore) {
    let mut process = Process::start(&store, InventoryConfig::default()).await;
    let writer = key(
        &process,
        json!({"name": "w", "scopes": ["inventory:write"]}),
    )
    .await;
    let reader = key(&process, json!({"name": "r", "scopes": ["inventory:read"]})).await;
    let user = key(&process, json!({"name": "u"})).await;
    let other = process
        .send("/api/v1/organisations", r#"{"name": "other"}"#)
        .await;
    let other = other.body["id"].as_str().unwrap().to_owned();
    let foreign = key(
        &process,
        json!({"name": "f", "role": "admin", "org_id": other}),
    )
    .await;
    process.act_as(Some(&writer));
    assert_eq!(process.add("A", "P").await.status, 204);
    let denied = "permission denied for function add_widget";
    for token in [&reader, &user, &foreign] {
        process.act_as(Some(token));
        assert_error(&process.add("B", "P").await, 403, "42501", denied);
    }
    for token in [None, Some("rmd_wrong"), Some("anything")] {
        process.act_as(token);
        assert_error(&process.add("B", "P").await, 401, "42501", denied);
    }
    assert_eq!(process.table().await.len(), 1);
    process.stop().await;
}

async fn an_open_inventory_lets_anybody_in_but_no_bad_key(store: TestStore) {
    let open = InventoryConfig {
        open: true,
        ..InventoryConfig::default()
    };
    let mut process = Process::start(&store, open).await;
    process.act_as(None);
    assert_eq!(process.add("A", "P").await.status, 204);
    process.act_as(Some("rmd_wrong"));
    assert_eq!(process.add("B", "P").await.status, 401);
    process.stop().await;
}

async fn pages_of_other_sites_change_nothing_in_an_open_inventory(store: TestStore) {
    let open = InventoryConfig {
        open: true,
        ..InventoryConfig::default()
    };
    let mut process = Process::start(&store, open).await;
    let token = key(
        &process,
        json!({"name": "w", "scopes": ["inventory:write"]}),
    )
    .await;
    process.act_as(None);
    let changes = [
        (
            "POST",
            "/rpc/add_widget",
            "application/json",
            r#"{"widget_sn": "A", "name": "n", "slots": []}"#,
        ),
        (
            "POST",
            "/rpc/remove_widget",
            "application/json",
            r#"{"widget_sn": "A"}"#,
        ),
        (
            "POST",
            "/api/v1/inventory/import?format=csv",
            "text/plain",
            "B,n,P",
        ),
        (
            "PUT",
            "/api/v1/nodes/n1/hardware",
            "application/json",
            r#"{"parts": []}"#,
        ),
    ];
    let pages: [&[(&str, &str)]; 4] = [
        &[
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[
            ("host", "evil.example"),
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "same-origin"),
        ],
    ];
    let request = |(method, path, kind, _): (&str, &str, &str, &str), page: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("content-type", kind);
        for (name, value) in page {
            request = request.header(*name, *value);
        }
        request
    };
    for change in changes {
        for page in pages {
            let answer = process
                .request(request(change, page), change.3.into())
                .await;
            assert_eq!(answer.status, 403, "{change:?} {page:?}: {}", answer.body);
            let told = answer.body.to_string();
            assert!(told.contains("other web sites"), "{told}");
        }
    }
    assert!(process.table().await.is_empty());
    // Programs and pages of this machine may, and whoever has a key.
    let local = [
        ("origin", "http://localhost:3000"),
        ("sec-fetch-site", "same-site"),
    ];
    for page in [&[][..], &local[..], &[("host", "parts.example.com")][..]] {
        for change in &changes[..3] {
            let answer = process
                .request(request(*change, page), change.3.into())
                .await;
            assert!(answer.status < 300, "{change:?}: {}", answer.body);
        }
    }
    process.act_as(Some(&token));
    for change in &changes[..3] {
        let answer = process
            .request(request(*change, pages[0]), change.3.into())
            .await;
        assert!(answer.status < 300, "{change:?}: {}", answer.body);
    }
    process.stop().await;
}
