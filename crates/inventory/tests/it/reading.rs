//! Looking at the inventory.

use axum::body::Body;
use http::{Method, Request};
use inventory::InventoryConfig;
use serde_json::{Value, json};
use store::testing::TestStore;

use crate::app::{Answer, Process};
use crate::moving::import;

store::on_every_engine! {
    lists_are_filtered_and_go_on_where_they_stopped,
    what_hangs_together_is_found_within_bounds,
    counts_tell_slots_and_associations,
    what_a_node_is_made_of_stands_in_the_journal,
    readers_read_and_strangers_do_not,
}

pub(crate) async fn get(process: &Process, path: &str) -> Answer {
    let request = Request::builder().method(Method::GET).uri(path);
    process.request(request, Body::empty()).await
}

pub(crate) async fn found(process: &Process, path: &str) -> Value {
    let answer = get(process, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}

fn serials(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item["serial_number"].as_str().unwrap())
        .collect()
}

/// A chain w0 - w1 - … by ports P and Q in turn, and one that is joined with nobody.
pub(crate) async fn chain(process: &Process, length: usize) {
    for number in 0..length {
        process.add(&format!("w{number}"), "PQR").await;
    }
    process.add("alone", "PP").await;
    for number in 1..length {
        let port = if number % 2 == 0 { "P" } else { "Q" };
        let (one, other) = (format!("w{}", number - 1), format!("w{number}"));
        let joined = process.pair("associate_widgets", &one, &other, port).await;
        assert_eq!(joined.status, 204, "{}", joined.body);
    }
}

async fn lists_are_filtered_and_go_on_where_they_stopped(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    chain(&process, 4).await;
    let all = found(&process, "/api/v1/inventory/widgets").await;
    assert_eq!(serials(&all), ["alone", "w0", "w1", "w2", "w3"]);
    assert_eq!(
        all["items"][1]["slots"][1],
        json!({"port": "Q", "partner": "w1"})
    );
    let page = found(&process, "/api/v1/inventory/widgets?prefix=w&limit=2").await;
    assert_eq!(serials(&page), ["w0", "w1"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let path = format!("/api/v1/inventory/widgets?prefix=w&limit=2&cursor={cursor}");
    let page = found(&process, &path).await;
    assert_eq!(serials(&page), ["w2", "w3"]);
    assert_eq!(page.get("next_cursor"), None);
    for (query, expected) in [
        ("free=P", vec!["alone", "w0", "w3"]),
        ("port=R", vec!["w0", "w1", "w2", "w3"]),
        ("associated=false", vec!["alone"]),
        ("associated=true&free=P", vec!["w0", "w3"]),
        ("name=a%20part&prefix=al", vec!["alone"]),
        ("name=other", vec![]),
        ("prefix=%25", vec![]),
    ] {
        let page = found(&process, &format!("/api/v1/inventory/widgets?{query}")).await;
        assert_eq!(serials(&page), expected, "{query}");
    }
    let one = found(&process, "/api/v1/inventory/widgets/w1").await;
    assert_eq!(one["name"], "a part");
    let neighbours = found(&process, "/api/v1/inventory/widgets/w1/neighbours").await;
    assert_eq!(serials(&neighbours), ["w0", "w2"]);
    for (path, status) in [
        ("widgets/none", 404),
        ("widgets/none/neighbours", 404),
        ("widgets?limit=0", 400),
        ("widgets?limit=501", 400),
        ("widgets?port=X", 400),
        ("widgets?colour=red", 400),
        ("widgets?cursor=nonsense", 400),
        ("widgets?prefix=%00", 400),
        ("widgets/w1/component?limit=0", 400),
        ("path?from=w1", 400),
        ("path?from=w1&to=none", 404),
    ] {
        let answer = get(&process, &format!("/api/v1/inventory/{path}")).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    process.stop().await;
}

async fn what_hangs_together_is_found_within_bounds(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    chain(&process, 12).await;
    let whole = found(&process, "/api/v1/inventory/widgets/w5/component").await;
    assert_eq!(whole["widgets"].as_array().unwrap().len(), 12);
    assert_eq!(whole["complete"], true);
    let part = found(&process, "/api/v1/inventory/widgets/w5/component?limit=5").await;
    assert_eq!(part["widgets"].as_array().unwrap().len(), 5);
    assert_eq!(part["complete"], false);
    let way = found(&process, "/api/v1/inventory/path?from=w9&to=w6").await;
    assert_eq!(
        way,
        json!({"found": true, "complete": true, "steps": [
            {"from": "w9", "to": "w8", "port": "Q"},
            {"from": "w8", "to": "w7", "port": "P"},
            {"from": "w7", "to": "w6", "port": "Q"},
        ]})
    );
    // A ring has a shorter way round.
    process.pair("associate_widgets", "w0", "w11", "R").await;
    let way = found(&process, "/api/v1/inventory/path?from=w1&to=w10").await;
    assert_eq!(way["steps"].as_array().unwrap().len(), 3);
    let none = found(&process, "/api/v1/inventory/path?from=w1&to=alone").await;
    assert_eq!(none, json!({"found": false, "complete": true, "steps": []}));
    let here = found(&process, "/api/v1/inventory/path?from=w1&to=w1").await;
    assert_eq!(here, json!({"found": true, "complete": true, "steps": []}));
    process.stop().await;
}

async fn counts_tell_slots_and_associations(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    chain(&process, 4).await;
    let counts = found(&process, "/api/v1/inventory/statistics").await;
    assert_eq!(counts["widgets"], 5);
    let p = json!({"slots": 6, "free": 4, "associations": 1});
    assert_eq!(counts["ports"]["P"], p);
    let q = json!({"slots": 4, "free": 0, "associations": 2});
    assert_eq!(counts["ports"]["Q"], q);
    assert_eq!(counts["widgets_by_associations"], json!([1, 2, 2, 0]));
    assert_eq!(counts["widgets_by_ports"], json!({"PP": 1, "PQR": 4}));
    process.stop().await;
}

async fn put(process: &Process, path: &str, body: &Value) -> Answer {
    let request = Request::builder().method(Method::PUT).uri(path);
    let request = request.header("content-type", "application/json");
    process.request(request, Body::from(body.to_string())).await
}

async fn what_a_node_is_made_of_stands_in_the_journal(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    let mut tx = process.db.write().await.unwrap();
    tx.execute(
        "INSERT INTO nodes (id, name, url, kind, tags, weight, draining, source, created_at, updated_at)
         VALUES ('n1', 'gpu', 'http://127.0.0.1:9', 'ollama', '[]', 1, FALSE, 'api', 1, 1)",
        (),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    chain(&process, 2).await;
    let path = "/api/v1/nodes/n1/hardware";
    for parts in [json!(["w1", "w0"]), json!(["w0", "w1", "w1"]), json!([])] {
        let answer = put(&process, path, &json!({"parts": parts})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        // The other way round, too.
        let nodes: &[&str] = if parts == json!([]) { &[] } else { &["n1"] };
        let widget = found(&process, "/api/v1/inventory/widgets/w0").await;
        assert_eq!(widget["nodes"], json!(nodes), "{widget}");
    }
    for (path, parts, status) in [
        (path, json!(["w0", "absent"]), 404),
        ("/api/v1/nodes/n2/hardware", json!(["w0"]), 404),
        (path, json!("w0"), 400),
    ] {
        let answer = put(&process, path, &json!({"parts": parts})).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    // One record for each change, none for what stayed as it was or was refused.
    let records = found(&process, "/api/v1/audit?action=hardware.edit").await;
    let told: Vec<_> = records["items"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|one| {
            assert_eq!(one["actor_name"], "admin", "{one}");
            assert_eq!(one["subject_id"], "n1", "{one}");
            (one["old"]["parts"].clone(), one["new"]["parts"].clone())
        })
        .collect();
    let both = json!(["w0", "w1"]);
    assert_eq!(told, [(json!([]), both.clone()), (both, json!([]))]);
    process.stop().await;
}

async fn readers_read_and_strangers_do_not(store: TestStore) {
    let mut process = Process::start(&store, InventoryConfig::default()).await;
    let body = json!({"name": "r", "scopes": ["inventory:read"]}).to_string();
    let reader = process.send("/api/v1/keys", &body).await.body["secret"].clone();
    process.act_as(reader.as_str());
    found(&process, "/api/v1/inventory/widgets").await;
    assert_eq!(import(&process, "format=csv", "a,n,P\n").await.status, 403);
    process.act_as(None);
    for path in [
        "widgets",
        "statistics",
        "check",
        "export",
        "path?from=a&to=b",
    ] {
        let answer = get(&process, &format!("/api/v1/inventory/{path}")).await;
        assert_eq!(answer.status, 401, "{path}");
    }
    assert_eq!(import(&process, "format=csv", "a,n,P\n").await.status, 401);
    process.stop().await;
}
