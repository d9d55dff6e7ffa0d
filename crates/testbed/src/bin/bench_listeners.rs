//! Holds many WebSocket connections to a gateway and times how a message reaches them all.
//!
//! Prints `listening` when every connection is subscribed to `node_status`, waits until its input is closed, then drains and undrains
//! a node in turn and prints one line of JSON: for each round the microseconds from the request until the first and until the last
//! connection had the message. With `--dashboards` each connection does what an open page of the dashboard does: it listens to all
//! that the overview listens to, and reads the lists that this makes it read. A connection that ends, or a message that one of them
//! does not get, ends the program with an error.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{Buf as _, BytesMut};
use clap::Parser;
use serde_json::json;
use testbed::TestClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;

/// Connections that are being made at once.
const CONNECTING: usize = 64;
/// How long a message may take to reach all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Holds many connections.
#[derive(Parser)]
struct Arguments {
    /// Where the gateway listens
    #[arg(long)]
    target: SocketAddr,
    /// Bearer key of an administrator of the platform
    #[arg(long)]
    key: String,
    /// The node that is drained and undrained
    #[arg(long)]
    node: String,
    /// Connections
    #[arg(long)]
    connections: usize,
    /// Messages
    #[arg(long)]
    rounds: usize,
    /// Behave as open dashboards
    #[arg(long)]
    dashboards: bool,
}

impl Arguments {
    const fn topics(&self) -> &'static [&'static str] {
        if self.dashboards {
            &["node_status", "model_update", "system_metrics"]
        } else {
            &["node_status"]
        }
    }
}

/// How many connections have come so far.
#[derive(Default)]
struct Arrivals {
    reached: AtomicUsize,
    all: Notify,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arc::new(Arguments::parse());
    let (told, mut heard) = mpsc::channel::<(String, Instant)>(1 << 16);
    let subscribed = Arc::new(Arrivals::default());
    let places = Arc::new(Semaphore::new(CONNECTING));
    for number in 0..arguments.connections {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (arguments, told) = (Arc::clone(&arguments), told.clone());
        let subscribed = Arc::clone(&subscribed);
        tokio::spawn(async move {
            let mut listener = match Listener::open(&arguments).await {
                Ok(listener) => listener,
                Err(error) => fail(&error),
            };
            subscribed.reached.fetch_add(1, Ordering::Relaxed);
            subscribed.all.notify_one();
            drop(place);
            let dashboard = arguments
                .dashboards
                .then(|| Dashboard::open(&arguments, number));
            loop {
                match listener.message().await {
                    Ok(message) => {
                        if let Some(dashboard) = &dashboard {
                            dashboard.hear(&message);
                        }
                        let status = if message.contains("\"status\":\"draining\"") {
                            "drain"
                        } else if message.contains("\"status\":\"ready\"") {
                            "undrain"
                        } else {
                            continue;
                        };
                        drop(told.send((status.to_owned(), Instant::now())).await);
                    }
                    Err(error) => fail(&error),
                }
            }
        });
    }
    timeout(PATIENCE, async {
        while subscribed.reached.load(Ordering::Relaxed) < arguments.connections {
            subscribed.all.notified().await;
        }
    })
    .await
    .context("not all connections are subscribed")?;
    say("listening")?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    let client = TestClient::new(arguments.target).with_key(&arguments.key)?;
    let (mut first_us, mut last_us) = (Vec::new(), Vec::new());
    for round in 0..arguments.rounds {
        let change = if round % 2 == 0 { "drain" } else { "undrain" };
        let path = format!("/api/v1/nodes/{}/{change}", arguments.node);
        let begun = Instant::now();
        let asking = tokio::spawn({
            let client = client.clone();
            async move { client.post(&path, &json!({})).await }
        });
        let (mut first, mut last, mut count) = (None, begun, 0);
        while count < arguments.connections {
            let (status, at) = timeout(PATIENCE, heard.recv())
                .await
                .with_context(|| format!("only {count} connections got message {round}"))?
                .context("all connections ended")?;
            if status == change {
                first = first.or(Some(at));
                last = last.max(at);
                count += 1;
            }
        }
        let reply = asking.await??;
        anyhow::ensure!(reply.status == 200, "{change}: {}", reply.text());
        let since = |at: Instant| at.duration_since(begun).as_micros();
        first_us.push(since(first.unwrap_or(begun)));
        last_us.push(since(last));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    say(&json!({"first_us": first_us, "last_us": last_us}).to_string())
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

/// Ends the program: what it measures is void.
fn fail(error: &anyhow::Error) -> ! {
    eprintln!("bench_listeners: {error:#}");
    std::process::abort()
}

/// What an open overview reads by itself: `core/fleet.js`, `core/figures.js` and `pages/overview.js` of the dashboard.
struct Dashboard {
    hurry: mpsc::Sender<()>,
}

impl Dashboard {
    const NODES: Duration = Duration::from_secs(20);
    const HEALTH: Duration = Duration::from_secs(30);

    fn open(arguments: &Arguments, number: usize) -> Self {
        let (hurry, mut hurried) = mpsc::channel(1);
        let client = match TestClient::new(arguments.target).with_key(&arguments.key) {
            Ok(client) => client,
            Err(error) => fail(&error),
        };
        // Pages are opened at different times.
        let phase = Duration::from_millis((number as u64 * 197) % 20_000);
        tokio::spawn(async move {
            let begin = tokio::time::Instant::now() + phase;
            let mut nodes = tokio::time::interval_at(begin, Self::NODES);
            let mut health = tokio::time::interval_at(begin, Self::HEALTH);
            loop {
                let path = tokio::select! {
                    _ = nodes.tick() => "/api/v1/nodes?sort=name&limit=500",
                    _ = health.tick() => "/health",
                    Some(()) = hurried.recv() => {
                        tokio::time::sleep(Duration::from_millis(200) + phase / 10).await;
                        "/api/v1/nodes?sort=name&limit=500"
                    }
                };
                match client.get(path).await {
                    Ok(answer) if answer.status == 200 => {}
                    Ok(answer) => fail(&anyhow::anyhow!("{path}: {}", answer.status)),
                    Err(error) => fail(&error),
                }
            }
        });
        Self { hurry }
    }

    /// Reads the nodes again soon when something has changed.
    fn hear(&self, message: &str) {
        let tells = |topic: &str| message.contains(&format!("\"topic\":\"{topic}\""));
        if (tells("node_status") || tells("model_update")) && self.hurry.try_send(()).is_err() {
            // One reading is due already, and will see this change, too.
        }
    }
}

/// One connection, read without a library so that the load costs little.
struct Listener {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Listener {
    async fn open(arguments: &Arguments) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(arguments.target).await?;
        stream.set_nodelay(true)?;
        let mut listener = Self {
            stream,
            buffer: BytesMut::new(),
        };
        let head = format!(
            "GET /ws HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nauthorization: Bearer {}\r\n\r\n",
            arguments.target, arguments.key
        );
        listener.stream.write_all(head.as_bytes()).await?;
        let answer = listener.head().await?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        let welcome = listener.message().await?;
        anyhow::ensure!(welcome.contains("\"welcome\""), "{welcome}");
        let wish = json!({"type": "subscribe", "data": {"topics": arguments.topics()}}).to_string();
        // A text in one frame, masked with zeros.
        let mut frame = vec![0x81, 0x80 | u8::try_from(wish.len())?, 0, 0, 0, 0];
        frame.extend_from_slice(wish.as_bytes());
        listener.stream.write_all(&frame).await?;
        let confirmed = listener.message().await?;
        anyhow::ensure!(confirmed.contains("subscription_confirmed"), "{confirmed}");
        Ok(listener)
    }

    async fn head(&mut self) -> anyhow::Result<String> {
        loop {
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.buffer.split_to(end + 4);
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        self.buffer.reserve(512);
        let count = self.stream.read_buf(&mut self.buffer).await?;
        anyhow::ensure!(count > 0, "the gateway closed a connection");
        Ok(())
    }

    /// Returns the next text; answers pings.
    async fn message(&mut self) -> anyhow::Result<String> {
        loop {
            let Some((kind, start, end)) = self.frame() else {
                self.read().await?;
                continue;
            };
            let payload = self
                .buffer
                .get(start..end)
                .map(<[u8]>::to_vec)
                .unwrap_or_default();
            self.buffer.advance(end);
            match kind {
                0x1 => return Ok(String::from_utf8(payload)?),
                0x9 => self.stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await?,
                0x8 => anyhow::bail!("closed: {}", String::from_utf8_lossy(&payload)),
                _ => {}
            }
        }
    }

    /// Returns the kind of the frame at the front and where its content stands, once it is whole.
    fn frame(&self) -> Option<(u8, usize, usize)> {
        let bytes = &self.buffer[..];
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (start, length) = match second & 0x7f {
            126 => (
                4,
                usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            ),
            127 => {
                let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
                (10, usize::try_from(length).ok()?)
            }
            short => (2, usize::from(short)),
        };
        (bytes.len() >= start + length).then_some((first & 0x0f, start, start + length))
    }
}
