//! What a client learns of a stream that went on elsewhere: how often it did, and one end with the usage of the whole.

use serde_json::{Value, json};
use testbed::{Ending, Fault, Flavour, Reply};

use crate::answers::{ollama_text, openai_text};
use crate::rig::Rig;

const CHAT_ROUTES: [&str; 2] = ["/v1/chat/completions", "/api/chat"];
const MARK: &str = "x-remuda-continued";

fn chat(directives: &str) -> Value {
    let content = format!("[[testbed tokens=40 {directives}]] tell me a story");
    json!({"model": "test-model", "stream": true, "messages": [{"role": "user", "content": content}]})
}

fn json_lines(reply: &Reply) -> anyhow::Result<Vec<Value>> {
    let text = reply.text();
    Ok(text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}

/// Checks that the answer is a whole one.
fn assert_whole(path: &str, reply: &Reply) -> anyhow::Result<()> {
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    match path {
        "/api/chat" => ollama_text(&json_lines(reply)?)?,
        _ => openai_text(&reply.text())?,
    };
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trailer_counts_how_often_the_stream_went_on_elsewhere() -> anyhow::Result<()> {
    for flavours in [
        [Flavour::Vllm, Flavour::Vllm],
        [Flavour::Ollama, Flavour::Vllm],
    ] {
        for path in CHAT_ROUTES {
            // Whichever node is asked first breaks off; those that go on do not, unless told to below.
            for (directives, losses) in [("", 0), ("reset_after=7 fresh", 1), ("", 2)] {
                let rig = Rig::start(&flavours).await?;
                if losses == 2 {
                    for node in &rig.nodes {
                        node.fail_next(Fault::after(7, Ending::Reset));
                    }
                }
                let client = rig.client.with_header("te", "trailers")?;
                let stream = client.stream(path, &chat(directives)).await?;
                let reply = stream.whole().await?;
                let case = format!("{flavours:?} {path} {losses}");
                assert_whole(path, &reply)?;
                assert_eq!(reply.headers["trailer"], MARK, "{case}");
                // The head went out before anything was lost.
                assert!(!reply.headers.contains_key(MARK), "{case}");
                let told = reply.trailers.get(MARK).map(|mark| mark.to_str());
                let expected = (losses > 0).then(|| losses.to_string());
                assert_eq!(told.transpose()?, expected.as_deref(), "{case}");
                let id = reply.headers["x-request-id"].to_str()?;
                let (outcome, _, continued) = rig.record(id).await?;
                assert_eq!((outcome.as_str(), continued), ("ok", losses), "{case}");
                rig.shutdown().await;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_trailers_gets_none() -> anyhow::Result<()> {
    for path in CHAT_ROUTES {
        let rig = Rig::start(&[Flavour::Vllm, Flavour::Vllm]).await?;
        let body = chat("reset_after=7 fresh");
        let reply = rig.client.stream(path, &body).await?.whole().await?;
        assert_whole(path, &reply)?;
        let id = reply.headers["x-request-id"].to_str()?;
        assert_eq!(rig.record(id).await?.2, 1, "nothing was tested");
        assert!(!reply.headers.contains_key("trailer"), "{path}");
        assert!(reply.trailers.is_empty(), "{path}: {:?}", reply.trailers);
        rig.shutdown().await;
    }
    Ok(())
}

/// Returns the joined text and the last line of an Ollama stream of either route.
fn ollama_end(reply: &Reply) -> anyhow::Result<(String, Value)> {
    let mut lines = json_lines(reply)?;
    let last = lines.pop().unwrap_or_default();
    let mut text = String::new();
    for line in &lines {
        anyhow::ensure!(line["done"] == false, "an end in the middle: {line}");
        anyhow::ensure!(line["eval_count"].is_null(), "usage before the end: {line}");
        let piece = &line["message"]["content"];
        let piece = piece.as_str().or_else(|| line["response"].as_str());
        text.push_str(piece.unwrap_or_default());
    }
    Ok((text, last))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_client_gets_one_end_with_the_usage_of_the_whole() -> anyhow::Result<()> {
    for flavours in [
        [Flavour::Ollama, Flavour::Ollama],
        [Flavour::Vllm, Flavour::Vllm],
        [Flavour::Ollama, Flavour::LlamaServer],
    ] {
        for path in ["/api/chat", "/api/generate"] {
            let rig = Rig::start(&flavours).await?;
            let mut body = chat("");
            if path == "/api/generate" {
                body["prompt"] = body["messages"][0]["content"].take();
                body.as_object_mut().map(|body| body.remove("messages"));
            }
            let calm = rig.client.stream(path, &body).await?.whole().await?;
            for node in &rig.nodes {
                node.fail_next(Fault::after(5, Ending::Reset));
            }
            let stormy = rig.client.stream(path, &body).await?.whole().await?;
            let id = stormy.headers["x-request-id"].to_str()?;
            let case = format!("{flavours:?} {path}: {}", stormy.text());
            assert!(rig.record(id).await?.2 > 0, "nothing was tested: {case}");
            let ((expected, calm), (text, end)) = (ollama_end(&calm)?, ollama_end(&stormy)?);
            assert!(!expected.is_empty(), "{calm}");
            assert_eq!(text, expected, "{case}");
            assert_eq!(end["done"], true, "{case}");
            assert_eq!(end["done_reason"], "stop", "{case}");
            assert_eq!(end["model"], "test-model", "{case}");
            assert_eq!(end["eval_count"], 40, "{case}");
            for field in ["eval_count", "prompt_eval_count"] {
                assert_eq!(end[field], calm[field], "{field}: {case}");
            }
            rig.shutdown().await;
        }
    }
    Ok(())
}
