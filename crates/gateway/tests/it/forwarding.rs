//! Routes that this gateway does not know go to a node of the model, and its answer comes back.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use testbed::upstream::SeenRequest;
use testbed::{CannedAnswer, Flavour, Reply};

use crate::rig::Rig;

const RERANK: &str = "/v1/rerank";
const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
const BOUNDARY: &str = "a boundary of its own";

/// A rig over one node with an alias for its model. The node says the same on all paths that it does not know.
async fn knowing_more(flavour: Flavour, answer: &CannedAnswer) -> anyhow::Result<Rig> {
    let rig = Rig::start_with(&[flavour], |config| {
        let (alias, model) = ("best".to_owned(), "test-model".to_owned());
        config.aliases.insert(alias, model);
    })
    .await?;
    rig.nodes[0].edit_script(|script| script.unknown_path = Some(answer.clone()));
    Ok(rig)
}

fn json_answer() -> CannedAnswer {
    CannedAnswer {
        status: 200,
        content_type: "application/json",
        body: Bytes::from_static(br#"{"results": [{"index": 1,  "relevance_score": 0.5}]}"#),
    }
}

/// Returns the one request that a node has seen at a path.
fn seen(rig: &Rig, path: &str) -> anyhow::Result<SeenRequest> {
    let mut requests = rig.nodes[0].requests_to(path);
    anyhow::ensure!(requests.len() == 1, "{} requests", requests.len());
    Ok(requests.remove(0))
}

fn assert_came_back(reply: &Reply, answer: &CannedAnswer) -> anyhow::Result<()> {
    assert_eq!(reply.status, answer.status, "{}", reply.text());
    assert_eq!(reply.headers["content-type"], answer.content_type);
    assert_eq!(reply.body, answer.body);
    assert_eq!(reply.headers["x-remuda-node"], "node0");
    assert!(!reply.headers["x-request-id"].to_str()?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_request_and_its_answer_pass_as_they_are() -> anyhow::Result<()> {
    let answers = [
        json_answer(),
        CannedAnswer {
            status: 422,
            content_type: "application/problem+json",
            body: Bytes::from_static(br#"{"detail": "too many documents"}"#),
        },
        CannedAnswer {
            status: 200,
            content_type: "audio/mpeg",
            body: Bytes::from_static(b"\xff\xfb\x90\0\r\n\0"),
        },
    ];
    // White space, order and fields that nobody here knows stay as they are.
    let body = br#"{ "query":"q",  "new_field": [1, 2.50], "model" : "test-model", "documents": ["a", "\u00e9"] }"#;
    for flavour in [Flavour::Vllm, Flavour::Ollama] {
        for answer in &answers {
            let rig = knowing_more(flavour, answer).await?;
            let key = rig.with_new_key(json!({"name": "app"})).await?;
            let body = Bytes::from_static(body);
            let reply = key.send(Method::POST, RERANK, body.clone()).await?;
            assert_came_back(&reply, answer)?;
            let seen = seen(&rig, RERANK)?;
            assert_eq!(seen.method, Method::POST);
            assert_eq!(seen.body, body);
            assert_eq!(seen.headers["content-type"], "application/json");
            // The key is for this gateway, and no business of its nodes.
            assert!(!seen.headers.contains_key("authorization"));
            rig.shutdown().await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_in_json_becomes_the_models_own_name() -> anyhow::Result<()> {
    // Ollama's own name has a tag.
    for (flavour, own) in [
        (Flavour::Vllm, "test-model"),
        (Flavour::Ollama, "test-model:latest"),
    ] {
        let answer = json_answer();
        let rig = knowing_more(flavour, &answer).await?;
        let ask = |model| format!(r#"{{"query": "best",  "model": "{model}", "top_n": 1}}"#);
        let body = Bytes::from(ask("best"));
        let reply = rig.client.send(Method::POST, RERANK, body).await?;
        assert_came_back(&reply, &answer)?;
        assert_eq!(seen(&rig, RERANK)?.body, ask(own));
        rig.shutdown().await;
    }
    Ok(())
}

/// Writes a form with the model's name and bytes that are no text.
fn form(model: &str) -> Bytes {
    let mut form = Vec::new();
    for (disposition, value) in [
        (
            "name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav",
            b"RIFF\0\xff\xfe\r\n--\r\n\0\x80".as_slice(),
        ),
        ("name=\"model\"", model.as_bytes()),
        ("name=\"language\"", b"sv"),
    ] {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n");
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(value);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    Bytes::from(form)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_passes_byte_for_byte() -> anyhow::Result<()> {
    let content_type = format!("multipart/form-data; boundary=\"{BOUNDARY}\"");
    for flavour in [Flavour::Vllm, Flavour::Ollama] {
        let answer = json_answer();
        let rig = knowing_more(flavour, &answer).await?;
        let client = rig.client.with_header("content-type", &content_type)?;
        let form = form("test-model");
        let reply = client
            .send(Method::POST, TRANSCRIPTIONS, form.clone())
            .await?;
        assert_came_back(&reply, &answer)?;
        let seen = seen(&rig, TRANSCRIPTIONS)?;
        assert_eq!(seen.body, form);
        assert_eq!(seen.headers["content-type"], content_type.as_str());
        rig.shutdown().await;
    }
    Ok(())
}

/// Returns the message of an error in the OpenAI dialect.
fn message(reply: &Reply) -> anyhow::Result<String> {
    let error: Value = reply.json()?["error"].take();
    let message = error["message"].as_str().map(str::to_owned);
    message.ok_or_else(|| anyhow::anyhow!("no message: {}", reply.text()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_in_a_form_is_refused() -> anyhow::Result<()> {
    let content_type = format!("multipart/form-data; boundary=\"{BOUNDARY}\"");
    let rig = knowing_more(Flavour::Vllm, &json_answer()).await?;
    let client = rig.client.with_header("content-type", &content_type)?;
    let reply = client
        .send(Method::POST, TRANSCRIPTIONS, form("best"))
        .await?;
    assert_eq!(reply.status, 400, "{}", reply.text());
    let message = message(&reply)?;
    assert!(message.contains("an alias cannot be used in a form"));
    assert!(message.contains("give the model's own name"));
    assert!(rig.nodes[0].requests_to(TRANSCRIPTIONS).is_empty());
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_that_is_there_nobody_is_asked() -> anyhow::Result<()> {
    let rig = knowing_more(Flavour::Vllm, &json_answer()).await?;
    for (body, why) in [
        (
            json!({"model": "no-such-model", "query": "q"}),
            "no-such-model",
        ),
        (json!({"query": "q"}), "without a model"),
    ] {
        let reply = rig.client.post(RERANK, &body).await?;
        assert_eq!(reply.status, 404, "{}", reply.text());
        assert!(message(&reply)?.contains(why), "{}", reply.text());
    }
    assert!(rig.nodes[0].requests_to(RERANK).is_empty());
    rig.shutdown().await;
    Ok(())
}
