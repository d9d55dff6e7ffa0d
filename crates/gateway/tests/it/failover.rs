//! Before the first byte a failed attempt goes to another node, unseen by the client.

use serde_json::json;
use testbed::{Fault, Flavour};

use crate::rig::{PATIENCE, Rig};

fn chat(stream: bool) -> serde_json::Value {
    json!({"model": "test-model", "stream": stream, "messages": [{"role": "user", "content": "hello"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_before_the_first_byte_are_not_seen() -> anyhow::Result<()> {
    let faults = [
        Fault::ResetBeforeFirstByte,
        Fault::CloseBeforeFirstByte,
        Fault::status(500),
        Fault::status(503),
        Fault::status(429),
    ];
    for fault in faults {
        for stream in [false, true] {
            let rig = Rig::start(&[Flavour::Vllm, Flavour::Ollama, Flavour::Vllm]).await?;
            // Two of three fail their next request, so that whichever is asked first, one that works is left.
            for node in rig.nodes.iter().take(2) {
                node.fail_next(fault.clone());
            }
            let reply = rig
                .client
                .stream("/v1/chat/completions", &chat(stream))
                .await?
                .whole()
                .await?;
            assert_eq!(reply.status, 200, "{fault:?} {stream} {}", reply.text());
            rig.shutdown().await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_costs_no_request() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm, Flavour::Vllm, Flavour::Ollama]).await?;
    rig.nodes[0].kill();
    for _ in 0..20 {
        let reply = rig
            .client
            .post("/v1/chat/completions", &chat(false))
            .await?;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_ne!(reply.headers["x-remuda-node"], "node0");
    }
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_node_calls_wrong_is_not_repeated() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm, Flavour::Vllm]).await?;
    for node in &rig.nodes {
        node.edit_script(|script| script.fault = Some(Fault::status(400)));
    }
    let before: u64 = rig
        .nodes
        .iter()
        .map(|n| n.requests_to("/v1/chat/completions").len() as u64)
        .sum();
    let reply = rig
        .client
        .post("/v1/chat/completions", &chat(false))
        .await?;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.json()?["error"]["message"].is_string());
    let after: u64 = rig
        .nodes
        .iter()
        .map(|n| n.requests_to("/v1/chat/completions").len() as u64)
        .sum();
    assert_eq!(after - before, 1);
    rig.shutdown().await;
    Ok(())
}

/// Waits until the workers know that no node takes requests.
async fn until_refused(rig: &Rig) -> anyhow::Result<()> {
    let refused = async {
        while rig.client.post("/api/chat", &chat(false)).await?.status != 503 {}
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, refused).await?
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_healthy_node_the_client_is_told_when_to_come_back() -> anyhow::Result<()> {
    for gone in [false, true] {
        let rig = Rig::start(&[Flavour::Ollama]).await?;
        rig.registry.drain_node("node0").await?;
        until_refused(&rig).await?;
        let asked = rig.nodes[0].counters().inference;
        if gone {
            rig.nodes[0].kill();
        }
        for stream in [false, true] {
            for path in ["/v1/chat/completions", "/api/chat"] {
                let reply = rig.client.post(path, &chat(stream)).await?;
                let case = format!("{path} {stream}: {}", reply.text());
                assert_eq!(reply.status, 503, "{case}");
                let wait: u64 = reply.headers["retry-after"].to_str()?.parse()?;
                assert!(wait > 0, "{case}");
                let error = reply.json()?["error"].take();
                let message = match path {
                    "/api/chat" => error.as_str(),
                    _ => error["message"].as_str(),
                };
                let message = message.unwrap_or_default();
                assert!(message.contains("no node can serve test-model"), "{case}");
                assert!(message.contains("node0"), "{case}");
            }
        }
        assert_eq!(rig.nodes[0].counters().inference, asked);
        rig.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_died_alone_is_told_as_one_that_may_come_back() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm]).await?;
    rig.nodes[0].kill();
    for path in ["/v1/chat/completions", "/api/chat", "/v1/rerank"] {
        let reply = rig.client.post(path, &chat(false)).await?;
        assert_eq!(reply.status, 503, "{path}: {}", reply.text());
        let wait: u64 = reply.headers["retry-after"].to_str()?.parse()?;
        assert!(wait > 0, "{path}: {}", reply.text());
    }
    rig.shutdown().await;
    Ok(())
}

/// What only Ollama has a setting for.
fn peculiar() -> serde_json::Value {
    json!({"model": "test-model", "stream": false, "options": {"repeat_last_n": 8},
        "messages": [{"role": "user", "content": "hello"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_cannot_serve_a_request_use_none_of_its_attempts() -> anyhow::Result<()> {
    let flavours = [
        Flavour::Other,
        Flavour::Other,
        Flavour::Other,
        Flavour::Other,
        Flavour::Ollama,
    ];
    let rig = Rig::start_with(&flavours, |config| config.max_attempts = 1).await?;
    for _ in 0..8 {
        let reply = rig.client.post("/api/chat", &peculiar()).await?;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.headers["x-remuda-node"], "node4");
    }
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_where_there_is_no_other_node_is_no_retry() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Other]).await?;
    let reply = rig.client.post("/api/chat", &peculiar()).await?;
    assert_eq!(reply.status, 400, "{}", reply.text());
    rig.nodes[0].fail_next(Fault::status(500));
    let reply = rig.client.post("/api/chat", &chat(false)).await?;
    assert_eq!(reply.status, 502, "{}", reply.text());
    for reason in ["unsupported", "error"] {
        let series = format!("remuda_retries_total{{reason=\"{reason}\"}}");
        assert_eq!(
            rig.metric(&series).unwrap_or_default() as i64,
            0,
            "{reason}"
        );
    }
    rig.shutdown().await;
    Ok(())
}
