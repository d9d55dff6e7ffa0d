//! Replays a trace against a gateway in real time, whatever the answers take, and prints one line of JSON with the latencies.
//!
//! The trace is JSON lines with `timestamp` (milliseconds), `input_length` and `output_length`. Every answer is checked to have
//! its length; anything but that ends the replay with an error.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::{Value, json};
use testbed::TestClient;
use tokio::time::Instant;

/// Replays a trace.
#[derive(Parser)]
struct Arguments {
    /// Where the gateway listens
    #[arg(long)]
    target: SocketAddr,
    /// Bearer key
    #[arg(long)]
    key: String,
    /// The model to ask for
    #[arg(long)]
    model: String,
    /// The trace
    #[arg(long)]
    trace: PathBuf,
}

#[derive(Deserialize)]
struct Line {
    timestamp: u64,
    input_length: usize,
    output_length: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let client = TestClient::new(arguments.target).with_key(&arguments.key)?;
    let text = std::fs::read_to_string(&arguments.trace).context("reading the trace")?;
    let start = Instant::now() + Duration::from_millis(100);
    let mut calls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line: Line = serde_json::from_str(line).context("a line of the trace")?;
        let at = start + Duration::from_millis(line.timestamp);
        let (client, model) = (client.clone(), arguments.model.clone());
        calls.push(tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            // From when it should have been sent: a late replay must not look fast.
            call(&client, &model, number, &line, at).await
        }));
    }
    let (mut first_us, mut total_us) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    for call in calls {
        let (first, total) = call.await??;
        first_us.record(first.as_micros() as u64)?;
        total_us.record(total.as_micros() as u64)?;
    }
    let report = json!({"first_token": latency(&first_us), "end_to_end": latency(&total_us)});
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

/// Sends one request; returns when its first and its last token were there.
async fn call(
    client: &TestClient,
    model: &str,
    number: usize,
    line: &Line,
    at: Instant,
) -> anyhow::Result<(Duration, Duration)> {
    // No two prompts begin alike, and every word is one token of four bytes.
    let mut prompt = format!("{number:03} [[testbed tokens={}]]", line.output_length);
    for _ in 3..line.input_length {
        prompt.push_str(" abc");
    }
    let body = json!({"model": model, "stream": true, "max_tokens": line.output_length, "messages": [{"role": "user", "content": prompt}]});
    let mut stream = client.stream("/v1/chat/completions", &body).await?;
    let (mut text, mut first) = (String::new(), None);
    while let Some(chunk) = stream.chunk().await? {
        first.get_or_insert_with(|| at.elapsed());
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    let tokens = text.matches("\"content\":").count();
    anyhow::ensure!(
        tokens >= line.output_length && text.contains("[DONE]"),
        "request {number} got {tokens} tokens: {text}"
    );
    Ok((first.context("nothing came")?, at.elapsed()))
}

fn latency(histogram: &Histogram<u64>) -> Value {
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    json!({"p50_ms": at(0.5), "p99_ms": at(0.99)})
}
