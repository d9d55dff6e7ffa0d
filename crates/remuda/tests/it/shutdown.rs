//! Signals while answers are on their way.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use testbed::{
    Answer, Flavour, Gate, OwnServer, RawConnection, ReplyStream, ScriptedUpstream, TestClient,
};

use crate::harness::{Home, after_shell, send_signal};
use crate::service::{Service, chat, until};

/// Streams that are open when the signal comes.
const STREAMS: usize = 50;

/// A server with streams that wait in the middle of their answers.
struct MidStream {
    service: Service,
    streams: Vec<(String, ReplyStream)>,
    gate: Gate,
    _upstream: ScriptedUpstream,
    _home: Home,
}

impl MidStream {
    async fn reach() -> anyhow::Result<Self> {
        let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
        let gate = Gate::closed();
        upstream.edit_script(|script| script.gate = Some((3, gate.clone())));
        let home = Home::new();
        let service = Service::start(home.up_over(&[&upstream], "")).await?;
        let mut streams = Vec::new();
        for number in 0..STREAMS {
            let question = format!("question {number}");
            let body = chat(&question, true);
            let mut stream = service.client.stream("/api/chat", &body).await?;
            // It has begun: the first line is here.
            let first = stream.line().await?.unwrap();
            let first: serde_json::Value = serde_json::from_str(&first)?;
            let begun = first["message"]["content"].as_str().unwrap().to_owned();
            let rest = Answer::to(&question, None).text();
            let rest = rest.strip_prefix(&begun).unwrap().to_owned();
            streams.push((rest, stream));
        }
        Ok(Self {
            service,
            streams,
            gate,
            _upstream: upstream,
            _home: home,
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_and_ctrl_c_let_open_streams_finish_whole() -> anyhow::Result<()> {
    for signal in ["TERM", "INT"] {
        let open = MidStream::reach().await?;
        send_signal(open.service.server.pid(), signal);
        until_refused(&open.service.client).await?;
        open.gate.open();
        for (rest, stream) in open.streams {
            let lines = stream.json_lines().await?;
            let text: String = lines
                .iter()
                .filter_map(|line| line["message"]["content"].as_str())
                .collect();
            assert_eq!(text, rest);
            assert_eq!(lines.last().unwrap()["done"], true);
        }
        assert_eq!(open.service.server.ended(), Some(0), "{signal}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_open_streams_at_once() -> anyhow::Result<()> {
    let open = MidStream::reach().await?;
    let pid = open.service.server.pid();
    send_signal(pid, "INT");
    until_refused(&open.service.client).await?;
    send_signal(pid, "INT");
    for (_, stream) in open.streams {
        // Nobody opens the gate: the stream ends with what its client is told.
        let lines = stream.json_lines().await?;
        let said = lines.last().map(|line| line["error"].to_string());
        assert!(
            said.is_some_and(|said| said.contains("the server is stopping")),
            "{lines:?}"
        );
    }
    assert_eq!(open.service.server.ended(), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_does_not_hold_up_the_end() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let config = "[server]\ndrain_seconds = 3600\nheader_timeout = \"60m\"";
    let service = Service::start(home.up_over(&[&upstream], config)).await?;
    let mut half = RawConnection::open(service.address()).await?;
    half.write(b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-")
        .await?;
    service.ask("is it there?").await?;
    assert_eq!(service.server.stop("TERM"), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_server_with_redis_and_one_whose_redis_is_away() -> anyhow::Result<()> {
    let mut redis = OwnServer::redis()?;
    let config = format!("[redis]\nurl = \"{}\"\n", redis.url());
    for is_there in [true, false] {
        if !is_there {
            redis.stop("KILL")?;
        }
        let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
        let home = Home::new();
        let service = Service::start(home.up_over(&[&upstream], &config)).await?;
        service.until_health("redis", is_there).await?;
        service.ask("is it there?").await?;
        let (code, log) = service.server.stop_with_log("TERM");
        assert_eq!(code, Some(0), "Redis is there: {is_there}; it said: {log}");
        // Every part ended by itself.
        assert!(
            !log.contains("cut off"),
            "Redis is there: {is_there}; it said: {log}"
        );
    }
    Ok(())
}

#[test]
fn standard_error_that_nobody_reads_does_not_hold_up_the_end() {
    let home = Home::new();
    let log = home.path("log");
    let log = log.display();
    let mut full = after_shell(
        // The reading end stays open and unread; what is written without waiting fills the pipe.
        &format!(
            "mkfifo '{log}'; exec 3<>'{log}'; \
             dd if=/dev/zero of='{log}' oflag=nonblock conv=notrunc bs=4096 2>/dev/null; exec 2>'{log}'"
        ),
        &home.up(),
    );
    // Not --json: a person is told that it stops, on standard error too.
    let mut child = full.stdout(Stdio::piped()).spawn().unwrap();
    let mut banner = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(banner.any(|line| line.unwrap() == "Ctrl-C stops."));
    send_signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_log_of_json_is_nothing_but_json_to_the_last_line() {
    let home = Home::new();
    let mut up = home.up();
    up.env("REMUDA_LOG__FORMAT", "json");
    let mut child = up
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Not --json: what is said to a person is on standard output.
    let mut banner = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(banner.any(|line| line.unwrap() == "Ctrl-C stops."));
    send_signal(child.id(), "TERM");
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    let lines: Vec<String> = log.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for line in &lines {
        let parsed = serde_json::from_str::<serde_json::Value>(line);
        assert!(parsed.is_ok(), "{line}");
    }
    assert!(
        lines.iter().any(|line| line.contains("stopping")),
        "{lines:?}"
    );
}

/// Waits until nobody listens any more.
async fn until_refused(client: &TestClient) -> anyhow::Result<()> {
    until("the server takes no more connections", async || {
        Ok(client.get("/health/live").await.is_err())
    })
    .await
}
