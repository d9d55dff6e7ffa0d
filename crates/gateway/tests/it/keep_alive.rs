//! A long prefill: event streams hear comments until the answer begins, and what goes wrong then travels in the stream.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use testbed::{Ending, Fault, Flavour, Gate, ReplyStream, Script};
use tokio::time::timeout;

use crate::answers::{ollama_text, openai_text};
use crate::rig::{PATIENCE, Rig};

const COMMENT: &str = ": keep-alive";

fn chat(path: &str) -> Value {
    let mut body = json!({"model": "test-model", "stream": true, "messages": [{"role": "user", "content": "x"}]});
    if path == "/v1/messages" {
        body["max_tokens"] = json!(100);
    }
    body
}

/// A rig over one node that waits at the gate, and sends comments often.
async fn silent(flavour: Flavour, hold: impl FnOnce(&mut Script)) -> anyhow::Result<Rig> {
    let rig = Rig::start_with(&[flavour], |config| {
        config.keep_alive_interval = Duration::from_millis(20);
    })
    .await?;
    rig.nodes[0].edit_script(hold);
    Ok(rig)
}

/// Asks for an event stream and waits for its first comments.
async fn kept_alive(rig: &Rig, path: &str) -> anyhow::Result<ReplyStream> {
    let mut stream = timeout(PATIENCE, rig.client.stream(path, &chat(path))).await??;
    assert_eq!(stream.status, 200, "{path}");
    let content_type = stream.headers["content-type"].to_str()?;
    assert!(content_type.starts_with("text/event-stream"), "{path}");
    for _ in 0..3 {
        assert_eq!(stream.event().await?.as_deref(), Some(COMMENT), "{path}");
    }
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_hear_comments_until_the_answer_begins() -> anyhow::Result<()> {
    for flavour in [Flavour::Vllm, Flavour::Ollama] {
        // The node is silent altogether, or its answer has a head and no text yet.
        for before_the_head in [true, false] {
            let gate = Gate::closed();
            let rig = silent(flavour, |script| {
                if before_the_head {
                    script.head_gate = Some(gate.clone());
                } else {
                    script.gate = Some((0, gate.clone()));
                }
            });
            let rig = rig.await?;
            // Lines of JSON know no comments: this client has to wait.
            let client = rig.client.clone();
            let lines = tokio::spawn(async move {
                let stream = client.stream("/api/chat", &chat("/api/chat")).await?;
                stream.json_lines().await
            });
            rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
            let stream = kept_alive(&rig, "/v1/chat/completions").await?;
            gate.open();
            let answer = stream.whole().await?.text();
            let lines = lines.await??;
            assert_eq!(openai_text(&answer)?, ollama_text(&lines)?);
            assert!(!ollama_text(&lines)?.is_empty());
            rig.shutdown().await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_after_a_comment_is_told_in_the_stream() -> anyhow::Result<()> {
    let faults = [
        (Fault::status(500), "failed"),
        (Fault::status(400), "client_error"),
        (
            Fault::after(0, Ending::Error("scripted failure".to_owned())),
            "failed",
        ),
    ];
    for flavour in [Flavour::Vllm, Flavour::Ollama] {
        for (fault, outcome) in &faults {
            for path in ["/v1/chat/completions", "/v1/messages"] {
                let gate = Gate::closed();
                let rig = silent(flavour, |script| {
                    script.head_gate = Some(gate.clone());
                    script.fault = Some(fault.clone());
                });
                let rig = rig.await?;
                let stream = kept_alive(&rig, path).await?;
                gate.open();
                let reply = stream.whole().await?;
                let case = format!("{flavour:?} {fault:?} {path}: {}", reply.text());
                let text = reply.text();
                let mut events = text.split("\n\n").filter(|e| !e.is_empty());
                let said = events.find(|event| *event != COMMENT).unwrap_or_default();
                assert_eq!(events.next(), None, "more after the error: {case}");
                let data = match path {
                    "/v1/messages" => said.strip_prefix("event: error\ndata: "),
                    _ => said.strip_prefix("data: "),
                };
                let data = data.with_context(|| format!("no error: {case}"))?;
                let error: Value = serde_json::from_str(data)?;
                let message = error["error"]["message"].as_str().unwrap_or_default();
                assert!(message.contains("scripted failure"), "{case}");
                let id = reply.headers["x-request-id"].to_str()?;
                assert_eq!(rig.record(id).await?.0, *outcome, "{case}");
                rig.shutdown().await;
            }
        }
    }
    Ok(())
}
