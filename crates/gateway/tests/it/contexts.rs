//! Contexts: what fits into the loaded one is not loaded again, and what fits nowhere is refused at once.

use serde_json::{Value, json};
use testbed::{Flavour, ScriptedModel, ScriptedUpstream};

use crate::rig::Rig;

const CHAT: &str = "/api/chat";

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_fits_into_the_loaded_one_is_not_loaded_again() -> anyhow::Result<()> {
    let node = ScriptedUpstream::builder(Flavour::Ollama)
        .model(ScriptedModel::chat("test-model:latest").loaded())
        .start()?;
    let rig = Rig::over(vec![node], |_| {}).await?;
    let sized = |num_ctx: u32, stream: bool| json!({"model": "test-model", "stream": stream, "options": {"num_ctx": num_ctx}, "messages": [{"role": "user", "content": "x"}]});
    for stream in [false, true] {
        let reply = rig.client.stream(CHAT, &sized(2048, stream)).await?;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.headers["x-remuda-num-ctx"], "4096");
        reply.whole().await?;
    }
    assert_eq!(rig.nodes[0].counters().loads, 0);
    for seen in rig.nodes[0].requests_to(CHAT) {
        assert_eq!(seen.json()["options"]["num_ctx"], 4096);
    }
    // A larger one is what the client needs.
    let reply = rig.client.post(CHAT, &sized(8192, false)).await?;
    assert!(!reply.headers.contains_key("x-remuda-num-ctx"));
    assert_eq!(rig.nodes[0].counters().loads, 1);
    assert_eq!(rig.nodes[0].models()[0].loaded, Some(8192));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_fits_nowhere_is_refused_before_it_waits() -> anyhow::Result<()> {
    let node = ScriptedUpstream::builder(Flavour::Ollama)
        .model(
            ScriptedModel::chat("test-model:latest")
                .loaded()
                .context_length(512),
        )
        .start()?;
    let rig = Rig::narrow(vec![node], Some(1), |_| {}).await?;
    let long = "word ".repeat(4_000);
    for (path, message) in [
        ("/api/chat", "/error"),
        ("/v1/chat/completions", "/error/message"),
        ("/v1/messages", "/error/message"),
    ] {
        let body = json!({"model": "test-model", "stream": false, "max_tokens": 5, "messages": [{"role": "user", "content": long}]});
        let reply = rig.client.post(path, &body).await?;
        assert_eq!(reply.status, 400, "{path} {}", reply.text());
        let error = reply.json()?;
        let text = error.pointer(message).and_then(Value::as_str);
        assert!(
            text.is_some_and(|t| t.contains("512") && t.contains("shorten")),
            "{path} {error}"
        );
    }
    assert_eq!(rig.nodes[0].counters().inference, 0);
    rig.shutdown().await;
    Ok(())
}
