//! Calls that find no room wait in one fair queue, and nothing is lost, overtaken or leaked there.

use std::time::Duration;

use remuda_gateway::ModelRouting;
use scheduling::queue::QueueLimits;
use serde_json::{Value, json};
use testbed::{Flavour, Gate, Reply, ReplyStream, ScriptedModel, ScriptedUpstream, TestClient};
use tokio::task::JoinHandle;

use crate::answers::openai_text;
use crate::rig::{PATIENCE, Rig};

const CHAT: &str = "/v1/chat/completions";

fn ask(stream: bool, text: &str) -> Value {
    ask_of("test-model", stream, text)
}

fn ask_of(model: &str, stream: bool, text: &str) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]})
}

/// One node of a kind that takes so many calls at once.
async fn narrow(flavours: &[Flavour], max_in_flight: u32) -> anyhow::Result<Rig> {
    let nodes = flavours
        .iter()
        .enumerate()
        .map(|(n, flavour)| {
            ScriptedUpstream::builder(*flavour)
                .name(&format!("node{n}"))
                .start()
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Rig::narrow(nodes, Some(max_in_flight), |_| {}).await
}

/// Lets streams stop after their first token until the gate is opened.
fn close_gate(rig: &Rig) -> Gate {
    let gate = Gate::closed();
    for node in &rig.nodes {
        node.edit_script(|script| script.gate = Some((1, gate.clone())));
    }
    gate
}

/// Starts a stream and reads its first piece, so that it holds a place.
async fn hold(client: &TestClient, model: &str) -> anyhow::Result<ReplyStream> {
    let mut stream = client.stream(CHAT, &ask_of(model, true, "hold")).await?;
    anyhow::ensure!(stream.chunk().await?.is_some(), "nothing began");
    Ok(stream)
}

fn send(client: &TestClient, body: Value) -> JoinHandle<anyhow::Result<Reply>> {
    let client = client.clone();
    tokio::spawn(async move { client.post(CHAT, &body).await })
}

async fn until_waiting(rig: &Rig, class: &str, count: f64) -> anyhow::Result<()> {
    let series = format!("remuda_queue_waiting{{class=\"{class}\"}}");
    testbed::wait_until("so many wait", PATIENCE, || {
        rig.metric(&series) == Some(count)
    })
    .await
}

/// Returns what the node was asked, in the order of arrival, but for the calls that held it.
fn prompts(node: &ScriptedUpstream) -> Vec<String> {
    node.requests_to(CHAT)
        .iter()
        .filter_map(|r| Some(r.json()["messages"][0]["content"].as_str()?.to_owned()))
        .filter(|prompt| prompt != "hold")
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_never_gets_more_than_it_takes_and_everybody_is_answered() -> anyhow::Result<()> {
    let rig = narrow(&[Flavour::Vllm, Flavour::Ollama], 2).await?;
    let calls: Vec<_> = (0..200)
        .map(|n| send(&rig.client, ask(n % 2 == 0, "hello")))
        .collect();
    for call in calls {
        let reply = call.await??;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    for node in &rig.nodes {
        let most = node.counters().most_in_flight;
        assert!(most <= 2, "{} had {most} at once", node.name());
    }
    assert_eq!(rig.metric("remuda_queue_running"), Some(0.0));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_key_does_not_hold_up_another() -> anyhow::Result<()> {
    let rig = narrow(&[Flavour::Vllm], 1).await?;
    let greedy = rig.with_new_key(json!({"name": "greedy"})).await?;
    let modest = rig.with_new_key(json!({"name": "modest"})).await?;
    let gate = close_gate(&rig);
    let held = hold(&rig.client, "test-model").await?;
    let mut calls: Vec<_> = (0..30)
        .map(|_| send(&greedy, ask(false, "greedy")))
        .collect();
    until_waiting(&rig, "default", 30.0).await?;
    calls.extend((0..3).map(|_| send(&modest, ask(false, "modest"))));
    until_waiting(&rig, "default", 33.0).await?;
    gate.open();
    held.whole().await?;
    for call in calls {
        assert_eq!(call.await??.status, 200);
    }
    let order = prompts(&rig.nodes[0]);
    let last = order.iter().rposition(|p| p == "modest");
    assert!(last.is_some_and(|last| last < 10), "{order:?}");
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_uses_a_dear_model_gets_fewer_turns() -> anyhow::Result<()> {
    let node = ScriptedUpstream::builder(Flavour::Vllm)
        .model(ScriptedModel::chat("cheap-model"))
        .model(ScriptedModel::chat("dear-model"))
        .start()?;
    let rig = Rig::narrow(vec![node], Some(1), |config| {
        let dear = ModelRouting {
            cost: Some(10.0),
            ..ModelRouting::default()
        };
        let name = cluster::model_key("dear-model").into_owned();
        config.models.insert(name, dear);
    })
    .await?;
    let frugal = rig.with_new_key(json!({"name": "frugal"})).await?;
    let lavish = rig.with_new_key(json!({"name": "lavish"})).await?;
    let gate = close_gate(&rig);
    let held = hold(&rig.client, "cheap-model").await?;
    let mut calls = Vec::new();
    for _ in 0..12 {
        calls.push(send(&lavish, ask_of("dear-model", false, "dear")));
        calls.push(send(&frugal, ask_of("cheap-model", false, "cheap")));
    }
    until_waiting(&rig, "default", 24.0).await?;
    gate.open();
    held.whole().await?;
    for call in calls {
        assert_eq!(call.await??.status, 200);
    }
    let order = prompts(&rig.nodes[0]);
    let cheap = order.iter().take(12).filter(|p| *p == "cheap").count();
    assert!(cheap >= 9, "{order:?}");
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_go_first_and_batch_work_goes_on() -> anyhow::Result<()> {
    let rig = narrow(&[Flavour::Vllm], 1).await?;
    let batch = rig.client.with_header("x-remuda-priority", "batch")?;
    let people = rig.client.with_header("x-remuda-priority", "interactive")?;
    let gate = close_gate(&rig);
    let held = hold(&people, "test-model").await?;
    let mut calls: Vec<_> = (0..3).map(|_| send(&batch, ask(false, "batch"))).collect();
    until_waiting(&rig, "batch", 3.0).await?;
    calls.extend((0..40).map(|_| send(&people, ask(false, "person"))));
    until_waiting(&rig, "interactive", 40.0).await?;
    gate.open();
    held.whole().await?;
    for call in calls {
        assert_eq!(call.await??.status, 200);
    }
    let order = prompts(&rig.nodes[0]);
    let people_first = order.iter().take(15).filter(|p| *p == "person").count();
    assert!(people_first >= 13, "{order:?}");
    let first_batch = order.iter().position(|p| p == "batch");
    let last_person = order.iter().rposition(|p| p == "person");
    assert!(first_batch < last_person, "{order:?}");
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_bound_clients_are_told_in_their_dialect_and_leaving_frees_a_place()
-> anyhow::Result<()> {
    let rig = narrow(&[Flavour::Vllm], 1).await?;
    rig.gateway.set_queue_limits(QueueLimits {
        default: 2,
        organisation_percent: 100,
        ..QueueLimits::default()
    });
    let gate = close_gate(&rig);
    let held = hold(&rig.client, "test-model").await?;
    let leaves = send(&rig.client, ask(false, "leaves"));
    until_waiting(&rig, "default", 1.0).await?;
    let stays = send(&rig.client, ask(false, "stays"));
    until_waiting(&rig, "default", 2.0).await?;
    let body = ask(false, "x");
    let mut anthropic = body.clone();
    anthropic["max_tokens"] = json!(9);
    for (path, message, body) in [
        (CHAT, "/error/message", &body),
        ("/api/chat", "/error", &body),
        ("/v1/messages", "/error/message", &anthropic),
    ] {
        let reply = rig.client.post(path, body).await?;
        assert_eq!(reply.status, 429, "{path} {}", reply.text());
        assert!(reply.headers.contains_key("retry-after"), "{path}");
        let error = reply.json()?;
        let text = error.pointer(message).and_then(Value::as_str);
        assert!(
            text.is_some_and(|t| t.contains("the queue for default requests is full")),
            "{path} {error}"
        );
    }
    leaves.abort();
    until_waiting(&rig, "default", 1.0).await?;
    let next = send(&rig.client, ask(false, "next"));
    until_waiting(&rig, "default", 2.0).await?;
    assert_eq!(rig.client.post(CHAT, &body).await?.status, 429);
    gate.open();
    held.whole().await?;
    assert_eq!(stays.await??.status, 200);
    assert_eq!(next.await??.status, 200);
    assert_eq!(prompts(&rig.nodes[0]), ["stays", "next"]);
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_one_model_is_in_nobody_elses_way() -> anyhow::Result<()> {
    let node = |name: &str, model: &str| {
        ScriptedUpstream::builder(Flavour::Vllm)
            .name(name)
            .model(ScriptedModel::chat(model))
            .start()
    };
    let nodes = vec![node("a", "one")?, node("b", "two")?];
    let rig = Rig::narrow(nodes, Some(1), |_| {}).await?;
    let gate = close_gate(&rig);
    rig.nodes[1].edit_script(|script| script.gate = None);
    let held = hold(&rig.client, "one").await?;
    let stuck: Vec<_> = (0..20)
        .map(|_| send(&rig.client, ask_of("one", false, "stuck")))
        .collect();
    until_waiting(&rig, "default", 20.0).await?;
    for _ in 0..10 {
        let reply = rig.client.post(CHAT, &ask_of("two", false, "free")).await?;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    rig.registry.drain_node("a").await?;
    for call in stuck {
        let reply = call.await??;
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.headers.contains_key("retry-after"));
    }
    gate.open();
    held.whole().await?;
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_node_that_leaves_goes_to_another() -> anyhow::Result<()> {
    let rig = narrow(&[Flavour::Vllm, Flavour::Vllm], 1).await?;
    let gate = close_gate(&rig);
    let held = [
        hold(&rig.client, "test-model").await?,
        hold(&rig.client, "test-model").await?,
    ];
    let calls: Vec<_> = (0..10)
        .map(|_| send(&rig.client, ask(false, "moves")))
        .collect();
    until_waiting(&rig, "default", 10.0).await?;
    rig.registry.drain_node("node0").await?;
    gate.open();
    for stream in held {
        stream.whole().await?;
    }
    for call in calls {
        let reply = call.await??;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(
        prompts(&rig.nodes[1]).len() + prompts(&rig.nodes[0]).len(),
        10
    );
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_goes_on_before_those_who_never_ran() -> anyhow::Result<()> {
    let whole = {
        let rig = narrow(&[Flavour::Vllm], 1).await?;
        let reply = rig.client.stream(CHAT, &ask(true, "hold")).await?;
        let text = openai_text(&reply.whole().await?.text())?;
        rig.shutdown().await;
        text
    };
    let rig = narrow(&[Flavour::Vllm, Flavour::Vllm], 1).await?;
    // What was begun goes on first, however unimportant it is.
    let batch = rig.client.with_header("x-remuda-priority", "batch")?;
    let people = rig.client.with_header("x-remuda-priority", "interactive")?;
    let gate = close_gate(&rig);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = batch.stream(CHAT, &ask(true, "hold")).await?;
        let first = stream.chunk().await?.unwrap_or_default();
        held.push(tokio::spawn(async move {
            let rest = stream.whole().await?;
            let text = format!("{}{}", String::from_utf8_lossy(&first), rest.text());
            openai_text(&text)
        }));
    }
    let calls: Vec<_> = (0..10)
        .map(|_| send(&people, ask(false, "waits")))
        .collect();
    until_waiting(&rig, "interactive", 10.0).await?;
    rig.nodes[0].kill();
    until_waiting(&rig, "batch", 1.0).await?;
    gate.open();
    for stream in held {
        assert_eq!(stream.await??, whole);
    }
    for call in calls {
        let reply = call.await??;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let seen = rig.nodes[1].requests_to(CHAT);
    let second = seen
        .get(1)
        .map(|r| r.json()["messages"][0]["content"].clone());
    assert_eq!(second, Some(json!("hold")), "the continuation goes first");
    assert_eq!(prompts(&rig.nodes[1]).len(), 10);
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_hears_where_it_stands() -> anyhow::Result<()> {
    let nodes = vec![
        ScriptedUpstream::builder(Flavour::Vllm)
            .name("node0")
            .start()?,
    ];
    let rig = Rig::narrow(nodes, Some(1), |config| {
        config.keep_alive_interval = Duration::from_millis(20);
    })
    .await?;
    let batch_only = rig
        .with_new_key(json!({"name": "nightly", "priority": "batch"}))
        .await?
        .with_header("x-remuda-priority", "interactive")?;
    let gate = close_gate(&rig);
    let held = hold(&rig.client, "test-model").await?;
    let mut stream = rig.client.stream(CHAT, &ask(true, "stream")).await?;
    let comment = stream.chunk().await?.unwrap_or_default();
    let comment = String::from_utf8_lossy(&comment).into_owned();
    assert!(comment.starts_with(": queued, position 1"), "{comment}");
    assert_eq!(stream.headers["x-remuda-queue-position"], "1");
    let expected = stream.headers["x-remuda-queue-expected-ms"].to_str()?;
    assert!(expected.parse::<u64>()? > 0, "{expected}");
    let whole = send(&batch_only, ask(false, "whole"));
    until_waiting(&rig, "batch", 1.0).await?;
    let shown = rig
        .admin()
        .await?
        .get("/api/v1/inference/queue")
        .await?
        .json()?;
    assert_eq!(shown["waiting"], 2, "{shown}");
    assert_eq!(shown["items"][1]["class"], "batch", "{shown}");
    assert_eq!(shown["items"][1]["tenant"], "nightly", "{shown}");
    assert_eq!(shown["items"][1]["model"], "test-model", "{shown}");
    assert!(shown["items"][1]["since"].is_string(), "{shown}");
    let refused = rig.client.get("/api/v1/inference/queue").await?;
    assert!(matches!(refused.status.as_u16(), 401 | 403));
    gate.open();
    held.whole().await?;
    let rest = stream.whole().await?.text();
    assert!(rest.contains("[DONE]"), "{rest}");
    let whole = whole.await??;
    assert_eq!(whole.status, 200);
    assert!(whole.headers.contains_key("x-remuda-queue-wait-ms"));
    assert!(whole.headers.contains_key("x-remuda-queue-position"));
    assert_eq!(rig.metric("remuda_queue_wait_seconds_count"), Some(2.0));
    let at_once = rig.client.post(CHAT, &ask(false, "free")).await?;
    assert!(!at_once.headers.contains_key("x-remuda-queue-wait-ms"));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_long_a_wait_and_an_unknown_class_are_refused() -> anyhow::Result<()> {
    let nodes = vec![ScriptedUpstream::start(Flavour::Vllm)?];
    let rig = Rig::narrow(nodes, Some(1), |config| {
        config.first_token_timeout = Duration::from_millis(200);
    })
    .await?;
    let gate = close_gate(&rig);
    let held = hold(&rig.client, "test-model").await?;
    for stream in [false, true] {
        let reply = rig
            .client
            .stream(CHAT, &ask(stream, "waits"))
            .await?
            .whole()
            .await?;
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.headers.contains_key("retry-after"));
        assert!(reply.headers.contains_key("x-remuda-queue-wait-ms"));
    }
    let timeouts = rig.metric("remuda_queue_refused_total{reason=\"timeout\"}");
    assert_eq!(timeouts, Some(2.0));
    let odd = rig.client.with_header("x-remuda-priority", "urgent")?;
    let reply = odd.post(CHAT, &ask(false, "x")).await?;
    assert_eq!(reply.status, 400);
    assert!(
        reply.text().contains("interactive, default, batch"),
        "{}",
        reply.text()
    );
    gate.open();
    held.whole().await?;
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaks_over_ten_thousand_calls_of_which_half_are_given_up() -> anyhow::Result<()> {
    let rig = narrow(&[Flavour::Vllm, Flavour::Ollama], 4).await?;
    let mut random = 7_u64;
    for _ in 0..100 {
        let mut calls = Vec::new();
        for n in 0..100 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let patience = (n % 2 == 0).then(|| Duration::from_micros((random >> 33) % 40_000));
            let (client, body) = (rig.client.clone(), ask(n % 4 < 2, "x"));
            calls.push(tokio::spawn(async move {
                let call = client.post(CHAT, &body);
                match patience {
                    // The client goes away wherever the request is by then.
                    Some(patience) => drop(tokio::time::timeout(patience, call).await),
                    None => assert_eq!(call.await?.status, 200),
                }
                anyhow::Ok(())
            }));
        }
        for call in calls {
            call.await??;
        }
    }
    rig.wait_until_idle().await?;
    testbed::wait_until("nothing is left", PATIENCE, || {
        rig.metric("remuda_queue_running") == Some(0.0)
            && rig.metric("remuda_queue_waiting{class=\"default\"}") == Some(0.0)
            && rig.metric("remuda_in_flight_requests") == Some(0.0)
    })
    .await?;
    // Every place is there: as many streams as the nodes take run at once.
    let gate = close_gate(&rig);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(hold(&rig.client, "test-model").await?);
    }
    gate.open();
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_tells_of_waiting_requests_gets_no_more_until_it_is_relieved()
-> anyhow::Result<()> {
    let node = ScriptedUpstream::builder(Flavour::Vllm).start()?;
    let rig = Rig::over(vec![node], |_| {}).await?;
    let gate = close_gate(&rig);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(hold(&rig.client, "test-model").await?);
    }
    let node = &rig.nodes[0];
    node.edit_script(|script| script.pressure = (3, 0.5));
    let waiting = || {
        rig.metric("remuda_queue_waiting{class=\"default\"}")
            .unwrap_or(0.0) as u64
    };
    let arrived = || node.counters().in_flight + waiting();
    let probes = || node.requests_to("/metrics").len();
    let mut calls = Vec::new();
    while waiting() == 0 {
        let (expected, seen) = (arrived() + 1, probes());
        calls.push(send(&rig.client, ask(false, "one more")));
        testbed::wait_until("it is there, or waits", PATIENCE, || arrived() >= expected).await?;
        testbed::wait_until("it was probed", PATIENCE, || probes() > seen).await?;
        anyhow::ensure!(calls.len() < 100, "all were sent on");
    }
    node.edit_script(|script| script.pressure = (0, 0.2));
    gate.open();
    for call in calls {
        assert_eq!(call.await??.status, 200);
    }
    drop(held);
    rig.wait_until_idle().await?;
    rig.shutdown().await;
    Ok(())
}
