//! Many clients, slow clients and wasteful ones.

use std::process::Command;
use std::time::Duration;

use testbed::{Flavour, RawConnection, ScriptedUpstream, send_raw};

use crate::harness::{Home, after_shell, succeed};
use crate::service::{Service, until};

/// Idle connections that a server must be able to hold.
const MANY: usize = 10_000;

/// What the machine must allow at least, for the test to say anything.
const FEWEST: usize = 5_000;

/// Files that a process has open beside its connections.
const OTHER_FILES: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_leave_room_for_work_and_further_ones_are_refused()
-> anyhow::Result<()> {
    let count = MANY.min(raise_open_files(MANY + OTHER_FILES) - OTHER_FILES);
    assert!(
        count >= FEWEST,
        "this machine allows {count} connections of a process: raise the hard limit on open files (`ulimit -Hn`)"
    );
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let config = format!(
        "[server]\nmax_connections = {}\nheader_timeout = \"10m\"",
        count + 10
    );
    // The server inherits the raised limit.
    let service = Service::start(home.up_over(&[&upstream], &config)).await?;

    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        idle.push(RawConnection::open(service.address()).await?);
    }
    service
        .until("all connections are held", async || {
            Ok(service.metric("remuda_connections").await? >= count as u64)
        })
        .await?;
    service.ask("is there room?").await?;

    // Each asks for something and stays, so that it is known to count before the next one comes.
    let mut asking = Vec::new();
    let refused = loop {
        let mut connection = RawConnection::open(service.address()).await?;
        let head = connection.head_of("/api/version").await?;
        if !head.starts_with("HTTP/1.1 200") {
            break head;
        }
        asking.push(connection);
        assert!(asking.len() <= 10, "the bound does not hold");
    };
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");

    // Those that were there first have lost nothing.
    for connection in idle.iter_mut().step_by(100) {
        let head = connection.head_of("/api/version").await?;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    drop((idle, asking));
    until("there is room again", async || {
        Ok(service.ask("is there room again?").await.is_ok())
    })
    .await?;
    assert!(service.metric("remuda_connections_refused_total").await? >= 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_limit_on_open_files_is_raised_at_start() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let up = after_shell("ulimit -S -n 128", &home.up_over(&[&upstream], ""));
    let service = Service::start(up).await?;
    let mut held = Vec::new();
    for _ in 0..300 {
        let mut connection = RawConnection::open(service.address()).await?;
        let answer = connection.head_of("/api/version").await?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        held.push(connection);
    }
    service.ask("is there room?").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_do_not_come_and_idle_connections_are_closed() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let config = "[server]\nheader_timeout = \"500ms\"";
    let service = Service::start(home.up_over(&[&upstream], config)).await?;

    let mut silent = RawConnection::open(service.address()).await?;
    assert_eq!(silent.until_closed().await?, b"");

    let mut half = RawConnection::open(service.address()).await?;
    half.write(b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-")
        .await?;
    assert_eq!(half.until_closed().await?, b"");

    // Whoever keeps sending a little gets no more time for it.
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(50_000));
    let loris = RawConnection::open(service.address()).await?;
    let answer = loris
        .drip(endless.as_bytes(), Duration::from_millis(20))
        .await?;
    assert_eq!(answer, b"");

    let mut used = RawConnection::open(service.address()).await?;
    assert!(used.head_of("/api/version").await?.contains("200 OK"));
    assert_eq!(used.until_closed().await?, b"");

    service.ask("still there?").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_pause_or_drip_get_an_answer_in_the_clients_dialect() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let config = "[server]\nbody_timeout = \"200ms\"";
    let service = Service::start(home.up_over(&[&upstream], config)).await?;
    let before = upstream.counters().inference;
    for (path, is_openai) in [("/v1/chat/completions", true), ("/api/chat", false)] {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 60000\r\n\r\n");
        let mut paused = RawConnection::open(service.address()).await?;
        paused.write(head.as_bytes()).await?;
        paused.write(b"{\"model\":\"test-mo").await?;
        refused_for_slowness(&paused.until_closed().await?, is_openai)?;

        let mut dripping = RawConnection::open(service.address()).await?;
        dripping.write(head.as_bytes()).await?;
        let answer = dripping
            .drip(&vec![b' '; 59_000], Duration::from_millis(20))
            .await?;
        refused_for_slowness(&answer, is_openai)?;
    }
    assert_eq!(upstream.counters().inference, before);
    service.ask("still there?").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_beyond_the_bounds_get_431() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let service = Service::start(home.up_over(&[&upstream], "")).await?;
    let many = "x: y\r\n".repeat(101);
    let long = format!("x-long: {}\r\n", "y".repeat(1 << 20));
    for headers in [many, long] {
        let request = format!("GET /api/tags HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n");
        let answer = send_raw(service.address(), request.as_bytes()).await?;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    service.ask("still there?").await?;
    Ok(())
}

/// Asserts a timeout in the dialect that says what was too slow, after which the connection was closed.
fn refused_for_slowness(answer: &[u8], is_openai: bool) -> anyhow::Result<()> {
    let answer = String::from_utf8_lossy(answer);
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let body: serde_json::Value = serde_json::from_str(body)?;
    let message = if is_openai {
        &body["error"]["message"]
    } else {
        &body["error"]
    };
    let message = message.as_str().unwrap_or_default();
    assert!(message.contains("too slow"), "{answer}");
    Ok(())
}

/// Raises the limit on open files of this process and its children to `wanted`, as far as it goes, and returns it.
fn raise_open_files(wanted: usize) -> usize {
    let pid = std::process::id().to_string();
    let limit = |kind: &str| {
        let output = format!("--output={kind}");
        let shown = ["--pid", &pid, "--nofile", &output, "--noheadings"];
        let text = succeed(Command::new("prlimit").args(shown));
        text.trim().parse().unwrap_or(usize::MAX)
    };
    let (soft, hard) = (limit("SOFT"), limit("HARD"));
    if soft >= wanted {
        return soft;
    }
    let reached = wanted.min(hard);
    succeed(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={reached}:")]));
    reached
}
