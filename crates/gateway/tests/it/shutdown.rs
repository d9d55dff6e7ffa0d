//! The end: requests under way are finished, and nothing else is waited for.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use testbed::{Flavour, Gate};
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_finished_in_time_is_ended_with_a_word_in_its_dialect() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm]).await?;
    rig.nodes[0].edit_script(|script| script.gate = Some((1, Gate::closed())));
    let ask = json!({
        "model": "test-model", "stream": true, "max_tokens": 99,
        "messages": [{"role": "user", "content": "tell me all"}],
    });
    let mut chat = ask.clone();
    chat.as_object_mut()
        .context("no object")?
        .remove("max_tokens");
    let mut streams = Vec::new();
    for (path, body) in [
        ("/v1/chat/completions", &ask),
        ("/api/chat", &chat),
        ("/v1/messages", &ask),
    ] {
        let mut stream = rig.client.stream(path, body).await?;
        anyhow::ensure!(stream.chunk().await?.is_some(), "nothing began");
        streams.push((path, stream));
    }
    let ids: Vec<String> = streams
        .iter()
        .map(|(_, stream)| stream.headers["x-request-id"].to_str().map(str::to_owned))
        .collect::<Result<_, _>>()?;
    let db = rig.db.clone();
    rig.shutdown_within(Duration::ZERO).await;
    for (path, stream) in streams {
        let said = stream.whole().await?.text();
        assert!(said.contains("error"), "{path} {said}");
        assert!(said.contains("the server is stopping"), "{path} {said}");
    }
    for id in ids {
        let mut tx = db.read().await?;
        let row = tx
            .fetch_optional(
                "SELECT outcome, error FROM requests WHERE id = $1",
                store::params![&id],
            )
            .await?
            .context("no record")?;
        assert_eq!(row.get::<String>("outcome")?, "truncated");
        assert!(
            row.get::<String>("error")?
                .contains("the server is stopping")
        );
        tx.commit().await?;
    }
    Ok(())
}
