//! A client that goes away ends the work at the node and frees everything.

use serde_json::json;
use testbed::Flavour;

use crate::rig::Rig;

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
