//! What llama-server and vLLM do in their own ways, and that no client sees it.

use anyhow::Context as _;
use serde_json::{Value, json};
use testbed::{Ending, Fault, Flavour, ScriptedModel, ScriptedUpstream};

use crate::rig::Rig;

const CHAT: &str = "/v1/chat/completions";

/// Joins the text of a stream of any dialect.
fn text_of(body: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    for line in body.lines() {
        let line = line.strip_prefix("data: ").unwrap_or(line);
        let Ok(frame) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        anyhow::ensure!(frame["error"].is_null(), "an error in {body}");
        for place in [
            "/choices/0/delta/content",
            "/message/content",
            "/delta/text",
        ] {
            let piece = frame.pointer(place).and_then(Value::as_str);
            text.push_str(piece.unwrap_or_default());
        }
    }
    Ok(text)
}

fn story(max_tokens: u32) -> Value {
    json!({"model": "test-model", "stream": true, "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": "[[testbed tokens=40]] tell me a story"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_on_where_a_beginning_is_repeated_or_not_continued_on_its_route()
-> anyhow::Result<()> {
    for flavour in [Flavour::LlamaServer, Flavour::Vllm] {
        for path in [CHAT, "/api/chat", "/v1/messages"] {
            let mut body = story(200);
            if path == "/api/chat" {
                body.as_object_mut()
                    .context("no object")?
                    .remove("max_tokens");
            }
            let rig = Rig::start(&[flavour, flavour]).await?;
            let calm = rig.client.stream(path, &body).await?.whole().await?;
            let expected = text_of(&calm.text())?;
            anyhow::ensure!(!expected.is_empty(), "{}", calm.text());
            for node in &rig.nodes {
                node.fail_next(Fault::after(7, Ending::Reset));
            }
            let reply = rig.client.stream(path, &body).await?.whole().await?;
            assert_eq!(text_of(&reply.text())?, expected, "{flavour:?} {path}");
            let id = reply.headers["x-request-id"].to_str()?;
            let (outcome, _, continued) = rig.record(id).await?;
            assert_eq!(outcome, "ok", "{flavour:?} {path}");
            assert!(continued >= 1, "{flavour:?} {path}");
            rig.shutdown().await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ollamas_clients_get_only_what_is_new() -> anyhow::Result<()> {
    let mut answers = Vec::new();
    for flavour in [Flavour::Ollama, Flavour::LlamaServer, Flavour::Vllm] {
        let rig = Rig::start(&[flavour]).await?;
        let question = "[[testbed tokens=12]] tell me a story";
        let mut messages = vec![json!({"role": "user", "content": question})];
        let mut body = json!({"model": "test-model", "stream": false, "messages": messages});
        let whole = rig.client.post("/api/chat", &body).await?.json()?;
        let whole = whole["message"]["content"]
            .as_str()
            .context("no text")?
            .to_owned();
        let (begun, rest) = whole.split_at(whole.find(' ').context("one word")? + 1);
        messages.push(json!({"role": "assistant", "content": begun}));
        body["messages"] = json!(messages);
        let more = rig.client.post("/api/chat", &body).await?.json()?;
        assert_eq!(more["message"]["content"], rest, "{flavour:?}");
        body["stream"] = json!(true);
        let more = rig.client.stream("/api/chat", &body).await?.whole().await?;
        assert_eq!(text_of(&more.text())?, rest, "{flavour:?}");
        answers.push(whole);
        rig.shutdown().await;
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    Ok(())
}

/// Nodes whose servers answer every question with this error, but for the last one.
async fn refusing(
    contexts: &[u64],
    status: u16,
    message: &str,
    last_is_able: bool,
) -> anyhow::Result<Rig> {
    let mut nodes = Vec::new();
    for (index, context) in contexts.iter().enumerate() {
        let node = ScriptedUpstream::builder(Flavour::Vllm)
            .name(&format!("node{index}"))
            .model(ScriptedModel::chat("test-model").context_length(*context))
            .start()?;
        nodes.push(node);
    }
    let rig = Rig::over(nodes, |config| {
        config.policy = scheduling::PolicyName::RoundRobin;
    })
    .await?;
    let refusing = rig.nodes.len() - usize::from(last_is_able);
    for node in rig.nodes.iter().take(refusing) {
        let body =
            json!({"error": {"message": message, "type": "BadRequestError", "code": status}});
        node.edit_script(|script| {
            script.fault = Some(Fault::Status {
                status,
                body: Some(body.to_string()),
                retry_after_s: None,
            });
        });
    }
    Ok(rig)
}

fn asked(rig: &Rig) -> usize {
    let nodes = rig.nodes.iter();
    nodes.map(|node| node.requests_to(CHAT).len()).sum()
}

fn breaker_is_open(rig: &Rig) -> bool {
    let series = "remuda_breaker_open{model=\"test-model\",node=\"node0\"}";
    rig.metric(series) == Some(1.0)
}

fn question() -> Value {
    json!({"model": "test-model", "messages": [{"role": "user", "content": "x"}]})
}

/// Asks often enough for a breaker to open if the other node's refusals counted against it.
async fn all_are_answered_by_node1(rig: Rig) -> anyhow::Result<()> {
    for _ in 0..12 {
        let reply = rig.client.post(CHAT, &question()).await?;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.headers["x-remuda-node"], "node1");
    }
    assert!(!breaker_is_open(&rig));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_over_one_nodes_context_goes_to_one_with_more() -> anyhow::Result<()> {
    const OVER: &str = "This model's maximum context length is 4096 tokens";
    let question = question();
    let rig = refusing(&[4096, 8192], 400, OVER, true).await?;
    all_are_answered_by_node1(rig).await?;

    // Where all have the same, one answer is enough, and tells in each dialect what is wrong.
    let rig = refusing(&[4096, 4096, 4096], 400, OVER, false).await?;
    let before = asked(&rig);
    let reply = rig.client.post(CHAT, &question).await?;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(reply.json()?["error"]["code"], "context_length_exceeded");
    assert_eq!(asked(&rig) - before, 1);
    let mut anthropic = question.clone();
    anthropic["max_tokens"] = json!(9);
    // vLLM answers this route with the same words.
    let reply = rig.client.post("/v1/messages", &anthropic).await?;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(
        reply.text().contains("prompt is too long"),
        "{}",
        reply.text()
    );
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_was_not_started_for_opens_no_breaker() -> anyhow::Result<()> {
    const NO_IMAGES: &str = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj";
    let question = question();
    let rig = refusing(&[4096, 4096], 500, NO_IMAGES, true).await?;
    all_are_answered_by_node1(rig).await?;
    let rig = refusing(&[4096], 500, NO_IMAGES, false).await?;
    for _ in 0..12 {
        let reply = rig.client.post(CHAT, &question).await?;
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(reply.text().contains("image input"), "{}", reply.text());
    }
    assert!(!breaker_is_open(&rig));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropics_other_routes_reach_servers_that_have_them() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm]).await?;
    let body = json!({"model": "test-model", "messages": [{"role": "user", "content": "x"}]});
    let reply = rig.client.post("/v1/messages/count_tokens", &body).await?;
    assert_eq!(reply.headers["x-remuda-node"], "node0", "{}", reply.text());
    let seen = rig.nodes[0].requests_to("/v1/messages/count_tokens");
    assert_eq!(seen.len(), 1);
    rig.shutdown().await;
    Ok(())
}
