//! Models that do not fit beside each other: swaps are shared and nobody who generates is driven out.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Flavour, ScriptedModel, ScriptedUpstream, TestClient};

use crate::rig::Rig;

const CHAT: &str = "/api/chat";

fn ask(model: &str) -> Value {
    json!({"model": model, "stream": false, "messages": [{"role": "user", "content": "[[testbed tokens=3]] x"}]})
}

/// A node with room for one of two models, which takes a moment to load one.
fn cramped(name: &str) -> anyhow::Result<ScriptedUpstream> {
    let node = ScriptedUpstream::builder(Flavour::Ollama)
        .name(name)
        .model(ScriptedModel::chat("first:latest").loaded())
        .model(ScriptedModel::chat("second:latest"))
        .start()?;
    node.edit_script(|script| {
        script.room = Some(1);
        script.load_delay = Duration::from_millis(20);
        script.token_delay = Duration::from_millis(1);
    });
    Ok(node)
}

/// Asks for one model so many times, one after the other.
async fn ask_often(client: TestClient, model: &'static str, times: usize) -> anyhow::Result<()> {
    for _ in 0..times {
        let reply = client.post(CHAT, &ask(model)).await?;
        anyhow::ensure!(reply.status == 200, "{}", reply.text());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_that_alternate_share_swaps() -> anyhow::Result<()> {
    let rig = Rig::over(vec![cramped("only")?], |_| {}).await?;
    let one = tokio::spawn(ask_often(rig.client.clone(), "first", 64));
    let two = tokio::spawn(ask_often(rig.client.clone(), "second", 64));
    one.await??;
    two.await??;
    let counters = rig.nodes[0].counters();
    assert!(counters.inference >= 128);
    // Sixteen calls for each model in turn make eight swaps; without holding there would be one for almost every call.
    assert!(
        (1..=24).contains(&counters.loads),
        "{} loads",
        counters.loads
    );
    assert_eq!(counters.evicted_busy, 0, "whoever generates stays");
    rig.wait_until_idle().await?;
    assert_eq!(rig.metric("remuda_queue_running"), Some(0.0));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_model_is_loaded_on_one_node_however_many_ask() -> anyhow::Result<()> {
    let nodes = ["a", "b", "c"].map(|name| {
        ScriptedUpstream::builder(Flavour::Ollama)
            .name(name)
            .model(ScriptedModel::chat("cold:latest"))
            .start()
    });
    let nodes = nodes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    for node in &nodes {
        node.edit_script(|script| script.load_delay = Duration::from_millis(300));
    }
    let rig = Rig::over(nodes, |_| {}).await?;
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let client = rig.client.clone();
            tokio::spawn(async move { client.post(CHAT, &ask("cold")).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await??.status, 200);
    }
    let loads: u64 = rig.nodes.iter().map(|node| node.counters().loads).sum();
    assert_eq!(loads, 1);
    rig.shutdown().await;
    Ok(())
}
