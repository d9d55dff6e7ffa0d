//! The load generator of the control plane's benchmark: keep-alive connections, one thread, each going round its own requests.
//!
//! It prints one line of JSON. Answers that tell of no success are counted, and their first one is shown.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use hdrhistogram::Histogram;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Time before it is measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// Puts load on a control plane.
#[derive(Parser)]
struct Arguments {
    /// Where it listens
    #[arg(long)]
    target: SocketAddr,
    /// File with one request a line; connection N takes lines N, N + connections, and so on, over and over
    #[arg(long)]
    requests: PathBuf,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds to measure, after half a second to warm up
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// A request.
#[derive(Clone, Deserialize)]
struct Line {
    method: String,
    path: String,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    body: Value,
}

/// What one connection saw.
struct Seen {
    times: Histogram<u64>,
    failures: u64,
    first_failure: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let text = std::fs::read_to_string(&arguments.requests)?;
    let lines: Vec<Line> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("a line of the requests")?;
    let begins = Instant::now() + WARM_UP;
    let ends = begins + Duration::from_secs_f64(arguments.seconds);
    let mut connections = JoinSet::new();
    for number in 0..arguments.connections {
        let own: Vec<Line> = lines
            .iter()
            .skip(number)
            .step_by(arguments.connections)
            .cloned()
            .collect();
        anyhow::ensure!(!own.is_empty(), "fewer requests than connections");
        connections.spawn(go_round(arguments.target, own, begins, ends));
    }
    let mut times = Histogram::<u64>::new(3)?;
    let (mut failures, mut first_failure) = (0, None);
    while let Some(seen) = connections.join_next().await {
        let seen = seen??;
        times.add(&seen.times)?;
        failures += seen.failures;
        first_failure = first_failure.or(seen.first_failure);
    }
    let report = json!({
        "responses": times.len(),
        "failures": failures,
        "first_failure": first_failure,
        "seconds": arguments.seconds,
        "p50_us": times.value_at_quantile(0.5),
        "p95_us": times.value_at_quantile(0.95),
        "p99_us": times.value_at_quantile(0.99),
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

async fn go_round(
    target: SocketAddr,
    lines: Vec<Line>,
    begins: Instant,
    ends: Instant,
) -> anyhow::Result<Seen> {
    let mut seen = Seen {
        times: Histogram::new(3)?,
        failures: 0,
        first_failure: None,
    };
    let mut sender = connect(target).await?;
    for line in lines.iter().cycle() {
        let began = Instant::now();
        if began >= ends {
            break;
        }
        let answer = sender.send_request(request(target, line)?).await;
        let answer = answer.context("waiting for an answer")?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        if !head.status.is_success() {
            seen.failures += 1;
            seen.first_failure
                .get_or_insert_with(|| String::from_utf8_lossy(&body).chars().take(300).collect());
        }
        if sender.is_closed() {
            sender = connect(target).await?;
        }
        if began >= begins {
            seen.times
                .record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX))?;
        }
    }
    Ok(seen)
}

async fn connect(target: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Its errors come out of the requests' own futures.
        drop(connection.await);
    });
    Ok(sender)
}

fn request(target: SocketAddr, line: &Line) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(line.method.parse::<Method>()?)
        .uri(&line.path)
        .header(header::HOST, target.to_string())
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = &line.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = if line.body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(line.body.to_string())
    };
    Ok(request.body(Full::new(body))?)
}
