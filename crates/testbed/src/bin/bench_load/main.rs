//! The load generator of the gateway benchmark: keep-alive connections, one thread, every answer checked.
//!
//! It runs one scenario and prints one line of JSON. Any status but 200 and any body that differs from the expected one
//! ends it with an error: a fast wrong answer is no result.

mod connection;
mod leave;
mod scenario;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};

use scenario::Load;

/// Puts load on a gateway.
#[derive(Parser)]
struct Arguments {
    /// Where the gateway listens
    #[arg(long)]
    target: SocketAddr,
    /// What to send
    #[arg(long, value_enum)]
    scenario: Scenario,
    /// Connections at a time
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Seconds to measure, after half a second to warm up
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Bearer key
    #[arg(long)]
    key: Option<String>,
    /// Where the upstream itself listens
    #[arg(long, required_if_eq("scenario", "leave"))]
    upstream: Option<SocketAddr>,
    /// File with the expected body; written when it does not exist
    #[arg(long)]
    expected: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// Answers in one piece
    Whole,
    /// Streams, one after the other on each connection
    Stream,
    /// The same, with a pause after the first text
    Pause,
    /// Embeddings of one text
    Embed,
    /// Slow streams that stay open until standard input ends
    Hold,
    /// Streams whose client leaves after the first text: how long until the upstream knows
    Leave,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let expected = match &arguments.expected {
        Some(path) if path.exists() => Some(std::fs::read(path)?),
        _ => None,
    };
    let (prompt, streams) = match arguments.scenario {
        Scenario::Whole => ("Tell me about the sounds that llamas make.", false),
        Scenario::Stream => ("Tell me about the sounds that llamas make.", true),
        Scenario::Pause => ("Tell me about the sounds that llamas make. [pause]", true),
        Scenario::Hold => ("Tell me about the sounds that llamas make. [slow]", true),
        Scenario::Embed | Scenario::Leave => ("", false),
    };
    let key = arguments.key.as_deref();
    let load = Load {
        target: arguments.target,
        request: match arguments.scenario {
            Scenario::Embed => embedding(arguments.target, key),
            _ => chat(arguments.target, key, prompt, streams),
        },
        connections: arguments.connections,
        measured: Duration::from_secs_f64(arguments.seconds),
        expected,
    };
    let (report, body) = match arguments.scenario {
        Scenario::Whole | Scenario::Stream | Scenario::Pause | Scenario::Embed => {
            load.run().await?
        }
        Scenario::Hold => (load.hold().await?, Vec::new()),
        Scenario::Leave => {
            let upstream = arguments.upstream.context("no upstream")?;
            let request = |stream: u64| {
                let prompt = format!("Tell me about the sounds that llamas make. [open {stream}]");
                chat(arguments.target, key, &prompt, true)
            };
            (load.leave(upstream, request).await?, Vec::new())
        }
    };
    if let Some(path) = arguments.expected.filter(|path| !path.exists()) {
        std::fs::write(&path, body).with_context(|| format!("writing {}", path.display()))?;
    }
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn chat(target: SocketAddr, key: Option<&str>, prompt: &str, stream: bool) -> Vec<u8> {
    let body = format!(
        r#"{{"model":"bench-model","messages":[{{"role":"system","content":"You are a shepherd."}},{{"role":"user","content":"{prompt}"}}],"stream":{stream},"max_tokens":140}}"#
    );
    request(target, key, "/v1/chat/completions", &body)
}

fn embedding(target: SocketAddr, key: Option<&str>) -> Vec<u8> {
    let body = r#"{"model":"bench-model","input":"Llamas hum softly to each other."}"#;
    request(target, key, "/v1/embeddings", body)
}

fn request(target: SocketAddr, key: Option<&str>, path: &str, body: &str) -> Vec<u8> {
    let authorization = key
        .map(|key| format!("authorization: Bearer {key}\r\n"))
        .unwrap_or_default();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {target}\r\n{authorization}content-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
