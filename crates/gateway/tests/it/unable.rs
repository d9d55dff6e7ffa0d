//! No request waits for a node that could never serve it.

use anyhow::Context as _;
use scheduling::queue::QueueLimits;
use serde_json::{Value, json};
use testbed::{Flavour, Gate, ReplyStream, ScriptedUpstream};

use crate::rig::{PATIENCE, Rig};

/// What only Ollama has a setting for.
fn peculiar() -> Value {
    json!({"model": "test-model", "stream": false, "options": {"repeat_last_n": 8},
        "messages": [{"role": "user", "content": "hello"}]})
}

/// Nodes that take one call each, and stop in the middle of an answer until their gates open.
async fn occupied(flavours: &[Flavour]) -> anyhow::Result<(Rig, Vec<Gate>, Vec<ReplyStream>)> {
    let mut nodes = Vec::new();
    for (index, flavour) in flavours.iter().enumerate() {
        let name = format!("node{index}");
        nodes.push(ScriptedUpstream::builder(*flavour).name(&name).start()?);
    }
    let rig = Rig::narrow(nodes, Some(1), |_| {}).await?;
    let mut gates = Vec::new();
    for node in &rig.nodes {
        let gate = Gate::closed();
        node.edit_script(|script| script.gate = Some((1, gate.clone())));
        gates.push(gate);
    }
    let mut held = Vec::new();
    for _ in flavours {
        let body = json!({"model": "test-model", "stream": true, "messages": [{"role": "user", "content": "hold"}]});
        let mut stream = rig.client.stream("/v1/chat/completions", &body).await?;
        anyhow::ensure!(stream.chunk().await?.is_some(), "nothing began");
        held.push(stream);
    }
    Ok((rig, gates, held))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_the_node_that_can() -> anyhow::Result<()> {
    let (rig, gates, held) = occupied(&[Flavour::Other, Flavour::Ollama]).await?;
    let client = rig.client.clone();
    let waits = tokio::spawn(async move { client.post("/api/chat", &peculiar()).await });
    testbed::wait_until("it waits", PATIENCE, || {
        rig.metric("remuda_queue_waiting{class=\"default\"}") == Some(1.0)
    })
    .await?;
    // The one that cannot becomes free first.
    for gate in &gates {
        gate.open();
        testbed::wait_until("a node is free", PATIENCE, || {
            rig.nodes.iter().any(|node| node.counters().in_flight == 0)
        })
        .await?;
    }
    for stream in held {
        stream.whole().await?;
    }
    let reply = waits.await??;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.headers["x-remuda-node"], "node1");
    let id = reply.headers["x-request-id"].to_str()?;
    rig.record(id).await?;
    let path = format!("/api/v1/inference/requests/{id}");
    let record = rig.admin().await?.get(&path).await?.json()?;
    let attempts = record["attempts"].as_array().context("no attempts")?;
    assert_eq!(attempts.len(), 1, "{record}");
    let candidates = attempts[0]["candidates"].as_array().context("none")?;
    let unable = candidates.iter().find(|c| c["node"] == "node0");
    assert!(
        unable.is_some_and(|c| c["reasons"]
            .to_string()
            .contains("cannot do what this call asks")),
        "{record}"
    );
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_node_can_do_is_refused_while_all_are_busy() -> anyhow::Result<()> {
    let (rig, gates, held) = occupied(&[Flavour::Other]).await?;
    let reply = rig.client.post("/api/chat", &peculiar()).await?;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.text().contains("repeat_last_n"), "{}", reply.text());
    let wrong = json!({"model": "test-model", "messages": [{"role": 5}]});
    let reply = rig.client.post("/api/chat", &wrong).await?;
    assert_eq!(reply.status, 400, "{}", reply.text());
    gates.iter().for_each(Gate::open);
    for stream in held {
        stream.whole().await?;
    }
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_before_the_node_that_can_is_told_as_such() -> anyhow::Result<()> {
    let (rig, gates, held) = occupied(&[Flavour::Other, Flavour::Ollama]).await?;
    rig.gateway.set_queue_limits(QueueLimits {
        default: 1,
        organisation_percent: 100,
        ..QueueLimits::default()
    });
    let client = rig.client.clone();
    let waits = tokio::spawn(async move { client.post("/api/chat", &peculiar()).await });
    testbed::wait_until("it waits", PATIENCE, || {
        rig.metric("remuda_queue_waiting{class=\"default\"}") == Some(1.0)
    })
    .await?;
    let reply = rig.client.post("/api/chat", &peculiar()).await?;
    assert_eq!(reply.status, 429, "{}", reply.text());
    gates.iter().for_each(Gate::open);
    for stream in held {
        stream.whole().await?;
    }
    assert_eq!(waits.await??.status, 200);
    rig.shutdown().await;
    Ok(())
}
