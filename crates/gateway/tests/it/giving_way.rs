//! Batch work that has sent nothing yet gives its place up to people, and loses nothing but time.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Flavour, Gate, Reply, ScriptedUpstream, TestClient};
use tokio::task::JoinHandle;

use crate::rig::Rig;

const CHAT: &str = "/v1/chat/completions";

fn ask(stream: bool, text: &str) -> Value {
    json!({"model": "test-model", "stream": stream, "messages": [{"role": "user", "content": text}]})
}

/// A rig over one node that takes one call at a time, and its clients: batch work and people.
async fn narrow(flavour: Flavour) -> anyhow::Result<(Rig, TestClient, TestClient)> {
    let nodes = vec![ScriptedUpstream::builder(flavour).name("only").start()?];
    let rig = Rig::narrow(nodes, Some(1), |_| {}).await?;
    let batch = rig.client.with_header("x-remuda-priority", "batch")?;
    let people = rig.client.with_header("x-remuda-priority", "interactive")?;
    Ok((rig, batch, people))
}

fn send(client: &TestClient, body: Value) -> JoinHandle<anyhow::Result<Reply>> {
    let client = client.clone();
    tokio::spawn(async move { client.stream(CHAT, &body).await?.whole().await })
}

/// Returns the first words of what the node was asked, in the order of arrival.
fn prompts(rig: &Rig) -> Vec<String> {
    let asked = rig.nodes[0].requests();
    let bodies = asked.iter().map(testbed::upstream::SeenRequest::json);
    bodies
        .filter_map(|body| {
            let text = body["messages"][0]["content"].as_str()?;
            Some(text.split(' ').next_back()?.to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_takes_the_place_of_batch_work_that_has_sent_nothing() -> anyhow::Result<()> {
    for flavour in [Flavour::Vllm, Flavour::Ollama] {
        for stream in [true, false] {
            let (rig, batch, people) = narrow(flavour).await?;
            let gate = Gate::closed();
            rig.nodes[0].edit_script(|script| script.gate = Some((0, gate.clone())));
            let first = send(&batch, ask(stream, "batch"));
            rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
            let person = send(&people, ask(stream, "person"));
            rig.nodes[0]
                .wait_for(|c| c.cancelled == 1 && c.in_flight == 1)
                .await?;
            gate.open();
            let (person, first) = (person.await??, first.await??);
            assert_eq!((person.status.as_u16(), first.status.as_u16()), (200, 200));
            assert_eq!(prompts(&rig), ["batch", "person", "batch"]);
            let most = rig.nodes[0].counters().most_in_flight;
            assert!(most <= 2, "the node saw {most} at once");
            assert_eq!(rig.metric("remuda_preemptions_total"), Some(1.0));
            let id = first.headers["x-request-id"].to_str()?.to_owned();
            assert_eq!(rig.record(&id).await?.0, "ok");
            let shown = rig
                .admin()
                .await?
                .get(&format!("/api/v1/inference/requests/{id}"))
                .await?
                .json()?;
            let why = shown["attempts"][0]["failure"].as_str().unwrap_or_default();
            assert!(why.contains("to a more important call"), "{shown}");
            assert_eq!(shown["attempts"][1]["failure"], Value::Null, "{shown}");
            rig.shutdown().await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_has_begun_is_not_stopped_and_equals_do_not_give_way() -> anyhow::Result<()>
{
    let (rig, batch, people) = narrow(Flavour::Vllm).await?;
    let default = &rig.client;
    let gate = Gate::closed();
    rig.nodes[0].edit_script(|script| script.gate = Some((1, gate.clone())));
    let mut begun = batch.stream(CHAT, &ask(true, "batch")).await?;
    assert!(begun.chunk().await?.is_some());
    let person = send(&people, ask(false, "person"));
    let other = send(default, ask(false, "other"));
    let waiting = |class: &str| rig.metric(&format!("remuda_queue_waiting{{class=\"{class}\"}}"));
    testbed::wait_until("both wait", crate::rig::PATIENCE, || {
        waiting("interactive") == Some(1.0) && waiting("default") == Some(1.0)
    })
    .await?;
    gate.open();
    begun.whole().await?;
    person.await??;
    other.await??;
    assert_eq!(rig.nodes[0].counters().cancelled, 0);
    assert_eq!(rig.metric("remuda_preemptions_total"), Some(0.0));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_work_gives_way_twice_and_then_runs_to_its_end() -> anyhow::Result<()> {
    let (rig, batch, people) = narrow(Flavour::Vllm).await?;
    rig.nodes[0].edit_script(|script| script.tokens = Some(2));
    // Long enough for the people below, who need a moment each.
    let slow = format!("[[testbed first_token_ms={}]] batch", 4_000);
    let started = send(&batch, ask(true, &slow));
    for round in 1..=3 {
        rig.nodes[0]
            .wait_for(|c| c.in_flight == 1 && c.inference == 2 * round - 1)
            .await?;
        assert_eq!(send(&people, ask(false, "person")).await??.status, 200);
    }
    assert_eq!(started.await??.status, 200);
    assert_eq!(
        prompts(&rig),
        ["batch", "person", "batch", "person", "batch", "person"]
    );
    assert_eq!(rig.nodes[0].counters().cancelled, 2);
    assert_eq!(rig.metric("remuda_preemptions_total"), Some(2.0));
    rig.wait_until_idle().await?;
    assert_eq!(rig.metric("remuda_queue_running"), Some(0.0));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_giving_way_leaves_nothing_behind() -> anyhow::Result<()> {
    let (rig, batch, people) = narrow(Flavour::Vllm).await?;
    let gate = Gate::closed();
    rig.nodes[0].edit_script(|script| script.gate = Some((0, gate.clone())));
    let first = send(&batch, ask(true, "batch"));
    rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
    let person = send(&people, ask(true, "person"));
    first.abort();
    rig.nodes[0].wait_for(|c| c.cancelled == 1).await?;
    person.abort();
    rig.wait_until_idle().await?;
    gate.open();
    testbed::wait_until("nothing is left", crate::rig::PATIENCE, || {
        rig.metric("remuda_queue_running") == Some(0.0)
            && rig.metric("remuda_queue_waiting{class=\"batch\"}") == Some(0.0)
            && rig.metric("remuda_queue_waiting{class=\"interactive\"}") == Some(0.0)
    })
    .await?;
    let free = tokio::time::timeout(Duration::from_secs(20), send(&people, ask(false, "free")));
    assert_eq!(free.await???.status, 200);
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_work_is_not_stopped_where_the_person_would_not_stay() -> anyhow::Result<()> {
    let nodes = ["a", "b"].map(|name| ScriptedUpstream::builder(Flavour::Vllm).name(name).start());
    let nodes = nodes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let rig = Rig::narrow(nodes, Some(2), |_| {}).await?;
    let batch = rig.client.with_header("x-remuda-priority", "batch")?;
    let people = rig.client.with_header("x-remuda-priority", "interactive")?;
    let gate = Gate::closed();
    for node in &rig.nodes {
        node.edit_script(|script| script.gate = Some((0, gate.clone())));
    }
    // Reading it again takes so long that waiting for the node that has read it is better.
    let long = "and then the horse went on ".repeat(3_000);
    let busy = |at: usize| rig.nodes[at].counters().in_flight;
    let mut calls = vec![send(&rig.client, ask(false, &long))];
    testbed::wait_until("one is busy", crate::rig::PATIENCE, || {
        busy(0) + busy(1) == 1
    })
    .await?;
    let (read, other) = if busy(0) == 1 { (0, 1) } else { (1, 0) };
    calls.push(send(&rig.client, ask(false, &long)));
    rig.nodes[read].wait_for(|c| c.in_flight == 2).await?;
    calls.push(send(&batch, ask(false, "batch")));
    rig.nodes[other].wait_for(|c| c.in_flight == 1).await?;
    calls.push(send(&people, ask(false, &long)));
    testbed::wait_until("the person waits", crate::rig::PATIENCE, || {
        rig.metric("remuda_queue_waiting{class=\"interactive\"}") == Some(1.0)
    })
    .await?;
    gate.open();
    for call in calls {
        assert_eq!(call.await??.status, 200);
    }
    assert_eq!(rig.metric("remuda_preemptions_total"), Some(0.0));
    assert_eq!(rig.nodes[other].counters().cancelled, 0);
    rig.shutdown().await;
    Ok(())
}
