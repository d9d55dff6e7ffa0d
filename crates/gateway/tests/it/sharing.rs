//! Identical requests with determined answers share one execution, for keys that have asked for it.

use serde_json::{Value, json};
use testbed::{Flavour, Gate, Reply, ScriptedUpstream, TestClient, wait_until};
use tokio::task::JoinHandle;

use crate::answers::openai_text;
use crate::rig::{PATIENCE, Rig};

const CHAT: &str = "/v1/chat/completions";

fn ask(stream: bool) -> Value {
    json!({"model": "test-model", "stream": stream, "temperature": 0, "messages": [{"role": "user", "content": "[[testbed tokens=30]] tell"}]})
}

async fn rig() -> anyhow::Result<Rig> {
    Rig::over(vec![ScriptedUpstream::start(Flavour::Vllm)?], |_| {}).await
}

async fn sharing_key(rig: &Rig, name: &str) -> anyhow::Result<TestClient> {
    rig.with_new_key(json!({"name": name, "share_identical": true}))
        .await
}

fn post(client: &TestClient, path: &'static str, body: Value) -> JoinHandle<anyhow::Result<Reply>> {
    let client = client.clone();
    tokio::spawn(async move { client.stream(path, &body).await?.whole().await })
}

/// Lets answers stop after ten tokens until the gate is opened.
fn close_gate(rig: &Rig) -> Gate {
    let gate = Gate::closed();
    rig.nodes[0].edit_script(|script| script.gate = Some((10, gate.clone())));
    gate
}

async fn until_shared(rig: &Rig, joined: f64) -> anyhow::Result<()> {
    wait_until("so many have joined", PATIENCE, || {
        rig.metric("remuda_shared_executions_total") == Some(joined)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_execution_serves_all_who_ask_the_same() -> anyhow::Result<()> {
    for stream in [true, false] {
        let rig = rig().await?;
        let (one, two) = (
            sharing_key(&rig, "one").await?,
            sharing_key(&rig, "two").await?,
        );
        let gate = close_gate(&rig);
        let first = post(&one, CHAT, ask(stream));
        rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
        let others: Vec<_> = (0..6)
            .map(|n| post(if n % 2 == 0 { &one } else { &two }, CHAT, ask(stream)))
            .collect();
        until_shared(&rig, 6.0).await?;
        gate.open();
        let first = first.await??;
        assert_eq!(first.status, 200, "{}", first.text());
        assert!(!first.headers.contains_key("x-remuda-shared"));
        let mut ids = vec![first.headers["x-request-id"].to_str()?.to_owned()];
        for other in others {
            let other = other.await??;
            assert_eq!(other.status, 200);
            assert_eq!(other.body, first.body);
            assert_eq!(other.headers["x-remuda-shared"], "true");
            assert_eq!(other.headers["x-remuda-node"], "vllm");
            ids.push(other.headers["x-request-id"].to_str()?.to_owned());
        }
        assert_eq!(rig.nodes[0].counters().inference, 1);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 7, "each request has an id of its own");
        let admin = rig.admin().await?;
        for id in ids {
            let (outcome, node, _) = rig.record(&id).await?;
            assert_eq!((outcome.as_str(), node.as_deref()), ("ok", Some("vllm")));
            let record = admin
                .get(&format!("/api/v1/inference/requests/{id}"))
                .await?
                .json()?;
            assert_eq!(record["attempts"][0]["joined"]["requests"], 7, "{record}");
            assert_eq!(record["completion_tokens"], 30, "{record}");
        }
        // The node has made the tokens once.
        let tokens =
            "remuda_tokens_total{model=\"test-model\",node=\"vllm\",direction=\"completion\"}";
        assert_eq!(rig.metric(tokens), Some(30.0));
        rig.wait_until_idle().await?;
        assert_eq!(rig.metric("remuda_queue_running"), Some(0.0));
        rig.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_one_gets_what_was_sent_already_and_then_the_rest() -> anyhow::Result<()> {
    let rig = rig().await?;
    let key = sharing_key(&rig, "one").await?;
    let gate = close_gate(&rig);
    let mut first = key.stream(CHAT, &ask(true)).await?;
    let mut begun = Vec::new();
    while begun.windows(5).filter(|w| w == b"data:").count() < 10 {
        let piece = first.chunk().await?;
        begun.extend_from_slice(&piece.unwrap_or_default());
    }
    let mut late = key.stream(CHAT, &ask(true)).await?;
    let mut replayed = Vec::new();
    while replayed.len() < begun.len() {
        replayed.extend_from_slice(&late.chunk().await?.unwrap_or_default());
    }
    assert_eq!(replayed[..begun.len()], begun);
    gate.open();
    begun.extend_from_slice(&first.whole().await?.body);
    replayed.extend_from_slice(&late.whole().await?.body);
    assert_eq!(
        String::from_utf8(replayed)?,
        String::from_utf8(begun.clone())?
    );
    openai_text(&String::from_utf8(begun)?)?;
    assert_eq!(rig.nodes[0].counters().inference, 1);
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_shares_who_has_not_asked_for_it_or_asks_something_else() -> anyhow::Result<()> {
    let rig = rig().await?;
    let sharing = sharing_key(&rig, "sharing").await?;
    let private = rig.with_new_key(json!({"name": "private"})).await?;
    let gate = close_gate(&rig);
    let mut free = ask(true);
    free["temperature"] = json!(0.7);
    let mut seeded = ask(true);
    seeded["seed"] = json!(1);
    let mut tools = ask(true);
    tools["tools"] =
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let sent = [
        post(&sharing, CHAT, ask(true)),
        post(&private, CHAT, ask(true)),
        post(&rig.client, CHAT, ask(true)),
        post(&sharing, CHAT, free.clone()),
        post(&sharing, CHAT, free),
        post(&sharing, CHAT, seeded),
        post(&sharing, CHAT, tools.clone()),
        post(&sharing, CHAT, tools),
    ];
    rig.nodes[0].wait_for(|c| c.in_flight == 8).await?;
    gate.open();
    for reply in sent {
        assert_eq!(reply.await??.status, 200);
    }
    assert_eq!(rig.metric("remuda_shared_executions_total"), Some(0.0));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_leaves_alone_and_the_last_one_ends_the_execution() -> anyhow::Result<()> {
    let rig = rig().await?;
    let key = sharing_key(&rig, "one").await?;
    let gate = close_gate(&rig);
    let first = post(&key, CHAT, ask(true));
    rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
    let second = post(&key, CHAT, ask(true));
    until_shared(&rig, 1.0).await?;
    // Whoever began it is not needed for it.
    first.abort();
    wait_until("one is gone", PATIENCE, || {
        rig.metric("remuda_in_flight_requests") == Some(1.0)
    })
    .await?;
    assert_eq!(rig.nodes[0].counters().cancelled, 0);
    let third = post(&key, CHAT, ask(true));
    until_shared(&rig, 2.0).await?;
    gate.open();
    for reply in [second, third] {
        openai_text(&reply.await??.text())?;
    }
    let closed = close_gate(&rig);
    let all: Vec<_> = (0..3).map(|_| post(&key, CHAT, ask(true))).collect();
    until_shared(&rig, 4.0).await?;
    rig.nodes[0]
        .wait_for(|c| c.in_flight == 1 && c.inference == 2)
        .await?;
    all.iter().for_each(JoinHandle::abort);
    rig.nodes[0]
        .wait_for(|c| c.cancelled == 1 && c.in_flight == 0)
        .await?;
    rig.wait_until_idle().await?;
    wait_until("nothing is left", PATIENCE, || {
        rig.metric("remuda_queue_running") == Some(0.0)
            && rig.metric("remuda_in_flight_requests") == Some(0.0)
    })
    .await?;
    closed.open();
    // Nothing is kept of what has ended: the next one is a new execution.
    openai_text(&post(&key, CHAT, ask(true)).await??.text())?;
    assert_eq!(rig.nodes[0].counters().inference, 3);
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_reaches_everybody() -> anyhow::Result<()> {
    let rig = rig().await?;
    let key = sharing_key(&rig, "one").await?;
    let gate = close_gate(&rig);
    let broken = testbed::Fault::after(10, testbed::Ending::Error("out of order".to_owned()));
    rig.nodes[0].edit_script(|script| script.fault = Some(broken));
    let mut odd = ask(true);
    odd["logprobs"] = json!(true);
    let first = post(&key, CHAT, odd.clone());
    rig.nodes[0]
        .wait_for(|c| c.in_flight >= 1 || c.ended >= 1)
        .await?;
    let second = post(&key, CHAT, odd);
    gate.open();
    for reply in [first, second] {
        let reply = reply.await??;
        assert!(reply.text().contains("error"), "{}", reply.text());
    }
    rig.wait_until_idle().await?;
    rig.shutdown().await;
    Ok(())
}
