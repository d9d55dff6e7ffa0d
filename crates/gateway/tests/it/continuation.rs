//! A node is lost in the middle of a stream and the client sees one whole answer.

use serde_json::json;
use testbed::{Ending, Fault, Flavour};

use crate::answers::{ollama_text, openai_text};
use crate::rig::Rig;

fn chat() -> serde_json::Value {
    json!({"model": "test-model", "stream": true, "messages": [{"role": "user", "content": "[[testbed tokens=40]] tell me a story"}]})
}

async fn undisturbed(flavours: &[Flavour]) -> anyhow::Result<String> {
    let rig = Rig::start(flavours).await?;
    let reply = rig
        .client
        .stream("/v1/chat/completions", &chat())
        .await?
        .whole()
        .await?;
    rig.shutdown().await;
    openai_text(&reply.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_goes_on_whichever_way_the_node_is_lost() -> anyhow::Result<()> {
    let expected = undisturbed(&[Flavour::Vllm]).await?;
    let endings = [
        Ending::Reset,
        Ending::Close,
        Ending::End,
        Ending::Stall,
        Ending::Malformed,
        Ending::Error("out of memory".to_owned()),
    ];
    for ending in endings {
        for path in ["/v1/chat/completions", "/api/chat"] {
            let rig = Rig::start_with(
                &[Flavour::Vllm, Flavour::Ollama, Flavour::LlamaServer],
                |config| {
                    config.stall_timeout = std::time::Duration::from_millis(300);
                },
            )
            .await?;
            // Each node is lost once, after seven tokens, whichever of them is asked first.
            for node in &rig.nodes {
                node.fail_next(Fault::after(7, ending.clone()));
            }
            let stream = rig.client.stream(path, &chat()).await?;
            let reply = anyhow::Context::with_context(stream.whole().await, || {
                format!("{ending:?} {path}")
            })?;
            assert_eq!(reply.status, 200);
            let id = reply.headers["x-request-id"].to_str()?.to_owned();
            let joined = reply.text();
            let text = if path == "/api/chat" {
                let lines: Vec<serde_json::Value> = joined
                    .lines()
                    .map(serde_json::from_str)
                    .collect::<Result<_, _>>()?;
                ollama_text(&lines)?
            } else {
                openai_text(&joined)?
            };
            assert_eq!(text, expected, "{ending:?} {path}");
            let (outcome, _, continued) = rig.record(&id).await?;
            assert_eq!(outcome, "ok", "{ending:?} {path}");
            assert!(continued >= 1, "{ending:?} {path}");
            rig.shutdown().await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_final_usage_counts_every_token_once() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm, Flavour::Vllm]).await?;
    let mut body = chat();
    body["stream_options"] = json!({"include_usage": true});
    let usage = |text: &str| -> serde_json::Value {
        text.split("\n\n")
            .filter_map(|e| {
                serde_json::from_str::<serde_json::Value>(e.trim_start_matches("data: ")).ok()
            })
            .find(|v| v["choices"].as_array().is_some_and(Vec::is_empty))
            .map(|v| v["usage"].clone())
            .unwrap_or_default()
    };
    let calm = usage(
        &rig.client
            .stream("/v1/chat/completions", &body)
            .await?
            .whole()
            .await?
            .text(),
    );
    for node in &rig.nodes {
        node.fail_next(Fault::after(5, Ending::Reset));
    }
    let stormy = rig
        .client
        .stream("/v1/chat/completions", &body)
        .await?
        .whole()
        .await?
        .text();
    let stormy = usage(&stormy);
    assert_eq!(
        stormy["completion_tokens"], calm["completion_tokens"],
        "{stormy} {calm}"
    );
    assert_eq!(
        stormy["prompt_tokens"], calm["prompt_tokens"],
        "{stormy} {calm}"
    );
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn constrained_output_ends_with_an_error_in_the_dialect() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm, Flavour::Vllm]).await?;
    for node in &rig.nodes {
        node.fail_next(Fault::after(5, Ending::Reset));
    }
    let mut body = chat();
    body["response_format"] = json!({"type": "json_object"});
    let reply = rig
        .client
        .stream("/v1/chat/completions", &body)
        .await?
        .whole()
        .await?;
    let text = reply.text();
    assert!(text.contains("data: {\"error\":{"), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
    let (outcome, ..) = rig.record(reply.headers["x-request-id"].to_str()?).await?;
    assert_eq!(outcome, "truncated");
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_streams_survive_nodes_that_die_at_random() -> anyhow::Result<()> {
    let rig = Rig::start_with(
        &[
            Flavour::Vllm,
            Flavour::Ollama,
            Flavour::LlamaServer,
            Flavour::Vllm,
        ],
        |config| {
            config.stall_timeout = std::time::Duration::from_secs(5);
        },
    )
    .await?;
    for node in &rig.nodes {
        node.edit_script(|script| script.token_delay = std::time::Duration::from_millis(20));
    }
    let expected = undisturbed(&[Flavour::Vllm]).await?;
    let mut streams = tokio::task::JoinSet::new();
    for index in 0..500 {
        let client = rig.client.clone();
        streams.spawn(async move {
            let path = if index % 2 == 0 {
                "/v1/chat/completions"
            } else {
                "/api/chat"
            };
            let reply = client.stream(path, &chat()).await?;
            anyhow::ensure!(reply.status == 200, "status {}", reply.status);
            if index % 2 == 0 {
                openai_text(&reply.whole().await?.text())
            } else {
                let lines = reply.json_lines().await?;
                ollama_text(&lines)
            }
        });
    }
    // One node after the other dies and comes back while they stream.
    let mut done = 0;
    let mut victim = 0;
    let mut storm = tokio::time::interval(std::time::Duration::from_millis(400));
    while done < 500 {
        tokio::select! {
            text = streams.join_next() => {
                let text = text.unwrap()??;
                assert_eq!(text, expected);
                done += 1;
            }
            _ = storm.tick() => {
                rig.nodes[victim % 4].restart()?;
                victim += 1;
                rig.nodes[victim % 4].kill();
            }
        }
    }
    for node in &rig.nodes {
        node.restart()?;
    }
    rig.wait_until_idle().await?;
    let continued = rig.metric("remuda_continuations_total");
    assert!(
        continued.is_some_and(|streams| streams > 0.0),
        "no stream was continued, nothing was tested: {continued:?}"
    );
    rig.shutdown().await;
    Ok(())
}
