//! What happens under load to a fleet that changes, flaps or is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cluster::NodeSpec;
use scheduling::queue::QueueLimits;
use serde_json::{Value, json};
use testbed::{Flavour, ScriptedUpstream, TestClient, wait_until};
use tokio::task::JoinSet;

use crate::answers::openai_text;
use crate::rig::{PATIENCE, Rig};

const CHAT: &str = "/v1/chat/completions";

fn ask(stream: bool) -> Value {
    json!({"model": "test-model", "stream": stream, "messages": [{"role": "user", "content": "[[testbed tokens=6]] x"}]})
}

/// Clients that ask one thing after the other until told to stop.
struct Load {
    clients: JoinSet<anyhow::Result<()>>,
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(client: &TestClient, clients: usize) -> Self {
        let mut load = Self {
            clients: JoinSet::new(),
            answered: Arc::default(),
            stop: Arc::default(),
        };
        for number in 0..clients {
            let (client, answered, stop) =
                (client.clone(), load.answered.clone(), load.stop.clone());
            load.clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let stream = number % 2 == 0;
                    let reply = client.stream(CHAT, &ask(stream)).await?.whole().await?;
                    anyhow::ensure!(reply.status == 200, "{}", reply.text());
                    if stream {
                        openai_text(&reply.text())?;
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        load
    }

    /// Waits until so many more requests were answered.
    async fn go_on(&self, requests: usize) -> anyhow::Result<()> {
        let until = self.answered.load(Ordering::Relaxed) + requests;
        wait_until("requests are answered", PATIENCE, || {
            self.answered.load(Ordering::Relaxed) >= until
        })
        .await
    }

    /// Ends the load; every answer must have been a good one.
    async fn end(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client??;
        }
        Ok(())
    }
}

async fn nothing_left(rig: &Rig) -> anyhow::Result<()> {
    rig.wait_until_idle().await?;
    wait_until("nothing is left", PATIENCE, || {
        rig.metric("remuda_queue_running") == Some(0.0)
            && rig.metric("remuda_queue_waiting{class=\"default\"}") == Some(0.0)
            && rig.metric("remuda_in_flight_requests") == Some(0.0)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_flaps_under_load_costs_no_answer() -> anyhow::Result<()> {
    let nodes = vec![
        ScriptedUpstream::builder(Flavour::Vllm)
            .name("steady")
            .start()?,
        ScriptedUpstream::builder(Flavour::Ollama)
            .name("flaps")
            .start()?,
    ];
    let rig = Rig::narrow(nodes, Some(4), |_| {}).await?;
    let load = Load::start(&rig.client, 12);
    for _ in 0..12 {
        load.go_on(30).await?;
        rig.nodes[1].kill();
        load.go_on(30).await?;
        rig.nodes[1].restart()?;
    }
    load.end().await?;
    nothing_left(&rig).await?;
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_changes_under_load_costs_no_answer() -> anyhow::Result<()> {
    let nodes =
        ["a", "b", "c"].map(|name| ScriptedUpstream::builder(Flavour::Vllm).name(name).start());
    let nodes = nodes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let rig = Rig::narrow(nodes, Some(3), |_| {}).await?;
    let load = Load::start(&rig.client, 12);
    for round in 0..12_usize {
        load.go_on(20).await?;
        // One node leaves, the others change what they take.
        let specs = rig
            .nodes
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != round % 3)
            .map(|(index, node)| {
                let mut spec = NodeSpec::new(node.name(), node.url());
                spec.max_in_flight = Some(1 + (round + index) as u32 % 3);
                spec
            })
            .collect();
        rig.registry.sync_config(specs).await?;
        rig.gateway.set_queue_limits(QueueLimits {
            default: 100 + round as u32,
            organisation_percent: 100,
            ..QueueLimits::default()
        });
    }
    load.go_on(20).await?;
    load.end().await?;
    nothing_left(&rig).await?;
    rig.shutdown().await;
    Ok(())
}
