//! Embedding requests of several clients share calls, and nobody notices but by the time it takes.

use std::time::Duration;

use remuda_gateway::CoalescingRules;
use scheduling::PolicyName;
use serde_json::{Value, json};
use testbed::{Flavour, Gate, Reply, ScriptedModel, ScriptedUpstream, TestClient, wait_until};
use tokio::task::JoinHandle;

use crate::rig::{PATIENCE, Rig};

const OLLAMA: &str = "/api/embed";
const OPENAI: &str = "/v1/embeddings";

/// Waits for company until the call under way is done: nothing here goes by time.
const LONG: CoalescingRules = CoalescingRules {
    enabled: true,
    window: Duration::from_mins(1),
    max_inputs: 64,
    max_bytes: 1 << 20,
};

async fn rig(flavours: &[Flavour], rules: CoalescingRules) -> anyhow::Result<Rig> {
    Rig::narrow(nodes(flavours)?, None, |config| config.coalescing = rules).await
}

fn nodes(flavours: &[Flavour]) -> anyhow::Result<Vec<ScriptedUpstream>> {
    flavours
        .iter()
        .enumerate()
        .map(|(n, flavour)| {
            ScriptedUpstream::builder(*flavour)
                .name(&format!("node{n}"))
                .model(ScriptedModel::embedding("embedder").loaded())
                .model(ScriptedModel::embedding("other").loaded())
                .start()
        })
        .collect()
}

fn post(client: &TestClient, path: &'static str, body: Value) -> JoinHandle<anyhow::Result<Reply>> {
    let client = client.clone();
    tokio::spawn(async move { client.post(path, &body).await })
}

/// Lets one call begin and holds it at the node until the gate opens.
async fn hold(rig: &Rig) -> anyhow::Result<(Gate, JoinHandle<anyhow::Result<Reply>>)> {
    let gate = Gate::closed();
    for node in &rig.nodes {
        node.edit_script(|script| script.gate = Some((0, gate.clone())));
    }
    let held = post(
        &rig.client,
        OLLAMA,
        json!({"model": "embedder", "input": "hold"}),
    );
    wait_until("a call is held", PATIENCE, || {
        rig.nodes.iter().any(|node| node.counters().in_flight == 1)
    })
    .await?;
    Ok((gate, held))
}

/// Waits until so many requests wait for company.
async fn until_waiting(rig: &Rig, requests: f64) -> anyhow::Result<()> {
    wait_until("all have come in", PATIENCE, || {
        rig.metric("remuda_embedding_requests_waiting") == Some(requests)
    })
    .await
}

async fn until_in_flight(rig: &Rig, requests: f64) -> anyhow::Result<()> {
    wait_until("so many are in flight", PATIENCE, || {
        rig.metric("remuda_in_flight_requests") == Some(requests)
    })
    .await
}

/// Returns the inputs of the calls that reached a node, but for the one that held it.
fn calls(node: &ScriptedUpstream) -> Vec<Vec<String>> {
    let texts = |input: &Value| match input {
        Value::Array(items) => items.iter().map(text).collect(),
        one => vec![text(one)],
    };
    node.requests()
        .iter()
        .filter(|r| matches!(r.uri.path(), OLLAMA | OPENAI | "/api/embeddings"))
        .map(|r| texts(&r.json()["input"]))
        .filter(|inputs| *inputs != ["hold"])
        .collect()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_any_dialect_join_and_get_what_they_would_get_alone() -> anyhow::Result<()> {
    for flavour in [Flavour::Ollama, Flavour::Vllm] {
        let rig = rig(&[flavour], LONG).await?;
        let alone = TestClient::new(rig.nodes[0].address());
        let (gate, held) = hold(&rig).await?;
        let asked = |n: usize| match n % 3 {
            0 => (
                OPENAI,
                json!({"model": "embedder", "input": format!("text {n}")}),
            ),
            1 => (
                OPENAI,
                json!({"model": "embedder", "input": [format!("text {n}"), format!("more {n}")], "encoding_format": "base64"}),
            ),
            _ => (
                OLLAMA,
                json!({"model": "embedder", "input": format!("text {n}")}),
            ),
        };
        let sent: Vec<_> = (0..9)
            .map(|n| (n, post(&rig.client, asked(n).0, asked(n).1)))
            .collect();
        until_waiting(&rig, 9.0).await?;
        gate.open();
        anyhow::ensure!(held.await??.status == 200);
        let mut tokens = 0;
        for (n, reply) in sent {
            let reply = reply.await??;
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert_eq!(reply.headers["x-remuda-joined"], "9", "{flavour:?} {n}");
            assert_eq!(reply.headers["x-remuda-node"], "node0");
            let body = reply.json()?;
            let (path, question) = asked(n);
            tokens += body["usage"]["prompt_tokens"].as_u64().unwrap_or_default()
                + body["prompt_eval_count"].as_u64().unwrap_or_default();
            // Servers of OpenAI's kind do not speak Ollama: compared is what the node says in its own dialect.
            let own = if flavour == Flavour::Ollama {
                path
            } else {
                OPENAI
            };
            let expected = alone.post(own, &question).await?.json()?;
            let vectors = |body: &Value| match body.get("data") {
                Some(data) => data
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|d| d["embedding"].clone())
                    .collect(),
                None => body["embeddings"].clone(),
            };
            assert_eq!(vectors(&body), vectors(&expected), "{flavour:?} {n}");
        }
        let calls = calls(&rig.nodes[0]);
        let joined: Vec<_> = calls.iter().filter(|inputs| inputs.len() > 2).collect();
        assert_eq!(joined.len(), 1, "{calls:?}");
        assert_eq!(
            joined[0].len(),
            12,
            "nine requests, three of them with two texts"
        );
        // Each text has two words, and the parts add up to what the node counted.
        assert_eq!(tokens, 24);
        assert_eq!(
            rig.metric("remuda_embedding_requests_joined_total"),
            Some(9.0)
        );
        assert_eq!(
            rig.metric("remuda_embedding_inputs_per_call_count"),
            Some(2.0)
        );
        rig.wait_until_idle().await?;
        assert_eq!(rig.metric("remuda_queue_running"), Some(0.0));
        rig.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_place_goes_along_with_the_first_who_gets_one() -> anyhow::Result<()> {
    let rules = CoalescingRules {
        window: Duration::ZERO,
        ..LONG
    };
    let rig = Rig::narrow(nodes(&[Flavour::Ollama])?, Some(1), |config| {
        config.coalescing = rules;
    })
    .await?;
    let one = rig.with_new_key(json!({"name": "one"})).await?;
    let two = rig.with_new_key(json!({"name": "two"})).await?;
    let (gate, held) = hold(&rig).await?;
    let sent: Vec<_> = (0..12)
        .map(|n| {
            let client = if n < 6 { &one } else { &two };
            post(
                client,
                OLLAMA,
                json!({"model": "embedder", "input": format!("text {n}")}),
            )
        })
        .collect();
    wait_until("twelve wait", PATIENCE, || {
        rig.metric("remuda_queue_waiting{class=\"default\"}") == Some(12.0)
    })
    .await?;
    gate.open();
    held.await??;
    for reply in sent {
        let reply = reply.await??;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.headers["x-remuda-joined"], "12");
        assert!(reply.headers.contains_key("x-remuda-queue-wait-ms"));
    }
    assert_eq!(calls(&rig.nodes[0]).len(), 1);
    assert_eq!(
        rig.metric("remuda_queue_waiting{class=\"default\"}"),
        Some(0.0)
    );
    wait_until("nothing runs", PATIENCE, || {
        rig.metric("remuda_queue_running") == Some(0.0)
    })
    .await?;
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mistake_of_one_is_not_the_others() -> anyhow::Result<()> {
    for flavour in [Flavour::Ollama, Flavour::Vllm] {
        let rig = rig(&[flavour], LONG).await?;
        let (gate, held) = hold(&rig).await?;
        let bad = post(
            &rig.client,
            OPENAI,
            json!({"model": "embedder", "input": "[[testbed refuse]]"}),
        );
        let good: Vec<_> = (0..5)
            .map(|n| {
                post(
                    &rig.client,
                    OLLAMA,
                    json!({"model": "embedder", "input": format!("text {n}")}),
                )
            })
            .collect();
        until_waiting(&rig, 6.0).await?;
        gate.open();
        held.await??;
        let bad = bad.await??;
        assert_eq!(bad.status, 400, "{}", bad.text());
        assert!(
            bad.json()?["error"]["message"].is_string(),
            "{}",
            bad.text()
        );
        for reply in good {
            let reply = reply.await??;
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert!(
                !reply.headers.contains_key("x-remuda-joined"),
                "it went alone"
            );
        }
        assert_eq!(calls(&rig.nodes[0]).len(), 7, "one for all, then six alone");
        assert_eq!(rig.metric("remuda_embedding_joins_undone_total"), Some(1.0));
        rig.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_not_joined() -> anyhow::Result<()> {
    // Room for all of them at once.
    let rig = Rig::narrow(nodes(&[Flavour::Ollama])?, Some(16), |config| {
        config.coalescing = LONG;
    })
    .await?;
    let (gate, held) = hold(&rig).await?;
    let bodies = [
        json!({"model": "embedder", "input": "a", "truncate": false}),
        json!({"model": "embedder", "input": "a", "dimensions": 8}),
        json!({"model": "embedder", "input": "a", "keep_alive": "1m"}),
        json!({"model": "embedder", "input": "a", "options": {"num_thread": 2}}),
        json!({"model": "other", "input": "a"}),
    ];
    let mut sent: Vec<_> = bodies
        .iter()
        .map(|body| post(&rig.client, OLLAMA, body.clone()))
        .collect();
    // Its vectors are not normalised, as all others are.
    let old = json!({"model": "embedder", "prompt": "a"});
    sent.push(post(&rig.client, "/api/embeddings", old));
    rig.nodes[0].wait_for(|c| c.in_flight == 7).await?;
    gate.open();
    held.await??;
    for reply in sent {
        let reply = reply.await??;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(!reply.headers.contains_key("x-remuda-joined"));
    }
    let reply = rig
        .client
        .post(
            OLLAMA,
            &json!({"model": "embedder", "input": ["a", "b"], "dimensions": 8}),
        )
        .await?;
    assert_eq!(
        reply.json()?["embeddings"][1].as_array().map(Vec::len),
        Some(8)
    );
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_leaves_alone_and_the_last_one_ends_the_call() -> anyhow::Result<()> {
    let rig = rig(&[Flavour::Ollama], LONG).await?;
    let (gate, held) = hold(&rig).await?;
    let ask = |n: usize| json!({"model": "embedder", "input": format!("text {n}")});
    let mut sent: Vec<_> = (0..3).map(|n| post(&rig.client, OLLAMA, ask(n))).collect();
    until_waiting(&rig, 3.0).await?;
    let second = Gate::closed();
    rig.nodes[0].edit_script(|script| script.gate = Some((0, second.clone())));
    gate.open();
    held.await??;
    rig.nodes[0]
        .wait_for(|c| c.in_flight == 1 && c.inference == 2)
        .await?;
    // One leaves while the joined call is computed.
    sent.remove(0).abort();
    until_in_flight(&rig, 2.0).await?;
    assert_eq!(rig.nodes[0].counters().cancelled, 0);
    second.open();
    for reply in sent {
        assert_eq!(reply.await??.status, 200);
    }
    // All leave.
    let third = Gate::closed();
    rig.nodes[0].edit_script(|script| script.gate = Some((0, third.clone())));
    let first = post(&rig.client, OLLAMA, ask(7));
    rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
    let others: Vec<_> = (0..3).map(|n| post(&rig.client, OLLAMA, ask(n))).collect();
    until_waiting(&rig, 3.0).await?;
    first.abort();
    rig.nodes[0]
        .wait_for(|c| c.cancelled == 1 && c.in_flight == 1)
        .await?;
    others.iter().for_each(JoinHandle::abort);
    rig.nodes[0]
        .wait_for(|c| c.cancelled == 2 && c.in_flight == 0)
        .await?;
    rig.wait_until_idle().await?;
    wait_until("nothing is left", PATIENCE, || {
        rig.metric("remuda_queue_running") == Some(0.0)
            && rig.metric("remuda_in_flight_requests") == Some(0.0)
    })
    .await?;
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_is_divided_over_the_nodes_in_order() -> anyhow::Result<()> {
    let rules = CoalescingRules {
        max_inputs: 10,
        ..LONG
    };
    let rig = Rig::over(nodes(&[Flavour::Vllm, Flavour::Ollama])?, |config| {
        config.coalescing = rules;
        config.policy = PolicyName::RoundRobin;
    })
    .await?;
    let texts: Vec<String> = (0..95).map(|n| format!("text {n}")).collect();
    let body = json!({"model": "embedder", "input": texts});
    let reply = rig.client.post(OPENAI, &body).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.headers["x-remuda-parts"], "10");
    let expected = TestClient::new(rig.nodes[0].address())
        .post(OPENAI, &body)
        .await?
        .json()?;
    assert_eq!(reply.json()?["data"], expected["data"]);
    assert_eq!(reply.json()?["usage"], expected["usage"]);
    for node in &rig.nodes {
        assert!(node.counters().inference > 1, "{} had a part", node.name());
    }
    let id = reply.headers["x-request-id"].to_str()?.to_owned();
    rig.record(&id).await?;
    let admin = rig.admin().await?;
    let record = admin
        .get(&format!("/api/v1/inference/requests/{id}"))
        .await?
        .json()?;
    assert_eq!(
        record["attempts"].as_array().map(Vec::len),
        Some(10),
        "{record}"
    );
    assert_eq!(record["prompt_tokens"], 190, "{record}");
    // One bad text fails its own request, with the node's words for the whole of it.
    let mut texts = texts;
    texts[50] = "[[testbed refuse]]".to_owned();
    let reply = rig
        .client
        .post(OPENAI, &json!({"model": "embedder", "input": texts}))
        .await?;
    assert_eq!(reply.status, 400, "{}", reply.text());
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn records_say_who_was_joined_and_a_lost_node_costs_nobody_the_answer() -> anyhow::Result<()>
{
    let rig = Rig::over(nodes(&[Flavour::Vllm, Flavour::Vllm])?, |config| {
        config.coalescing = LONG;
        config.policy = PolicyName::RoundRobin;
    })
    .await?;
    let (gate, held) = hold(&rig).await?;
    let sent: Vec<_> = (0..4)
        .map(|n| {
            post(
                &rig.client,
                OPENAI,
                json!({"model": "embedder", "input": format!("text {n}")}),
            )
        })
        .collect();
    until_waiting(&rig, 4.0).await?;
    // The other node is next.
    let other = usize::from(rig.nodes[0].counters().in_flight == 1);
    rig.nodes[other].fail_next(testbed::Fault::status(500));
    gate.open();
    held.await??;
    let admin = rig.admin().await?;
    for reply in sent {
        let reply = reply.await??;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let id = reply.headers["x-request-id"].to_str()?.to_owned();
        rig.record(&id).await?;
        let record = admin
            .get(&format!("/api/v1/inference/requests/{id}"))
            .await?
            .json()?;
        let attempts = record["attempts"].as_array().cloned().unwrap_or_default();
        let last = attempts.last().cloned().unwrap_or_default();
        assert_eq!(last["joined"]["requests"], 4, "{record}");
        assert_eq!(last["joined"]["inputs"], 4, "{record}");
        assert!(
            attempts.iter().any(|a| a["failure"].is_string()),
            "{record}"
        );
        assert!(last["candidates"].is_array(), "{record}");
        assert_eq!(record["outcome"], "ok", "{record}");
        assert_eq!(record["prompt_tokens"], 2, "{record}");
        assert_eq!(record["node"], last["node"], "{record}");
    }
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_every_request_goes_as_it_came() -> anyhow::Result<()> {
    let rules = CoalescingRules {
        enabled: false,
        ..LONG
    };
    let rig = rig(&[Flavour::Ollama], rules).await?;
    let (gate, held) = hold(&rig).await?;
    let sent: Vec<_> = (0..3)
        .map(|n| {
            post(
                &rig.client,
                OLLAMA,
                json!({"model": "embedder", "input": format!("text {n}")}),
            )
        })
        .collect();
    rig.nodes[0].wait_for(|c| c.in_flight == 4).await?;
    gate.open();
    held.await??;
    for reply in sent {
        assert_eq!(reply.await??.status, 200);
    }
    assert_eq!(calls(&rig.nodes[0]).len(), 3);
    rig.shutdown().await;
    Ok(())
}
