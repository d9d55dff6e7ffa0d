//! What is changed of nodes: recorded with who did it, and refused where somebody was quicker.

use http::{Method, StatusCode};
use remuda_cluster::NodeSpec;
use serde_json::{Value, json};
use store::testing::TestStore;

use crate::bench::Bench;
use crate::server::Server;

store::on_every_engine!(
    every_change_of_a_node_is_recorded_with_who_made_it,
    what_the_program_changes_by_itself_is_recorded_too,
    a_change_is_refused_when_somebody_else_was_quicker,
    nodes_are_sorted_searched_and_counted,
);

/// Returns what was recorded of nodes, the oldest first.
async fn recorded(bench: &Bench) -> Vec<Value> {
    let page = bench.get("/api/v1/audit?limit=500").await;
    let mut records: Vec<Value> = page["items"].as_array().unwrap().clone();
    records.retain(|record| record["subject_kind"] == "node");
    records.reverse();
    records
}

async fn every_change_of_a_node_is_recorded_with_who_made_it(store: TestStore) {
    let server = Server::ollama(&["m"]).await;
    let bench = Bench::open(&store).await;
    let body = json!({"name": "gpu1", "url": server.url(), "api_key": "sesame", "weight": 2.0});
    let (_, added) = bench.call(Method::POST, "/api/v1/nodes", Some(body)).await;
    let path = "/api/v1/nodes/gpu1";
    bench
        .call(
            Method::PUT,
            path,
            Some(json!({"weight": 3.0, "api_key": "another"})),
        )
        .await;
    for step in ["drain", "drain", "undrain"] {
        bench
            .call(Method::POST, &format!("{path}/{step}"), None)
            .await;
    }
    bench
        .call(Method::PUT, path, Some(json!({"url": "no url"})))
        .await;
    bench.call(Method::DELETE, path, None).await;
    let records = recorded(&bench).await;
    let actions: Vec<_> = records
        .iter()
        .map(|record| record["action"].as_str().unwrap())
        .collect();
    let expected = [
        "node.add",
        "node.edit",
        "node.drain",
        "node.undrain",
        "node.remove",
    ];
    assert_eq!(actions, expected, "what changed nothing is not recorded");
    for record in &records {
        assert_eq!(record["actor_name"], "admin");
        assert_eq!(record["subject_id"], added["id"]);
        let text = record.to_string();
        assert!(
            !text.contains("sesame") && !text.contains("another\""),
            "{text}"
        );
    }
    assert_eq!(records[0]["new"]["url"], server.url());
    assert_eq!(records[1]["old"]["weight"], 2.0);
    assert_eq!(records[1]["new"]["weight"], 3.0);
    assert_eq!(records[1]["new"]["credential"], "another one");
    assert_eq!(records[4]["old"]["name"], "gpu1");
    assert_eq!(bench.get("/api/v1/audit/verify").await["whole"], true);
}

async fn what_the_program_changes_by_itself_is_recorded_too(store: TestStore) {
    let server = Server::ollama(&["m"]).await;
    let bench = Bench::open(&store).await;
    let spec = |weight| NodeSpec {
        weight: Some(weight),
        ..NodeSpec::new("a", server.url())
    };
    bench.registry.sync_config(vec![spec(1.0)]).await.unwrap();
    bench.registry.sync_config(vec![spec(1.0)]).await.unwrap();
    bench.registry.sync_config(vec![spec(2.0)]).await.unwrap();
    bench.registry.sync_config(Vec::new()).await.unwrap();
    let records = recorded(&bench).await;
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record["action"].as_str().unwrap(),
                record["actor_kind"].as_str().unwrap(),
            )
        })
        .collect();
    let by_itself = ["node.add", "node.edit", "node.remove"].map(|action| (action, "system"));
    assert_eq!(told, by_itself);
}

async fn a_change_is_refused_when_somebody_else_was_quicker(store: TestStore) {
    let server = Server::ollama(&["m"]).await;
    let bench = Bench::open(&store).await;
    bench.add("a", &server.url()).await;
    let path = "/api/v1/nodes/a";
    let before = bench.version(path).await;
    let (status, after) = bench.put_if(path, &before, json!({"weight": 2.0})).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(after, before);
    assert_eq!(bench.version(path).await, after);
    let (status, _) = bench.put_if(path, &before, json!({"weight": 3.0})).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(bench.get(path).await["weight"], 2.0);
    // Another process has not heard of the change yet.
    let there = Bench::open(&store).await;
    let (status, _) = bench.put_if(path, &after, json!({"weight": 4.0})).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = there.put_if(path, &after, json!({"weight": 5.0})).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    let after = bench.version(path).await;
    // A drain is a change too.
    bench
        .call(Method::POST, &format!("{path}/drain"), None)
        .await;
    let (status, _) = bench.put_if(path, &after, json!({"weight": 3.0})).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
}

async fn nodes_are_sorted_searched_and_counted(store: TestStore) {
    let bench = Bench::open(&store).await;
    for (name, port) in [("b", 1), ("Attic", 2), ("c-attic", 3)] {
        // Nothing listens there: the node is added with a warning.
        bench.add(name, &format!("http://127.0.0.1:{port}")).await;
    }
    for (query, names, total) in [
        ("", vec!["Attic", "b", "c-attic"], 3),
        ("?sort=-name&limit=1", vec!["c-attic"], 3),
        ("?q=ATTIC", vec!["Attic", "c-attic"], 2),
        ("?q=attic&offset=1", vec!["c-attic"], 2),
    ] {
        let page = bench.get(&format!("/api/v1/nodes{query}")).await;
        let items = page["items"].as_array().unwrap();
        let found: Vec<_> = items
            .iter()
            .map(|node| node["name"].as_str().unwrap())
            .collect();
        assert_eq!((found, &page["total"]), (names, &json!(total)), "{query}");
    }
}
