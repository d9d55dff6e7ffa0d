//! Clients that leave in the middle of a stream: how long the upstream goes on.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use primitives::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::scenario::{Load, WARM_UP, begin, quantiles};

/// Time between two questions to the upstream; it is not part of what is measured.
const PAUSE: Duration = Duration::from_millis(1);
/// An upstream that has not been left after this time never will be.
const LIMIT: Duration = Duration::from_secs(10);

impl Load {
    /// Begins streams and leaves them; returns the report on the times until the upstream had lost its client. Both ends read the
    /// civil clock of one machine.
    pub(crate) async fn leave(
        self,
        upstream: SocketAddr,
        request: impl Fn(u64) -> Vec<u8>,
    ) -> anyhow::Result<Value> {
        let next = Cell::new(process_number());
        let from = Instant::now() + WARM_UP;
        let until = from + self.measured;
        let work = || async {
            let mut asking = Connection::open(upstream).await?;
            let mut times = Vec::new();
            while Instant::now() < until {
                let stream = next.replace(next.get() + 1);
                let is_measured = Instant::now() >= from;
                let took = leave_one(self.target, &mut asking, stream, request(stream)).await?;
                if is_measured {
                    times.push(took);
                }
            }
            anyhow::Ok(times)
        };
        let workers = (0..self.connections).map(|_| work());
        let times = futures_util::future::try_join_all(workers).await?.concat();
        let mut histogram = Histogram::new(3)?;
        for time in &times {
            histogram
                .record(time.as_nanos() as u64)
                .context("recording")?;
        }
        let quantiles = quantiles(&histogram);
        Ok(json!({
            "responses": times.len(),
            "events": 0,
            "seconds": self.measured.as_secs_f64(),
            "first_token_us": quantiles,
            "total_us": quantiles,
        }))
    }
}

/// Numbers streams so that those of another run against the same upstream are others.
fn process_number() -> u64 {
    u64::from(std::process::id()) << 32
}

async fn leave_one(
    target: SocketAddr,
    asking: &mut Connection,
    stream: u64,
    request: Vec<u8>,
) -> anyhow::Result<Duration> {
    let connection = begin(target, request.into()).await?;
    let clock = SystemClock::new();
    let left_at = clock.now();
    drop(connection);
    let question = format!("GET /left/{stream} HTTP/1.1\r\nhost: upstream\r\n\r\n");
    let mut answer = Vec::new();
    loop {
        asking.exchange(question.as_bytes(), &mut answer).await?;
        let told: i64 = std::str::from_utf8(&answer)?.parse()?;
        if told > 0 {
            return Ok(Timestamp::from_micros(told).since(left_at));
        }
        let waited = clock.now().since(left_at);
        anyhow::ensure!(waited < LIMIT, "the upstream still works after {waited:?}");
        tokio::time::sleep(PAUSE).await;
    }
}
