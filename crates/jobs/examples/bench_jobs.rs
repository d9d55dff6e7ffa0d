//! The load of `cargo xtask bench jobs`: jobs that do nothing are enqueued as fast as they are completed, with many waiting behind them.
//! Prints one line of JSON.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use identity::{AuthConfig, Identity};
use jobs::{
    Executor, Handler, Jobs, JobsConfig, JobsDeps, KindSpec, NewWork, Outcome, Refusal, Step, Task,
    Work,
};
use primitives::{Clock, Secret, SystemClock};
use serde_json::{Value, json};
use store::{Db, Sealer, StoreConfig};
use tokio_util::sync::CancellationToken;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const KIND: &str = "noop";
/// Jobs that one transaction enqueues.
const TOGETHER: u64 = 250;
/// The same while it is filled.
const FILLING: u64 = 2_000;
/// How far enqueueing may be ahead.
const AHEAD: u64 = 2_000;

#[derive(Clone, Default)]
struct Noop {
    done: Arc<AtomicU64>,
}

impl Handler for Noop {
    fn run(&self, _task: Task) -> BoxFuture<'static, Outcome> {
        self.done.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Outcome::Done(Value::Null)))
    }
}

/// No answers are promised here.
struct Nobody;

impl Executor for Nobody {
    fn check(&self, _work: &Work) -> Result<String, Refusal> {
        Ok(String::new())
    }

    fn run(&self, _work: Work) -> BoxStream<'static, Step> {
        stream::empty().boxed()
    }
}

fn argument(number: usize) -> Result<String, Box<dyn Error>> {
    std::env::args()
        .nth(number)
        .ok_or_else(|| "usage: bench_jobs URL WAITING SECONDS PLACES TOGETHER".into())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = argument(1)?;
    let waiting: u64 = argument(2)?.parse()?;
    let seconds: f64 = argument(3)?.parse()?;
    let db = Db::open(&StoreConfig::new(url)).await?;
    db.migrate().await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let sealer = Arc::new(Sealer::from_base64(&Secret::new(KEY.to_owned()))?);
    let opened = Identity::open(
        db.clone(),
        Arc::clone(&sealer),
        Arc::clone(&clock),
        AuthConfig::REQUIRED,
    );
    let (identity, _) = opened.await?;
    let jobs = Jobs::new(JobsDeps {
        db: db.clone(),
        sealer,
        clock,
        identity,
        config: JobsConfig::default(),
        observer: None,
    });
    let noop = Noop::default();
    let spec = KindSpec {
        places: argument(4)?.parse()?,
        claimed_together: argument(5)?.parse()?,
        ..KindSpec::new(KIND)
    };
    jobs.register(spec, Arc::new(noop.clone()));
    let filling = Instant::now();
    enqueue(&jobs, &db, waiting).await?;
    let filled = filling.elapsed();
    let stop = CancellationToken::new();
    let working = tokio::spawn(jobs.clone().work(Arc::new(Nobody), stop.clone()));
    while noop.done.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = claims(&jobs.render_metrics());
    let (began, done_before) = (Instant::now(), noop.done.load(Ordering::Relaxed));
    let mut enqueued = 0;
    while began.elapsed().as_secs_f64() < seconds {
        let done = noop.done.load(Ordering::Relaxed) - done_before;
        if enqueued < done + AHEAD {
            enqueue(&jobs, &db, TOGETHER).await?;
            enqueued += TOGETHER;
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let took = began.elapsed().as_secs_f64();
    let done = noop.done.load(Ordering::Relaxed) - done_before;
    let after = claims(&jobs.render_metrics());
    stop.cancel();
    working.await?;
    let left: u64 = jobs
        .list_kinds()
        .await?
        .iter()
        .filter(|kind| kind.kind == KIND)
        .map(|kind| kind.queued + kind.running)
        .sum();
    let all_done = noop.done.load(Ordering::Relaxed);
    let report = json!({
        "filled_per_s": waiting as f64 / filled.as_secs_f64(),
        "enqueued_per_s": enqueued as f64 / took,
        "completed_per_s": done as f64 / took,
        "claims": count(&after) - count(&before),
        "claim_p50_ms": quantile(&before, &after, 0.5),
        "claim_p99_ms": quantile(&before, &after, 0.99),
        "left": left,
        "missing": (waiting + enqueued).saturating_sub(all_done + left),
    });
    println!("{report}");
    Ok(())
}

async fn enqueue(jobs: &Jobs, db: &Db, count: u64) -> Result<(), Box<dyn Error>> {
    let mut left = count;
    let together = if count > TOGETHER { FILLING } else { TOGETHER };
    while left > 0 {
        let now = left.min(together);
        let work: Vec<NewWork> = (0..now).map(|_| NewWork::new(KIND)).collect();
        let mut tx = db.write().await?;
        jobs.enqueue_many(&mut tx, &work).await?;
        tx.commit().await?;
        left -= now;
    }
    Ok(())
}

/// Reads how many claims took at most how long, in seconds, from the metrics.
fn claims(metrics: &str) -> Vec<(f64, u64)> {
    metrics
        .lines()
        .filter_map(|line| {
            let (bound, count) = line
                .strip_prefix("remuda_jobs_claim_seconds_bucket{le=\"")?
                .split_once("\"} ")?;
            let bound = bound.parse().unwrap_or(f64::INFINITY);
            Some((bound, count.parse().ok()?))
        })
        .collect()
}

fn count(claims: &[(f64, u64)]) -> u64 {
    claims.last().map_or(0, |(_, count)| *count)
}

/// Returns the upper bound of the bucket that a share of the claims lies within, in milliseconds.
fn quantile(before: &[(f64, u64)], after: &[(f64, u64)], share: f64) -> f64 {
    let total = count(after) - count(before);
    let wanted = (total as f64 * share).ceil();
    after
        .iter()
        .zip(before)
        .find(|((_, after), (_, before))| (after - before) as f64 >= wanted)
        .map_or(f64::MAX, |((bound, _), _)| bound * 1e3)
}
