//! Requests of routes that only nodes know are limited, recorded, counted and retried like any other.

use anyhow::Context as _;
use remuda_gateway::ModelRouting;
use scheduling::Variant;
use serde_json::{Value, json};
use testbed::{Flavour, Reply};

use crate::rig::Rig;

fn rerank(model: &str) -> Value {
    json!({"model": model, "query": "a", "documents": ["b", "c"]})
}

/// Waits for the record of an answer, and returns it as administrators see it.
async fn told(rig: &Rig, reply: &Reply) -> anyhow::Result<Value> {
    let id = reply.headers["x-request-id"].to_str()?;
    rig.record(id).await?;
    let path = format!("/api/v1/inference/requests/{id}");
    rig.admin().await?.get(&path).await?.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_request_has_a_record_and_is_counted() -> anyhow::Result<()> {
    let rig = Rig::start_with(&[Flavour::Vllm], |config| {
        config
            .aliases
            .insert("ranker".to_owned(), "test-model".to_owned());
    })
    .await?;
    // This server has no such route either, and its answer is passed on.
    let reply = rig.client.post("/v1/rerank", &rerank("ranker")).await?;
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert_eq!(reply.json()?, json!({"detail": "Not Found"}));
    assert_eq!(reply.headers["x-remuda-node"], "node0");
    let record = told(&rig, &reply).await?;
    for (field, value) in [
        ("operation", json!("openai_other")),
        ("dialect", json!("openai")),
        ("requested_model", json!("ranker")),
        ("model", json!("test-model")),
        ("node", json!("node0")),
        ("status", json!(404)),
        ("outcome", json!("client_error")),
        ("retries", json!(0)),
    ] {
        assert_eq!(record[field], value, "{field} of {record}");
    }
    let attempts = record["attempts"].as_array().context("no attempts")?;
    assert_eq!(attempts.len(), 1, "{record}");
    assert_eq!(attempts[0]["path"], "/v1/rerank");
    assert_eq!(attempts[0]["candidates"][0]["node"], "node0");
    let counted = r#"remuda_requests_total{operation="openai_other",outcome="client_error"}"#;
    assert_eq!(rig.metric(counted), Some(1.0));
    let of_pair =
        r#"remuda_model_requests_total{model="test-model",node="node0",outcome="client_error"}"#;
    assert_eq!(rig.metric(of_pair), Some(1.0));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_of_a_forwarded_request_is_recorded_and_noise_is_only_counted()
-> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm]).await?;
    let reply = rig.client.post("/v1/rerank", &rerank("nobody")).await?;
    assert_eq!(reply.status, 404, "{}", reply.text());
    let record = told(&rig, &reply).await?;
    assert_eq!(record["requested_model"], "nobody");
    assert_eq!(record["outcome"], "client_error");
    assert_eq!(record["attempts"], json!([]));
    let counted = r#"remuda_requests_total{operation="openai_other",outcome="client_error"}"#;
    assert_eq!(rig.metric(counted), Some(1.0));
    let reply = rig.client.post("/v1/rerank", &json!({"query": 1})).await?;
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert_eq!(rig.metric(counted), Some(2.0));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_request_goes_past_a_node_that_cannot_be_reached() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm, Flavour::Vllm]).await?;
    rig.nodes[0].kill();
    let mut retries = 0;
    for _ in 0..6 {
        let reply = rig.client.post("/v1/rerank", &rerank("test-model")).await?;
        assert_eq!(reply.headers["x-remuda-node"], "node1", "{}", reply.text());
        let record = told(&rig, &reply).await?;
        assert_eq!(record["node"], "node1", "{record}");
        retries += record["retries"].as_i64().context("no retries")?;
    }
    // Until the node is known to be away it is asked first.
    let counted = rig.metric(r#"remuda_retries_total{reason="connect"}"#);
    assert_eq!(counted.unwrap_or_default() as i64, retries);
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_requests_under_way_holds_for_forwarded_ones() -> anyhow::Result<()> {
    let rig = Rig::start_with(&[Flavour::Vllm], |config| config.max_in_flight = 0).await?;
    let reply = rig.client.post("/v1/rerank", &rerank("test-model")).await?;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.headers["retry-after"], "1");
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn splits_and_tags_hold_for_forwarded_requests() -> anyhow::Result<()> {
    let rig = Rig::start_with(&[Flavour::Vllm], |config| {
        let half = ModelRouting {
            split: vec![Variant {
                model: "test-model".to_owned(),
                weight: 1,
            }],
            ..ModelRouting::default()
        };
        config.models.insert("halves".to_owned(), half);
    })
    .await?;
    let reply = rig.client.post("/v1/rerank", &rerank("halves")).await?;
    assert_eq!(reply.headers["x-remuda-model"], "test-model");
    let record = told(&rig, &reply).await?;
    assert_eq!(record["split"]["chosen"], "test-model", "{record}");
    rig.shutdown().await;

    let rig = Rig::start_with(&[Flavour::Vllm], |config| {
        let marked = ModelRouting {
            require_tags: vec!["here".to_owned()],
            ..ModelRouting::default()
        };
        config.models.insert("test-model".to_owned(), marked);
    })
    .await?;
    let reply = rig.client.post("/v1/rerank", &rerank("test-model")).await?;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(rig.nodes[0].requests_to("/v1/rerank").is_empty());
    rig.shutdown().await;
    Ok(())
}
