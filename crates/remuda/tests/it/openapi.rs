//! The description of the API is the one that is kept beside the code, and says what the program does.

use std::collections::BTreeSet;

use serde_json::Value;
use testbed::System;

use crate::golden::assert_golden;

/// Returns the description of a running program.
pub(crate) async fn description(system: &System) -> Value {
    let reply = system.client().get("/api/v1/openapi.json").await.unwrap();
    assert_eq!(reply.headers["content-type"], "application/json");
    reply.json().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kept_description_is_the_served_one() {
    let system = System::builder().start().await.unwrap();
    let mut text = serde_json::to_string_pretty(&description(&system).await).unwrap();
    text.push('\n');
    assert_golden("docs/openapi.json", &text);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_described_whole() {
    let system = System::builder().start().await.unwrap();
    let description = description(&system).await;
    assert_eq!(description["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let named = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{named}: {id} is taken");
            assert!(operation["summary"].is_string(), "{named} has no summary");
            assert!(operation["tags"][0].is_string(), "{named} has no tag");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let types: Vec<_> = answer["content"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .collect();
                let problem = status.starts_with('4') || status.starts_with('5');
                // Errors of a query are an answer of GraphQL.
                let queried = path == "/api/v1/graphql";
                for (content_type, _) in &types {
                    let expected = if path.starts_with("/rpc/") {
                        // In the words of the interface that these come from.
                        "application/json"
                    } else if problem && !(queried && *content_type == "application/json") {
                        "application/problem+json"
                    } else if path.ends_with("/events") {
                        "text/event-stream"
                    } else {
                        "application/json"
                    };
                    assert_eq!(*content_type, expected, "{named} {status}");
                }
                assert!(
                    !problem || !types.is_empty(),
                    "{named} {status} has no body"
                );
            }
            // Parameters of the path are declared, all of them.
            let declared = operation["parameters"].as_array().into_iter().flatten();
            let declared = declared
                .filter(|parameter| parameter["in"] == "path")
                .count();
            assert_eq!(declared, path.matches('{').count(), "{named}");
        }
    }
    system.stop().await;
}

/// Lists the places below a value at which something is to be of several types at once.
fn contradictions(place: &str, value: &Value, found: &mut Vec<String>) {
    let parts = value["allOf"].as_array().into_iter().flatten();
    let types: BTreeSet<String> = parts
        .filter_map(|part| part.get("type"))
        .map(Value::to_string)
        .collect();
    if types.len() > 1 {
        found.push(format!("{place}: {types:?}"));
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                contradictions(&format!("{place}/{name}"), member, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                contradictions(place, item, found);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_described_can_be() {
    let system = System::builder().start().await.unwrap();
    let mut found = Vec::new();
    contradictions("", &description(&system).await, &mut found);
    assert_eq!(found, Vec::<String>::new());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_the_description_needs_nothing_from_elsewhere() {
    let system = System::builder().start().await.unwrap();
    let page = system.client().get("/docs/").await.unwrap();
    assert_eq!(page.status, 200);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self'"), "{policy}");
    let text = page.text();
    assert!(!text.contains("https://") && !text.contains("http://"));
    let mut files = 0;
    for part in text.split('"').filter(|part| part.starts_with("/docs/")) {
        let file = system.client().get(part).await.unwrap();
        assert_eq!(file.status, 200, "{part}");
        assert!(!file.text().contains("innerHTML"), "{part}");
        files += 1;
    }
    assert_eq!(files, 2);
    let moved = system.client().get("/docs").await.unwrap();
    assert_eq!(moved.headers["location"], "/docs/");
    system.stop().await;
}
