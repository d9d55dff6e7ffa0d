//! What is sent, counted and compared.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use memchr::memmem;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::connection::Connection;

/// Time before the measurement starts.
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);
/// Slow streams opened at a time.
const OPENING: usize = 50;

/// A load.
pub(crate) struct Load {
    pub(crate) target: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) connections: usize,
    pub(crate) measured: Duration,
    /// What every body must come to; the first body decides when absent.
    pub(crate) expected: Option<Vec<u8>>,
}

/// What all connections have found.
struct Tally {
    expected: Option<Vec<u8>>,
    responses: u64,
    events: u64,
    first_token_ns: Histogram<u64>,
    total_ns: Histogram<u64>,
}

impl Load {
    /// Runs for the time; returns the report and the body that all answers had.
    pub(crate) async fn run(self) -> anyhow::Result<(Value, Vec<u8>)> {
        let tally = Rc::new(RefCell::new(Tally {
            expected: self.expected.clone(),
            responses: 0,
            events: 0,
            first_token_ns: Histogram::new(3)?,
            total_ns: Histogram::new(3)?,
        }));
        let from = Instant::now() + WARM_UP;
        let until = from + self.measured;
        let (target, request) = (self.target, Rc::new(self.request));
        let local = LocalSet::new();
        let workers: Vec<_> = (0..self.connections)
            .map(|_| local.spawn_local(work(target, request.clone(), tally.clone(), from, until)))
            .collect();
        local
            .run_until(async {
                for worker in workers {
                    worker.await??;
                }
                anyhow::Ok(())
            })
            .await?;
        let tally = tally.borrow();
        let report = json!({
            "responses": tally.responses,
            "events": tally.events,
            "seconds": self.measured.as_secs_f64(),
            "first_token_us": quantiles(&tally.first_token_ns),
            "total_us": quantiles(&tally.total_ns),
        });
        Ok((report, tally.expected.clone().unwrap_or_default()))
    }

    /// Opens slow streams, says `ready` when each has begun, and keeps them until standard input ends.
    pub(crate) async fn hold(self) -> anyhow::Result<Value> {
        let request = Rc::new(self.request);
        let frames = Rc::new(RefCell::new(0_u64));
        let local = LocalSet::new();
        let (connections, target) = (self.connections, self.target);
        local
            .run_until(async {
                let mut begun = Vec::new();
                while begun.len() < connections {
                    let some = (connections - begun.len()).min(OPENING);
                    let opening: Vec<_> = (0..some)
                        .map(|_| tokio::task::spawn_local(begin(target, request.clone())))
                        .collect();
                    for stream in opening {
                        begun.push(stream.await??);
                    }
                }
                let readers: Vec<_> = begun
                    .into_iter()
                    .map(|stream| tokio::task::spawn_local(keep(stream, frames.clone())))
                    .collect();
                writeln!(std::io::stdout(), "ready")?;
                tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await??;
                for reader in readers {
                    anyhow::ensure!(!reader.is_finished(), "a stream broke off");
                    reader.abort();
                }
                anyhow::Ok(())
            })
            .await?;
        let frames = *frames.borrow();
        Ok(json!({"streams": connections, "frames": frames}))
    }
}

async fn work(
    target: SocketAddr,
    request: Rc<Vec<u8>>,
    tally: Rc<RefCell<Tally>>,
    from: Instant,
    until: Instant,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(target).await?;
    let mut body = Vec::with_capacity(32 * 1024);
    loop {
        let start = Instant::now();
        if start >= until {
            return Ok(());
        }
        let first = connection.exchange(&request, &mut body).await?;
        let end = Instant::now();
        let mut tally = tally.borrow_mut();
        let same = essence(&body)?;
        match &tally.expected {
            None => tally.expected = Some(same.into_owned()),
            Some(expected) => {
                anyhow::ensure!(
                    *expected == *same,
                    "a body differs: {}",
                    String::from_utf8_lossy(&body)
                );
            }
        }
        if start >= from && end <= until {
            tally.responses += 1;
            tally.events += memmem::find_iter(&body, b"data: ").count() as u64;
            tally
                .first_token_ns
                .record((first - start).as_nanos() as u64)
                .context("recording")?;
            tally
                .total_ns
                .record((end - start).as_nanos() as u64)
                .context("recording")?;
        }
    }
}

/// Returns what all answers must have in common: everything, or the vectors of an embedding alone, because an answer that was taken
/// out of a joined call is written anew, with a name of its own.
fn essence(body: &[u8]) -> anyhow::Result<Cow<'_, [u8]>> {
    const VECTOR: &[u8] = b"\"embedding\":";
    let Some(at) = memmem::find(body, VECTOR) else {
        return Ok(Cow::Borrowed(body));
    };
    let vector = body.get(at + VECTOR.len()..).unwrap_or_default();
    let end = vector.iter().position(|byte| *byte == b']');
    let text = end.and_then(|end| vector.get(..=end)).unwrap_or_default();
    let numbers: Vec<f32> = serde_json::from_slice(text).context("a vector")?;
    Ok(numbers.iter().flat_map(|n| n.to_le_bytes()).collect())
}

/// Begins a stream, and reads its first piece.
pub(crate) async fn begin(target: SocketAddr, request: Rc<Vec<u8>>) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(target).await?;
    connection.begin(&request).await?;
    let mut body = Vec::new();
    connection.chunk(&mut body).await?;
    anyhow::ensure!(body.starts_with(b"data: "), "a stream without a frame");
    Ok(connection)
}

async fn keep(mut connection: Connection, frames: Rc<RefCell<u64>>) -> anyhow::Result<()> {
    let mut body = Vec::new();
    loop {
        body.clear();
        anyhow::ensure!(connection.chunk(&mut body).await?, "a slow stream ended");
        *frames.borrow_mut() += 1;
    }
}

/// Returns quantiles in microseconds of what was recorded in nanoseconds.
pub(crate) fn quantiles(histogram: &Histogram<u64>) -> Value {
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    json!({"p50": at(0.5), "p99": at(0.99), "max": histogram.max() as f64 / 1000.0})
}
