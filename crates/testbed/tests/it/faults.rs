//! Scripted misfortune comes as told, and clients that go away are noticed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::upstream::Chunking;
use testbed::{Answer, Ending, Fault, Flavour, Gate, LinkBreaker, ScriptedUpstream, TestClient};

fn chat(prompt: &str) -> Value {
    json!({"model": "test-model", "messages": [{"role": "user", "content": prompt}]})
}

/// Reads the stream to its end and returns the text and whether it broke off.
async fn read(client: &TestClient, prompt: &str) -> (String, bool) {
    let mut reply = client.stream("/api/chat", &chat(prompt)).await.unwrap();
    let mut text = String::new();
    loop {
        match reply.line().await {
            Ok(Some(line)) => {
                let frame: Value = serde_json::from_str(&line).unwrap_or_default();
                text.push_str(frame["message"]["content"].as_str().unwrap_or("<broken>"));
            }
            Ok(None) => return (text, false),
            Err(_) => return (text, true),
        }
    }
}

#[tokio::test]
async fn reset_and_close_come_after_exactly_the_scripted_tokens() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let client = TestClient::new(upstream.address());
    for ending in ["reset_after=7", "close_after=7"] {
        let prompt = format!("go [[testbed {ending}]]");
        let (text, broke_off) = read(&client, &prompt).await;
        assert_eq!(
            (text, broke_off),
            (Answer::to(&prompt, None).tokens()[..7].concat(), true),
            "{ending}"
        );
    }
    let (text, broke_off) = read(&client, "go [[testbed end_after=7]]").await;
    assert_eq!(
        (text, broke_off),
        (
            Answer::to("go [[testbed end_after=7]]", None).tokens()[..7].concat(),
            false
        )
    );
    assert_eq!(upstream.counters().cancelled, 0);
}

#[tokio::test]
async fn reset_before_the_first_byte_and_error_status_hit_one_request_each() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let client = TestClient::new(upstream.address());
    upstream.fail_next(Fault::ResetBeforeFirstByte);
    upstream.fail_next(Fault::Status {
        status: 503,
        body: None,
        retry_after_s: Some(3),
    });
    assert!(client.stream("/api/chat", &chat("hi")).await.is_err());
    let refused = client.post("/api/chat", &chat("hi")).await.unwrap();
    assert_eq!(
        (refused.status.as_u16(), &refused.headers["retry-after"]),
        (503, &"3".parse().unwrap())
    );
    assert_eq!(read(&client, "hi").await.0, Answer::to("hi", None).text());
}

#[tokio::test]
async fn malformed_frame_stands_among_good_ones_and_an_error_line_ends_the_stream() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let client = TestClient::new(upstream.address());
    let prompt = "go [[testbed malformed_after=2 tokens=4]]";
    let tokens = Answer::to(prompt, None).tokens().to_vec();
    assert_eq!(
        read(&client, prompt).await.0,
        format!("{}<broken>{}", tokens[..2].concat(), tokens[2..].concat())
    );
    upstream.fail_next(Fault::after(2, Ending::Error("out of memory".to_owned())));
    let lines = client
        .stream("/api/chat", &chat("hi"))
        .await
        .unwrap()
        .json_lines()
        .await
        .unwrap();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2], json!({"error": "out of memory"}));
}

#[tokio::test]
async fn frames_cut_anywhere_join_to_the_same_text() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let client = TestClient::new(upstream.address());
    for chunking in [Chunking::Bytes(5), Chunking::Together(4)] {
        upstream.edit_script(|script| script.chunking = chunking);
        assert_eq!(
            read(&client, "hello").await,
            (Answer::to("hello", None).text(), false)
        );
    }
}

#[tokio::test]
async fn client_that_goes_away_is_noticed_while_streaming_stalling_and_waiting() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let client = TestClient::new(upstream.address());
    let mut stream = client
        .stream("/api/chat", &chat("go [[testbed stall_after=3]]"))
        .await
        .unwrap();
    for _ in 0..3 {
        stream.line().await.unwrap();
    }
    assert_eq!(upstream.counters().in_flight, 1);
    let left = Instant::now();
    drop(stream);
    upstream
        .wait_for(|counters| counters.cancelled == 1 && counters.in_flight == 0)
        .await
        .unwrap();
    let noticed = upstream.cancellations().remove(0);
    assert_eq!(
        (noticed.path.as_str(), noticed.tokens_sent),
        ("/api/chat", 3)
    );
    assert!(noticed.at >= left);

    let hanging = tokio::spawn(async move {
        client
            .stream("/api/chat", &chat("go [[testbed hang]]"))
            .await
            .is_ok()
    });
    upstream
        .wait_for(|counters| counters.in_flight == 1)
        .await
        .unwrap();
    hanging.abort();
    upstream
        .wait_for(|counters| counters.cancelled == 2)
        .await
        .unwrap();
}

#[tokio::test]
async fn hanging_chat_leaves_model_lists_alone() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let client = TestClient::new(upstream.address());
    upstream.edit_script(|script| script.fault = Some(Fault::Hang));
    let body = chat("hi");
    let chatting = client.post("/api/chat", &body);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), chatting)
            .await
            .is_err()
    );
    assert_eq!(client.get("/api/tags").await.unwrap().status, 200);
}

#[tokio::test]
async fn killed_server_refuses_connections_and_returns_on_the_same_port() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let client = TestClient::new(upstream.address());
    let mut open = client
        .stream("/api/chat", &chat("go [[testbed stall_after=1]]"))
        .await
        .unwrap();
    open.line().await.unwrap();
    upstream.kill();
    assert!(open.line().await.is_err());
    assert!(client.get("/api/version").await.is_err());
    assert_eq!(upstream.counters().cancelled, 0);
    upstream.restart().unwrap();
    assert_eq!(client.get("/api/version").await.unwrap().status, 200);
}

#[tokio::test]
async fn cut_link_breaks_open_connections_and_restored_link_works_again() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let link = LinkBreaker::start(&upstream.address().to_string())
        .await
        .unwrap();
    let client = TestClient::new(link.address());
    let mut open = client
        .stream("/api/chat", &chat("go [[testbed stall_after=1]]"))
        .await
        .unwrap();
    open.line().await.unwrap();
    link.cut();
    assert!(open.line().await.is_err());
    assert!(client.get("/api/version").await.is_err());
    link.restore();
    assert_eq!(client.get("/api/version").await.unwrap().status, 200);
}

#[tokio::test]
async fn streams_wait_at_a_closed_gate_and_go_on_to_their_end_once_it_opens() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let gate = Gate::closed();
    upstream.edit_script(|script| script.gate = Some((3, gate.clone())));
    let client = TestClient::new(upstream.address());
    let mut stream = client.stream("/api/chat", &chat("hello")).await.unwrap();
    for _ in 0..3 {
        stream.line().await.unwrap();
    }
    let held = tokio::time::timeout(Duration::from_millis(50), stream.line()).await;
    assert!(held.is_err());
    assert_eq!(upstream.counters().in_flight, 1);
    gate.open();
    let rest = stream.json_lines().await.unwrap();
    assert_eq!(rest.last().unwrap()["done"], true);
    assert_eq!(rest.len(), Answer::to("hello", None).tokens().len() - 3 + 1);
}

#[test]
fn seen_requests_carry_headers_and_bodies() {
    let upstream = ScriptedUpstream::builder(Flavour::Vllm)
        .api_key("secret")
        .start()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = TestClient::new(upstream.address());
    let refused = runtime
        .block_on(client.post("/v1/chat/completions", &chat("hi")))
        .unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.json().unwrap()),
        (401, json!({"error": "Unauthorized"}))
    );
    let client = client.with_key("secret").unwrap();
    let allowed = runtime
        .block_on(client.post("/v1/chat/completions", &chat("hi")))
        .unwrap();
    assert_eq!(allowed.status, 200);
    let seen = upstream.requests_to("/v1/chat/completions");
    assert_eq!(seen[1].headers["authorization"], "Bearer secret");
    assert_eq!(seen[1].json(), chat("hi"));
}
