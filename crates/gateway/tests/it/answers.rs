//! Any client dialect over any node dialect.

use serde_json::json;
use testbed::Flavour;

use crate::rig::Rig;

/// Joins the text of an OpenAI stream and checks its shape.
pub(crate) fn openai_text(body: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let events: Vec<&str> = body
        .split("\n\n")
        .filter(|e| !e.is_empty() && !e.starts_with(':'))
        .collect();
    anyhow::ensure!(
        events.last() == Some(&"data: [DONE]"),
        "no end mark in {body}"
    );
    let mut id = None;
    let mut finish = None;
    for event in &events[..events.len() - 1] {
        let value: serde_json::Value = serde_json::from_str(event.trim_start_matches("data: "))?;
        anyhow::ensure!(value["error"].is_null(), "error in the stream: {value}");
        let this = value["id"].as_str().map(str::to_owned);
        anyhow::ensure!(
            id.is_none() || id == this,
            "the id changed within the stream: {body}"
        );
        id = this;
        let choice = &value["choices"][0];
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        if let Some(reason) = choice["finish_reason"].as_str() {
            anyhow::ensure!(finish.is_none(), "two finishes in {body}");
            finish = Some(reason.to_owned());
        }
    }
    anyhow::ensure!(
        finish.as_deref() == Some("stop"),
        "finish {finish:?} in {body}"
    );
    Ok(text)
}

/// Joins the text of an Ollama chat stream and checks its shape.
pub(crate) fn ollama_text(lines: &[serde_json::Value]) -> anyhow::Result<String> {
    let last = lines.last().ok_or_else(|| anyhow::anyhow!("no lines"))?;
    anyhow::ensure!(
        last["done"] == true && last["done_reason"] == "stop",
        "bad end: {last}"
    );
    anyhow::ensure!(last["eval_count"].as_u64().is_some(), "no usage in {last}");
    let mut text = String::new();
    for line in lines {
        anyhow::ensure!(line["error"].is_null(), "error line: {line}");
        text.push_str(line["message"]["content"].as_str().unwrap_or_default());
    }
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dialect_gets_the_same_answer_from_every_kind_of_node() -> anyhow::Result<()> {
    let mut answers = Vec::new();
    for flavour in [
        Flavour::Ollama,
        Flavour::Vllm,
        Flavour::LlamaServer,
        Flavour::Other,
    ] {
        let rig = Rig::start(&[flavour]).await?;
        let messages = json!([{"role": "user", "content": "hello there"}]);
        let openai = json!({"model": "test-model", "messages": messages});
        let whole = rig.client.post("/v1/chat/completions", &openai).await?;
        assert_eq!(whole.status, 200, "{flavour:?} {}", whole.text());
        assert_eq!(whole.headers["x-remuda-node"], "node0");
        assert!(whole.headers.contains_key("x-request-id"));
        let value = whole.json()?;
        assert_eq!(value["model"], "test-model");
        let text = value["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(value["usage"]["completion_tokens"].as_u64().unwrap() > 0);

        let mut streamed = openai.clone();
        streamed["stream"] = json!(true);
        let reply = rig
            .client
            .stream("/v1/chat/completions", &streamed)
            .await?
            .whole()
            .await?;
        assert_eq!(openai_text(&reply.text())?, text, "{flavour:?}");

        let chat = json!({"model": "test-model", "messages": messages});
        let lines = rig
            .client
            .stream("/api/chat", &chat)
            .await?
            .json_lines()
            .await?;
        assert_eq!(ollama_text(&lines)?, text, "{flavour:?}");
        assert_eq!(lines[0]["model"], "test-model");

        let mut one = chat.clone();
        one["stream"] = json!(false);
        let value = rig.client.post("/api/chat", &one).await?.json()?;
        assert_eq!(
            value["message"]["content"],
            text.as_str(),
            "{flavour:?} {value}"
        );
        answers.push(text);
        rig.shutdown().await;
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_frames_reach_only_those_who_asked() -> anyhow::Result<()> {
    for flavour in [Flavour::Vllm, Flavour::Ollama] {
        let rig = Rig::start(&[flavour]).await?;
        let mut body = json!({"model": "test-model", "stream": true, "messages": [{"role": "user", "content": "x"}]});
        let reply = rig
            .client
            .stream("/v1/chat/completions", &body)
            .await?
            .whole()
            .await?;
        assert!(!reply.text().contains("\"choices\":[]"), "{}", reply.text());
        let id = reply.headers["x-request-id"].to_str()?.to_owned();
        rig.record(&id).await?;
        let mut tx = rig.db.read().await?;
        let row = tx
            .fetch_optional(
                "SELECT completion_tokens, prompt_tokens FROM requests WHERE id = $1",
                store::params![id],
            )
            .await?
            .unwrap();
        assert!(row.get::<i64>("completion_tokens")? > 0 && row.get::<i64>("prompt_tokens")? > 0);
        tx.commit().await?;
        body["stream_options"] = json!({"include_usage": true});
        let reply = rig
            .client
            .stream("/v1/chat/completions", &body)
            .await?
            .whole()
            .await?;
        assert!(reply.text().contains("\"choices\":[]"), "{}", reply.text());
        rig.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_answer_under_the_name_that_was_asked() -> anyhow::Result<()> {
    for flavour in [Flavour::Vllm, Flavour::Ollama] {
        let rig = Rig::start_with(&[flavour], |config| {
            config
                .aliases
                .insert("best".to_owned(), "test-model".to_owned());
        })
        .await?;
        let body = json!({"model": "best", "messages": [{"role": "user", "content": "x"}]});
        let reply = rig.client.post("/v1/chat/completions", &body).await?;
        assert_eq!(reply.json()?["model"], "best", "{}", reply.text());
        assert_eq!(reply.headers["x-remuda-model"], "test-model");
        let lines = rig
            .client
            .stream("/api/chat", &body)
            .await?
            .json_lines()
            .await?;
        assert!(
            lines.iter().all(|line| line["model"] == "best"),
            "{lines:?}"
        );
        let names = rig.client.get("/api/tags").await?.text();
        assert!(names.contains("\"best"), "{names}");
        rig.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_cross_dialects() -> anyhow::Result<()> {
    for flavour in [Flavour::Vllm, Flavour::Ollama] {
        let node = testbed::ScriptedUpstream::builder(flavour)
            .name("node0")
            .model(testbed::ScriptedModel::embedding("embedder"))
            .start()?;
        let rig = Rig::over(vec![node], |_| {}).await?;
        let ollama = rig
            .client
            .post(
                "/api/embed",
                &json!({"model": "embedder", "input": ["a", "b"]}),
            )
            .await?;
        assert_eq!(ollama.status, 200, "{}", ollama.text());
        let vectors = ollama.json()?["embeddings"].clone();
        assert_eq!(vectors.as_array().map(Vec::len), Some(2));
        let openai = rig
            .client
            .post(
                "/v1/embeddings",
                &json!({"model": "embedder", "input": ["a", "b"]}),
            )
            .await?;
        let value = openai.json()?;
        for (index, vector) in vectors.as_array().unwrap().iter().enumerate() {
            let other = value["data"][index]["embedding"].as_array().unwrap();
            for (a, b) in vector.as_array().unwrap().iter().zip(other) {
                assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-5);
            }
        }
        let base64 = rig
            .client
            .post(
                "/v1/embeddings",
                &json!({"model": "embedder", "input": "a", "encoding_format": "base64"}),
            )
            .await?
            .json()?;
        assert!(base64["data"][0]["embedding"].is_string(), "{base64}");
        rig.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_calls_cross_dialects() -> anyhow::Result<()> {
    for flavour in [Flavour::Vllm, Flavour::Ollama] {
        let rig = Rig::start(&[flavour]).await?;
        let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]);
        let body = json!({"model": "test-model", "stream": false, "tools": tools, "messages": [{"role": "user", "content": "[[testbed tool_call]] weather?"}]});
        let openai = rig
            .client
            .post("/v1/chat/completions", &body)
            .await?
            .json()?;
        let call = &openai["choices"][0]["message"]["tool_calls"][0]["function"];
        assert_eq!(call["name"], "weather", "{openai}");
        assert!(call["arguments"].is_string(), "{openai}");
        let ollama = rig.client.post("/api/chat", &body).await?.json()?;
        let call = &ollama["message"]["tool_calls"][0]["function"];
        assert_eq!(call["name"], "weather", "{ollama}");
        assert!(call["arguments"].is_object(), "{ollama}");
        rig.shutdown().await;
    }
    Ok(())
}
