//! Wrong requests get the right status and body in the client's dialect, and nothing reaches a node.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use testbed::{Flavour, send_raw};

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_is_answered_in_the_clients_dialect() -> anyhow::Result<()> {
    let rig = Rig::start_with(&[Flavour::Ollama], |config| config.body_limit = 10_000).await?;
    let before = rig.nodes[0].counters().inference;
    let big = format!(
        "{{\"model\":\"test-model\",\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        "x".repeat(20_000)
    );
    let cases: Vec<(Method, &str, Vec<u8>, u16)> = vec![
        (
            Method::POST,
            "chat",
            br#"{"model":"nobody","messages":[{"role":"user","content":"x"}]}"#.to_vec(),
            404,
        ),
        (Method::POST, "chat", b"{not json".to_vec(), 400),
        (Method::POST, "chat", b"".to_vec(), 400),
        (Method::POST, "chat", b"[1,2]".to_vec(), 400),
        (
            Method::POST,
            "chat",
            br#"{"model":7,"messages":[]}"#.to_vec(),
            400,
        ),
        (
            Method::POST,
            "chat",
            br#"{"messages":[{"role":"user","content":"x"}]}"#.to_vec(),
            400,
        ),
        (Method::POST, "chat", vec![b'{', 0xff, 0xfe, b'}'], 400),
        (Method::POST, "chat", big.into_bytes(), 413),
        (
            Method::POST,
            "chat",
            format!(
                r#"{{"model":"{}","messages":[{{"role":"user","content":"x"}}]}}"#,
                "m".repeat(513)
            )
            .into_bytes(),
            400,
        ),
        (Method::DELETE, "chat", b"".to_vec(), 405),
        (Method::GET, "chat", b"".to_vec(), 405),
    ];
    for (method, _, body, status) in &cases {
        for (path, openai) in [("/v1/chat/completions", true), ("/api/chat", false)] {
            let reply = rig
                .client
                .send(method.clone(), path, Bytes::from(body.clone()))
                .await?;
            let shown = format!(
                "{method} {path} {}: {}",
                String::from_utf8_lossy(&body[..body.len().min(80)]),
                reply.text()
            );
            assert_eq!(reply.status.as_u16(), *status, "{shown}");
            let value = reply.json()?;
            if openai {
                assert!(
                    value["error"]["message"].is_string() && value["error"]["type"].is_string(),
                    "{shown}"
                );
                assert!(
                    value["error"].get("code").is_some() && value["error"].get("param").is_some(),
                    "{shown}"
                );
            } else {
                assert!(value["error"].is_string(), "{shown}");
            }
            assert!(reply.headers.contains_key("x-request-id"), "{shown}");
            if *status == 405 {
                assert_eq!(reply.headers["allow"], "POST", "{shown}");
            }
        }
    }
    let compressed = rig.client.with_header("content-encoding", "gzip")?;
    for path in ["/v1/chat/completions", "/api/chat", "/v1/messages"] {
        let reply = compressed
            .post(path, &json!({"model": "test-model"}))
            .await?;
        assert_eq!(reply.status, 415, "{path} {}", reply.text());
        assert!(reply.text().contains("Content-Encoding"), "{path}");
    }
    let empty = rig
        .client
        .post(
            "/v1/chat/completions",
            &json!({"model": "test-model", "messages": []}),
        )
        .await?;
    assert_eq!(empty.status, 400, "{}", empty.text());
    assert_eq!(
        rig.nodes[0].counters().inference,
        before,
        "a wrong request reached the node"
    );
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_administrative_routes_do_not_reach_nodes() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Ollama]).await?;
    for path in [
        "/nothing",
        "/v1/nothing",
        "/api/nothing",
        "/debug/pprof",
        "/api/me",
        "/v1/load_lora_adapter",
    ] {
        let reply = rig.client.get(path).await?;
        assert_eq!(reply.status, 404, "{path} {}", reply.text());
    }
    for path in [
        "/api/signout",
        "/v1/load_lora_adapter",
        "/v1/../debug/pprof",
    ] {
        let reply = rig
            .client
            .post(path, &json!({"model": "test-model"}))
            .await?;
        assert_eq!(reply.status, 404, "{path} {}", reply.text());
        assert!(rig.nodes[0].requests_to(path).is_empty());
    }
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_all_of_a_large_body_before_listening_hears_why_it_is_refused()
-> anyhow::Result<()> {
    let rig = Rig::start_with(&[Flavour::Ollama], |config| config.body_limit = 10_000).await?;
    let body = "x".repeat(8 << 20);
    let request = format!(
        "POST /api/chat HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = Box::pin(send_raw(rig.client.address(), request.as_bytes())).await?;
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(text.contains("server.body_limit"), "{text}");
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_headers_and_broken_requests_end_in_a_4xx() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Ollama]).await?;
    let many = (0..500)
        .map(|n| format!("x-{n}: y"))
        .collect::<Vec<_>>()
        .join("\r\n")
        + "\r\n";
    let long = "y".repeat(200_000);
    for request in [
        format!("GET /api/tags HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        format!("GET /api/tags HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n"),
        "GARBAGE\r\n\r\n".to_owned(),
        "POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"
            .to_owned(),
    ] {
        let answer = Box::pin(send_raw(rig.client.address(), request.as_bytes())).await?;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    let alive = rig.client.get("/api/version").await?;
    assert_eq!(alive.status, 200);
    rig.shutdown().await;
    Ok(())
}
