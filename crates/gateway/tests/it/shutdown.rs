//! The end: requests under way are finished, and nothing else is waited for.

use std::time::Duration;

use serde_json::json;
use testbed::Flavour;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_and_idle_connections_do_not_hold_the_end() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Ollama]).await?;
    let address = rig.client.address();
    let mut half = TcpStream::connect(address).await?;
    half.write_all(b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-")
        .await?;
    let idle = TcpStream::connect(address).await?;
    // Served, so both connections before it have been taken up.
    assert_eq!(rig.client.get("/api/version").await?.status, 200);
    // With an hour for what is under way, this ends only when nothing is waited for.
    rig.shutdown_within(Duration::from_hours(1)).await;
    drop((half, idle));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_under_way_is_finished() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm]).await?;
    let ask = json!({
        "model": "test-model", "stream": true,
        "messages": [{"role": "user", "content": "tell me all"}],
    });
    let mut stream = rig.client.stream("/v1/chat/completions", &ask).await?;
    let first = stream.event().await?;
    assert!(first.is_some(), "nothing began");
    let end = tokio::spawn(rig.shutdown_within(Duration::from_hours(1)));
    let rest = stream.event_data().await?;
    assert_eq!(rest.last().map(String::as_str), Some("[DONE]"));
    end.await?;
    Ok(())
}
