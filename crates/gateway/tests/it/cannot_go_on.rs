//! Answers that no other node can go on with: the client is told why, and nobody else is asked.

use serde_json::{Value, json};
use testbed::{Flavour, Reply};

use crate::rig::Rig;

const OPENAI: &str = "/v1/chat/completions";
const OLLAMA: &str = "/api/chat";
const QUESTION: &str = "what is the weather like?";

/// Asks two nodes of a flavour with a tool on offer.
async fn ask_with_tools(
    flavour: Flavour,
    path: &str,
    directives: &str,
) -> anyhow::Result<(Rig, Reply)> {
    let rig = Rig::start(&[flavour, flavour]).await?;
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let body = json!({
        "model": "test-model",
        "stream": true,
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": parameters}}],
        "messages": [{"role": "user", "content": format!("[[testbed {directives}]] {QUESTION}")}],
    });
    let reply = rig.client.stream(path, &body).await?.whole().await?;
    Ok((rig, reply))
}

/// Takes a broken answer apart: the frames before the error, and the error's text.
fn broken(path: &str, reply: &Reply) -> anyhow::Result<(Vec<Value>, String)> {
    let text = reply.text();
    let (delimiter, prefix) = match path {
        OLLAMA => ("\n", ""),
        _ => ("\n\n", "data: "),
    };
    let mut frames = Vec::new();
    for frame in text.split_terminator(delimiter) {
        let data = frame.strip_prefix(prefix).unwrap_or_default();
        frames.push(serde_json::from_str::<Value>(data)?);
    }
    let mut last = frames.pop().unwrap_or_default();
    for frame in &frames {
        anyhow::ensure!(frame["error"].is_null(), "an error in the middle: {text}");
        anyhow::ensure!(frame["done"] != true, "an end before the error: {text}");
        let finish = &frame["choices"][0]["finish_reason"];
        anyhow::ensure!(finish.is_null(), "a finish before the error: {text}");
    }
    let error = last["error"].take();
    let message = match path {
        OLLAMA => error.as_str(),
        _ => error["message"].as_str(),
    };
    let message = message.map(str::to_owned);
    Ok((
        frames,
        message.ok_or_else(|| anyhow::anyhow!("no error at the end: {text}"))?,
    ))
}

/// Checks that one node was asked once, and that the record says what came of it.
async fn assert_given_up(rig: &Rig, reply: &Reply, case: &str) -> anyhow::Result<()> {
    let asked = rig
        .nodes
        .iter()
        .flat_map(testbed::ScriptedUpstream::requests);
    // A node that failed may be tried with a token of its own.
    let asked = asked.filter(|request| {
        let body = String::from_utf8_lossy(&request.body);
        body.contains(QUESTION)
    });
    assert_eq!(asked.count(), 1, "{case}");
    let id = reply.headers["x-request-id"].to_str()?;
    let (outcome, node, continued) = rig.record(id).await?;
    assert_eq!((outcome.as_str(), continued), ("truncated", 0), "{case}");
    let answered = reply.headers["x-remuda-node"].to_str()?;
    assert_eq!(node.as_deref(), Some(answered), "{case}");
    assert_eq!(rig.metric("remuda_continuations_total"), Some(0.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn text_beside_offered_tools_ends_with_an_error() -> anyhow::Result<()> {
    for flavour in [Flavour::Vllm, Flavour::Ollama] {
        for path in [OPENAI, OLLAMA] {
            let directives = "tokens=40 reset_after=5 fresh";
            let (rig, reply) = ask_with_tools(flavour, path, directives).await?;
            let case = format!("{flavour:?} {path}: {}", reply.text());
            let (frames, error) = broken(path, &reply)?;
            let pieces = frames.iter().filter_map(|frame| match path {
                OLLAMA => frame["message"]["content"].as_str(),
                _ => frame["choices"][0]["delta"]["content"].as_str(),
            });
            // What had come before is the client's.
            assert_eq!(pieces.filter(|p| !p.is_empty()).count(), 5, "{case}");
            assert!(error.contains("tools were offered"), "{case}");
            assert_given_up(&rig, &reply, &case).await?;
            rig.shutdown().await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_call_that_has_begun_ends_with_an_error() -> anyhow::Result<()> {
    // An Ollama client gets calls whole: from another dialect's node it has got nothing yet, and another one begins anew.
    for (flavour, path) in [
        (Flavour::Vllm, OPENAI),
        (Flavour::Ollama, OPENAI),
        (Flavour::Ollama, OLLAMA),
    ] {
        let directives = "tool_call reset_after=0";
        let (rig, reply) = ask_with_tools(flavour, path, directives).await?;
        let case = format!("{flavour:?} {path}: {}", reply.text());
        let (frames, error) = broken(path, &reply)?;
        let called = frames.iter().any(|frame| {
            let calls = match path {
                OLLAMA => &frame["message"]["tool_calls"],
                _ => &frame["choices"][0]["delta"]["tool_calls"],
            };
            calls[0]["function"]["name"] == "weather"
        });
        assert!(called, "{case}");
        assert!(error.contains("a function call had begun"), "{case}");
        assert_given_up(&rig, &reply, &case).await?;
        rig.shutdown().await;
    }
    Ok(())
}
