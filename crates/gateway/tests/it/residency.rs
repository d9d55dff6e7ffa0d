//! Models that do not fit beside each other: swaps are shared and nobody who generates is driven out.

use std::time::Duration;

use cluster::NodeSpec;
use remuda_gateway::ModelRouting;
use serde_json::{Value, json};
use testbed::{Fault, Flavour, Gate, ScriptedModel, ScriptedUpstream, TestClient};

use crate::rig::{PATIENCE, Rig};

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

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_held_node_hears_why() -> anyhow::Result<()> {
    let rig = Rig::over(vec![cramped("only")?], |_| {}).await?;
    let gate = Gate::closed();
    rig.nodes[0].edit_script(|script| script.gate = Some((0, gate.clone())));
    let client = rig.client.clone();
    let first = tokio::spawn(async move { client.post(CHAT, &ask("first")).await });
    rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
    let client = rig.client.clone();
    let second = tokio::spawn(async move { client.post(CHAT, &ask("second")).await });
    testbed::wait_until("the second waits", PATIENCE, || {
        rig.metric("remuda_queue_waiting{class=\"default\"}") == Some(1.0)
    })
    .await?;
    assert_eq!(rig.nodes[0].counters().inference, 1, "it is not sent yet");
    gate.open();
    assert_eq!(first.await??.status, 200);
    let second = second.await??;
    assert_eq!(second.status, 200, "{}", second.text());
    let id = second.headers["x-request-id"].to_str()?.to_owned();
    rig.record(&id).await?;
    let admin = rig.admin().await?;
    let shown = admin
        .get(&format!("/api/v1/inference/requests/{id}"))
        .await?
        .json()?;
    let reasons = shown["attempts"][0]["candidates"][0]["reasons"].to_string();
    assert!(
        reasons.contains("the node's memory is taken by models that generate"),
        "{shown}"
    );
    assert_eq!(
        rig.metric("remuda_model_loads_total{cause=\"call\"}"),
        Some(1.0)
    );
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_clients_of_three_models_are_all_served() -> anyhow::Result<()> {
    let node = ScriptedUpstream::builder(Flavour::Ollama)
        .name("only")
        .model(ScriptedModel::chat("first:latest").loaded())
        .model(ScriptedModel::chat("second:latest"))
        .model(ScriptedModel::chat("third:latest"))
        .start()?;
    node.edit_script(|script| {
        script.room = Some(2);
        script.load_delay = Duration::from_millis(10);
    });
    let rig = Rig::over(vec![node], |_| {}).await?;
    let clients: Vec<_> = ["first", "second", "third"]
        .into_iter()
        .flat_map(|model| [model, model])
        .map(|model| tokio::spawn(ask_often(rig.client.clone(), model, 32)))
        .collect();
    for client in clients {
        client.await??;
    }
    let counters = rig.nodes[0].counters();
    assert_eq!(counters.evicted_busy, 0, "whoever generates stays");
    assert!(counters.loads <= 40, "{} loads", counters.loads);
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_has_one_more_copy_loaded() -> anyhow::Result<()> {
    // So large that no single call is worth the load.
    let large = ScriptedModel {
        size_bytes: 40_000_000_000,
        ..ScriptedModel::chat("large:latest")
    };
    let node = |name: &str, model: ScriptedModel| {
        ScriptedUpstream::builder(Flavour::Ollama)
            .name(name)
            .model(model)
            .start()
    };
    let nodes = vec![node("a", large.clone().loaded())?, node("b", large)?];
    let rig = Rig::narrow(nodes, Some(1), |_| {}).await?;
    let gate = Gate::closed();
    rig.nodes[0].edit_script(|script| script.gate = Some((0, gate.clone())));
    let mut calls = Vec::new();
    let send = || {
        let client = rig.client.clone();
        tokio::spawn(async move { client.post(CHAT, &ask("large")).await })
    };
    calls.push(send());
    rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
    for _ in 0..3 {
        calls.push(send());
    }
    rig.nodes[1].wait_for(|c| c.loads == 1).await?;
    let asked = rig.nodes[1].requests_to("/api/generate");
    assert_eq!(asked.len(), 1, "told once");
    assert_eq!(asked[0].json()["keep_alive"], "5m");
    assert_eq!(asked[0].json()["prompt"], Value::Null);
    // The new copy serves those who wait, while the other one is still busy.
    rig.nodes[1].wait_for(|c| c.ended == 4).await?;
    gate.open();
    for call in calls {
        let reply = call.await??;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(
        rig.metric("remuda_model_loads_total{cause=\"ahead\"}"),
        Some(1.0)
    );
    assert_eq!(rig.nodes[1].counters().loads, 1);
    rig.shutdown().await;
    Ok(())
}

/// Two nodes that have a model on disk and take a while to load it, and so many calls at once.
async fn two_cold(max_in_flight: u32, load_delay: Duration) -> anyhow::Result<Rig> {
    let nodes = ["a", "b"].map(|name| {
        ScriptedUpstream::builder(Flavour::Ollama)
            .name(name)
            .model(ScriptedModel::chat("cold:latest"))
            .start()
    });
    let nodes = nodes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    for node in &nodes {
        node.edit_script(|script| script.load_delay = load_delay);
    }
    Rig::narrow(nodes, Some(max_in_flight), |_| {}).await
}

/// Waits until one of two nodes has a call; returns the number of that one and of the other.
async fn the_busy_one(rig: &Rig) -> anyhow::Result<(usize, usize)> {
    let busy = |at: usize| rig.nodes[at].counters().in_flight > 0;
    testbed::wait_until("one is busy", PATIENCE, || busy(0) || busy(1)).await?;
    Ok(if busy(0) { (0, 1) } else { (1, 0) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_while_it_loads_keeps_no_other_from_loading() -> anyhow::Result<()> {
    let rig = two_cold(1, Duration::from_mins(2)).await?;
    let send = || {
        let client = rig.client.clone();
        tokio::spawn(async move { client.post(CHAT, &ask("cold")).await })
    };
    let first = send();
    let (lost, other) = the_busy_one(&rig).await?;
    rig.nodes[other].edit_script(|script| script.load_delay = Duration::ZERO);
    let second = send();
    testbed::wait_until("the second waits", PATIENCE, || {
        rig.metric("remuda_queue_waiting{class=\"default\"}") == Some(1.0)
    })
    .await?;
    // Its connections stay, and nothing comes over them: as when the power is gone.
    rig.nodes[lost].edit_script(|script| script.probe_fault = Some(Fault::CloseBeforeFirstByte));
    let second = tokio::time::timeout(Duration::from_mins(1), second).await???;
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(rig.nodes[other].counters().loads, 1);
    assert_eq!(rig.nodes[lost].counters().in_flight, 1, "that one hangs");
    first.abort();
    rig.wait_until_idle().await?;
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_ahead_of_need_that_failed_is_not_repeated_at_once() -> anyhow::Result<()> {
    let large = ScriptedModel {
        size_bytes: 40_000_000_000,
        ..ScriptedModel::chat("large:latest")
    };
    let node = |name: &str, model: ScriptedModel| {
        ScriptedUpstream::builder(Flavour::Ollama)
            .name(name)
            .model(model)
            .start()
    };
    let nodes = vec![node("a", large.clone().loaded())?, node("b", large)?];
    let rig = Rig::narrow(nodes, Some(1), |_| {}).await?;
    let gate = Gate::closed();
    rig.nodes[0].edit_script(|script| script.gate = Some((0, gate.clone())));
    rig.nodes[1].edit_script(|script| script.fault = Some(Fault::status(500)));
    let send = || {
        let client = rig.client.clone();
        tokio::spawn(async move { client.post(CHAT, &ask("large")).await })
    };
    let mut calls = vec![send()];
    rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
    let tried = || rig.nodes[1].requests_to("/api/generate").len();
    for waiting in 1..=12 {
        calls.push(send());
        let expected = Some(f64::from(waiting));
        testbed::wait_until("one more waits", PATIENCE, || {
            rig.metric("remuda_queue_waiting{class=\"default\"}") == expected
        })
        .await?;
        if waiting >= 3 {
            testbed::wait_until("it was tried", PATIENCE, || tried() > 0).await?;
            rig.nodes[1].wait_for(|c| c.in_flight == 0).await?;
        }
    }
    gate.open();
    for call in calls {
        let reply = call.await??;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(tried(), 1);
    rig.shutdown().await;
    Ok(())
}

/// What Ollama takes for "load this model" or, with a `keep_alive` of nothing, "unload it".
fn about_memory(model: &str, keep_alive: &str) -> Value {
    json!({"model": model, "keep_alive": keep_alive})
}

#[tokio::test(flavor = "multi_thread")]
async fn unloading_a_model_counts_as_no_load_and_drives_nobody_out() -> anyhow::Result<()> {
    let rig = Rig::over(vec![cramped("only")?], |_| {}).await?;
    let series = "remuda_model_loads_total{cause=\"call\"}";
    let begun = || rig.metric(series).unwrap_or(0.0) as u64;
    for _ in 0..3 {
        let reply = rig
            .client
            .post("/api/generate", &about_memory("second", "0s"))
            .await?;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(begun(), 0);
    ask_often(rig.client.clone(), "first", 1).await?;
    assert_eq!(begun(), 0, "the first one is there still");
    assert_eq!(rig.nodes[0].counters().loads, 0);
    let reply = rig
        .client
        .post("/api/generate", &about_memory("second", "5m"))
        .await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(begun(), 1, "this was one");
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_loads_and_unloads_a_model_at_a_node() -> anyhow::Result<()> {
    let nodes = ["a", "b"].map(|name| {
        ScriptedUpstream::builder(Flavour::Ollama)
            .name(name)
            .model(ScriptedModel::chat("cold:latest"))
            .start()
    });
    let mut nodes = nodes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    nodes.push(ScriptedUpstream::builder(Flavour::Vllm).name("c").start()?);
    let rig = Rig::over(nodes, |_| {}).await?;
    let admin = rig.admin().await?;
    let tell = async |verb: &str, body: Value| {
        let answer = admin.post(&format!("/api/v1/models/{verb}"), &body).await?;
        anyhow::Ok((answer.status.as_u16(), answer.json()?))
    };
    let refused = rig
        .client
        .post("/api/v1/models/load", &json!({"model": "cold"}))
        .await?;
    assert!(matches!(refused.status.as_u16(), 401 | 403));
    for model in ["cold", "cold:latest"] {
        let body = json!({"model": model, "node": "b", "keep_alive": -1});
        let (status, told) = tell("load", body).await?;
        assert_eq!((status, &told["nodes"]), (200, &json!(["b"])), "{told}");
    }
    assert_eq!(rig.nodes[0].counters().loads, 0);
    assert_eq!(
        rig.nodes[1].counters().loads,
        1,
        "the second time it was there"
    );
    let asked = rig.nodes[1]
        .requests_to("/api/generate")
        .pop()
        .map(|r| r.json());
    assert_eq!(
        asked.map(|body| body["keep_alive"].clone()),
        Some(json!(-1))
    );
    // The node may not have been asked since: what was loaded through us is known.
    let (status, told) = tell("unload", json!({"model": "cold"})).await?;
    assert_eq!((status, &told["nodes"]), (200, &json!(["b"])), "{told}");
    for (verb, body, expected) in [
        ("load", json!({"model": "nowhere"}), 404),
        ("load", json!({"model": "cold", "node": "c"}), 404),
        ("load", json!({"model": "cold", "node": "z"}), 404),
        ("load", json!({"model": "cold", "keep_alive": 0}), 400),
        ("load", json!({"model": "cold", "keep_alive": "soon"}), 400),
        ("load", json!({"model": "cold", "keep_alive": "0m"}), 400),
        ("load", json!({"model": "test-model", "node": "c"}), 200),
        ("unload", json!({"model": "test-model", "node": "c"}), 400),
    ] {
        let (status, told) = tell(verb, body.clone()).await?;
        assert_eq!(status, expected, "{verb} {body}: {told}");
    }
    rig.nodes[0].kill();
    rig.nodes[1].kill();
    let (status, told) = tell("load", json!({"model": "cold", "node": "a"})).await?;
    assert!(matches!(status, 502 | 503), "{status}: {told}");
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_a_node_may_never_serve_does_not_end_its_turn() -> anyhow::Result<()> {
    let tagged = ScriptedUpstream::builder(Flavour::Ollama)
        .name("tagged")
        .model(ScriptedModel::chat("second:latest").loaded())
        .start()?;
    let rig = Rig::narrow(vec![tagged, cramped("plain")?], Some(1), |config| {
        let routing = ModelRouting {
            require_tags: vec!["gpu".to_owned()],
            ..ModelRouting::default()
        };
        config.models.insert("second".to_owned(), routing);
    })
    .await?;
    let specs = rig.nodes.iter().map(|node| {
        let mut spec = NodeSpec::new(node.name(), node.url());
        spec.max_in_flight = Some(1);
        if node.name() == "tagged" {
            spec.tags = vec!["gpu".to_owned()];
        }
        spec
    });
    rig.registry.sync_config(specs.collect()).await?;
    testbed::wait_until("the tag is known", PATIENCE, || {
        let snapshot = rig.registry.snapshot();
        let node = snapshot.find_node_named("tagged");
        node.is_some_and(|node| !node.tags.is_empty() && node.is_routable())
    })
    .await?;
    let gate = Gate::closed();
    rig.nodes[0].edit_script(|script| script.gate = Some((0, gate.clone())));
    let send = || {
        let client = rig.client.clone();
        tokio::spawn(async move { client.post(CHAT, &ask("second")).await })
    };
    let running = send();
    rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
    let waiting = send();
    testbed::wait_until("the other one waits", PATIENCE, || {
        rig.metric("remuda_queue_waiting{class=\"default\"}") == Some(1.0)
    })
    .await?;
    // More calls than a turn has while somebody waits for the node.
    for _ in 0..40 {
        let reply = rig.client.post(CHAT, &ask("first")).await?;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(!reply.headers.contains_key("x-remuda-queue-wait-ms"));
    }
    gate.open();
    for call in [running, waiting] {
        let reply = call.await??;
        assert_eq!(
            (
                reply.status.as_u16(),
                reply.headers["x-remuda-node"].to_str()?
            ),
            (200, "tagged")
        );
    }
    assert_eq!(rig.nodes[1].counters().loads, 0);
    rig.shutdown().await;
    Ok(())
}
