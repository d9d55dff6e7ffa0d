//! A client that goes away ends the work at the node and frees everything.

use anyhow::Context as _;
use serde_json::{Value, json};
use testbed::{Flavour, ScriptedUpstream};

use crate::rig::{PATIENCE, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_cancels_the_node() -> anyhow::Result<()> {
    for flavour in [Flavour::Ollama, Flavour::Vllm] {
        for path in ["/v1/chat/completions", "/api/chat"] {
            let rig = Rig::start(&[flavour]).await?;
            rig.nodes[0]
                .edit_script(|script| script.token_delay = std::time::Duration::from_millis(20));
            let body = json!({"model": "test-model", "stream": true, "messages": [{"role": "user", "content": "[[testbed tokens=5000]] x"}]});
            let mut stream = rig.client.stream(path, &body).await?;
            let id = stream.headers["x-request-id"].to_str()?.to_owned();
            stream.chunk().await?;
            drop(stream);
            // The whole answer would take 100 s: the node notices long before, or this waits in vain.
            rig.nodes[0].wait_for(|c| c.cancelled == 1).await?;
            let (outcome, ..) = rig.record(&id).await?;
            assert_eq!(outcome, "cancelled", "{flavour:?} {path}");
            rig.wait_until_idle().await?;
            rig.shutdown().await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_it_waits_cancels_too() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm]).await?;
    rig.nodes[0].edit_script(|script| script.first_byte_delay = std::time::Duration::from_secs(30));
    for stream in [true, false] {
        let before = rig.nodes[0].counters().cancelled;
        let body = json!({"model": "test-model", "stream": stream, "messages": [{"role": "user", "content": "x"}]});
        let client = rig.client.clone();
        let waiting = tokio::spawn(async move { client.post("/v1/chat/completions", &body).await });
        rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
        waiting.abort();
        rig.nodes[0].wait_for(|c| c.cancelled == before + 1).await?;
        rig.wait_until_idle().await?;
    }
    rig.shutdown().await;
    Ok(())
}

/// Returns the requests under way, once they are `count`.
async fn until_active(rig: &Rig, count: u32) -> anyhow::Result<Value> {
    testbed::wait_until("so many are under way", PATIENCE, || {
        rig.metric("remuda_in_flight_requests") == Some(f64::from(count))
    })
    .await?;
    let active = rig.admin().await?.get("/api/v1/inference/active").await?;
    let active = active.json()?;
    anyhow::ensure!(active["total"] == count, "{active}");
    Ok(active)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_what_is_under_way_and_ends_it() -> anyhow::Result<()> {
    for (path, flavour) in [
        ("/v1/chat/completions", Flavour::Vllm),
        ("/v1/chat/completions", Flavour::Ollama),
        ("/api/chat", Flavour::Ollama),
        ("/api/chat", Flavour::Vllm),
        ("/v1/messages", Flavour::Vllm),
    ] {
        let rig = Rig::start(&[flavour]).await?;
        let admin = rig.admin().await?;
        rig.nodes[0]
            .edit_script(|script| script.token_delay = std::time::Duration::from_millis(20));
        let mut body = json!({"model": "test-model", "stream": true, "messages": [{"role": "user", "content": "[[testbed tokens=5000]] x"}]});
        if path == "/v1/messages" {
            body["max_tokens"] = json!(5000);
        }
        let mut stream = rig.client.stream(path, &body).await?;
        let id = stream.headers["x-request-id"].to_str()?.to_owned();
        stream.chunk().await?;
        let active = until_active(&rig, 1).await.context(path)?;
        let shown = &active["items"][0];
        assert_eq!(shown["id"], id.as_str(), "{active}");
        assert_eq!(shown["state"], "answering", "{active}");
        assert_eq!(shown["node"], "node0", "{active}");
        assert_eq!(shown["model"], "test-model", "{active}");
        let elsewhere = admin.get("/api/v1/inference/active?node=other").await?;
        assert_eq!(elsewhere.json()?["total"], 0);
        let cancel = format!("/api/v1/inference/requests/{id}/cancel");
        let refused = rig.client.post(&cancel, &json!({})).await?;
        assert!(matches!(refused.status.as_u16(), 401 | 403));
        assert_eq!(admin.post(&cancel, &json!({})).await?.status, 204);
        let rest = stream.whole().await?.text();
        assert!(
            rest.contains("an administrator has cancelled this request"),
            "{path}: {rest}"
        );
        rig.nodes[0].wait_for(|c| c.cancelled == 1).await?;
        let (outcome, ..) = rig.record(&id).await?;
        assert_eq!(outcome, "cancelled", "{flavour:?} {path}");
        rig.wait_until_idle().await?;
        until_active(&rig, 0).await?;
        assert_eq!(admin.post(&cancel, &json!({})).await?.status, 404);
        rig.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_first_token_or_in_the_queue_is_ended_too() -> anyhow::Result<()> {
    let nodes = vec![ScriptedUpstream::start(Flavour::Vllm)?];
    let rig = Rig::narrow(nodes, Some(1), |_| {}).await?;
    let admin = rig.admin().await?;
    rig.nodes[0].edit_script(|script| script.first_byte_delay = std::time::Duration::from_mins(1));
    for stream in [true, false] {
        let send = || {
            let client = rig.client.clone();
            let body = json!({"model": "test-model", "stream": stream, "messages": [{"role": "user", "content": "x"}]});
            tokio::spawn(async move { client.post("/v1/chat/completions", &body).await })
        };
        let first = send();
        rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
        let second = send();
        testbed::wait_until("the second one waits", PATIENCE, || {
            rig.metric("remuda_queue_waiting{class=\"default\"}") == Some(1.0)
        })
        .await?;
        let active = until_active(&rig, 2).await?;
        for (item, state) in active["items"]
            .as_array()
            .into_iter()
            .flatten()
            .zip(["waiting", "queued"])
        {
            assert_eq!(item["state"], state, "{active}");
        }
        // The one that waits goes first: the other one's place would be its own.
        for index in [1, 0] {
            let id = active["items"][index]["id"].as_str().unwrap_or_default();
            let cancel = format!("/api/v1/inference/requests/{id}/cancel");
            assert_eq!(admin.post(&cancel, &json!({})).await?.status, 204);
        }
        for answer in [first, second] {
            let answer = answer.await??;
            assert_eq!(answer.status, 499);
            let text = answer.text();
            assert!(
                text.contains("an administrator has cancelled this request"),
                "{text}"
            );
        }
        rig.wait_until_idle().await?;
        // Or the next round takes this one's for its first.
        rig.nodes[0].wait_for(|c| c.in_flight == 0).await?;
    }
    let unknown = admin
        .post("/api/v1/inference/requests/no-such-id/cancel", &json!({}))
        .await?;
    assert_eq!(unknown.status, 404);
    rig.shutdown().await;
    Ok(())
}
