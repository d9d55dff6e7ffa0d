//! Database, pooler and Redis stop and come back, one after the other, while models are used and things are changed: afterwards
//! nothing that was acknowledged is missing, nothing is there twice, and the counts agree.
//!
//! Each is away for a moment; `REMUDA_CHAOS_SECONDS` says for how long instead, as `cargo xtask chaos` does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use testbed::TestClient;
use tokio::task::JoinHandle;

use crate::service::{Service, ask, until};
use crate::stack::Stack;

/// A quick machine answers more than the usual buffer of records holds while the database is away for a minute.
const CONFIG: &str = "[limits]\norganisation_requests_per_minute = 1000000\n[jobs]\nlease = \"5s\"\n\
    [requests]\nbuffer = 500000\n";
const ASKING: usize = 4;
const WRITING: usize = 2;
/// How long a change may take before its client gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What somebody wanted to have made.
#[derive(Default)]
struct Made {
    /// The server has said that it is there.
    acknowledged: BTreeSet<String>,
    /// It may be there or not.
    unknown: BTreeSet<String>,
}

/// Clients at work.
struct Load {
    enough: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
    asking: Vec<JoinHandle<anyhow::Result<Vec<String>>>>,
    writing: Vec<JoinHandle<anyhow::Result<(Made, Made)>>>,
}

impl Load {
    fn start(service: &Service) -> Self {
        let enough = Arc::<AtomicBool>::default();
        let (answered, written) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let asking = (0..ASKING).map(|number| {
            let (client, enough, answered) =
                (service.client.clone(), enough.clone(), answered.clone());
            tokio::spawn(async move {
                let mut ids = Vec::new();
                while !enough.load(Ordering::Relaxed) {
                    let question = format!("question {} of client {number}", ids.len());
                    // Whatever is stopped, models answer.
                    ids.push(ask(&client, &question).await?);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(ids)
            })
        });
        let writing = (0..WRITING).map(|number| {
            let (admin, enough, written) = (service.admin.clone(), enough.clone(), written.clone());
            tokio::spawn(async move {
                let (mut keys, mut jobs) = (Made::default(), Made::default());
                let mut round = 0;
                while !enough.load(Ordering::Relaxed) {
                    round += 1;
                    let name = format!("key {round} of client {number}");
                    let key = write(&admin, "/api/v1/keys", json!({"name": name})).await?;
                    note(&mut keys, key.map(|_| name.clone()), &name);
                    let prompt = format!("prompt {round} of client {number}");
                    let wish = json!({"model": "test-model", "prompt": prompt});
                    let job = write(&admin, "/api/v1/inference/generate", wish).await?;
                    let id = job.and_then(|job| Some(job["id"].as_str()?.to_owned()));
                    note(&mut jobs, id, &prompt);
                    written.fetch_add(1, Ordering::Relaxed);
                }
                Ok((keys, jobs))
            })
        });
        let (asking, writing) = (asking.collect(), writing.collect());
        Self {
            enough,
            answered,
            written,
            asking,
            writing,
        }
    }

    /// Waits for more answers and, where changes are possible, for more of those.
    async fn go_on(&self, answers: usize, changes: usize) -> anyhow::Result<()> {
        let goals = (
            self.answered.load(Ordering::Relaxed) + answers,
            self.written.load(Ordering::Relaxed) + changes,
        );
        until("the load has gone on", async || {
            let ended = self.asking.iter().any(JoinHandle::is_finished)
                || self.writing.iter().any(JoinHandle::is_finished);
            anyhow::ensure!(!ended, "a client has given up");
            Ok(self.answered.load(Ordering::Relaxed) >= goals.0
                && self.written.load(Ordering::Relaxed) >= goals.1)
        })
        .await
    }

    async fn end(self) -> anyhow::Result<(Vec<String>, Made, Made)> {
        self.enough.store(true, Ordering::Relaxed);
        let (mut asked, mut keys, mut jobs) = (Vec::new(), Made::default(), Made::default());
        for client in self.asking {
            asked.extend(client.await??);
        }
        for client in self.writing {
            let (more_keys, more_jobs) = client.await??;
            for (all, more) in [(&mut keys, more_keys), (&mut jobs, more_jobs)] {
                all.acknowledged.extend(more.acknowledged);
                all.unknown.extend(more.unknown);
            }
        }
        Ok((asked, keys, jobs))
    }
}

fn note(made: &mut Made, acknowledged: Option<String>, otherwise: &str) {
    match acknowledged {
        Some(id) => made.acknowledged.insert(id),
        None => made.unknown.insert(otherwise.to_owned()),
    };
}

/// Asks for a change once. `None`: nobody knows whether it was made.
async fn write(admin: &TestClient, path: &str, body: Value) -> anyhow::Result<Option<Value>> {
    let Ok(sent) = tokio::time::timeout(PATIENCE, admin.post(path, &body)).await else {
        return Ok(None);
    };
    let reply = sent?;
    match reply.status.as_u16() {
        201 | 202 => Ok(Some(reply.json()?)),
        // Said in time, and to be tried again: not a failure of the server.
        503 | 504 => Ok(None),
        status => anyhow::bail!("{path}: {status} {}", reply.text()),
    }
}

/// All items of a list.
async fn all(admin: &TestClient, path: &str) -> anyhow::Result<Vec<Value>> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let reply = admin.get(&format!("{path}limit=500{cursor}")).await?;
        let page = reply.json()?;
        let more = page["items"].as_array().with_context(|| reply.text())?;
        items.extend(more.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}

/// Asserts that what was acknowledged is there, once, and nothing that nobody wanted.
fn assert_there(what: &str, made: &Made, there: &[String]) {
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for one in there {
        *counted.entry(one).or_default() += 1;
    }
    for one in &made.acknowledged {
        assert_eq!(counted.get(one.as_str()), Some(&1), "{what}: {one}");
    }
    for one in there {
        let wanted = made.acknowledged.contains(one) || made.unknown.contains(one);
        assert!(wanted, "{what}: nobody wanted {one}");
    }
}

async fn check(stack: &Stack, asked: &[String], keys: &Made, jobs: &Made) -> anyhow::Result<()> {
    let service = &stack.service;
    let listed = all(&service.admin, "/api/v1/keys?").await?;
    let names: Vec<String> = listed
        .iter()
        .filter_map(|key| Some(key["name"].as_str()?.to_owned()))
        .collect();
    assert_there("keys", keys, &names);

    // Each key has its record in the journal, whose chain is whole.
    let recorded = all(&service.admin, "/api/v1/audit?action=key.create&").await?;
    assert_eq!(recorded.len(), names.len());
    let verified = service.admin.get("/api/v1/audit/verify").await?.json()?;
    assert_eq!(verified["whole"], true, "{verified}");

    // Each accepted job is carried out, once as far as anybody can see.
    until("every job has ended", async || {
        let unended = service
            .admin
            .get("/api/v1/inference/jobs?state=queued")
            .await?;
        let running = service
            .admin
            .get("/api/v1/inference/jobs?state=running")
            .await?;
        Ok(unended.json()?["total"] == 0 && running.json()?["total"] == 0)
    })
    .await?;
    let listed = all(&service.admin, "/api/v1/inference/jobs?").await?;
    let mut completed = Vec::new();
    for job in &listed {
        assert_eq!(job["state"], "completed", "{job}");
        completed.push(job["id"].as_str().unwrap_or_default().to_owned());
    }
    let there: BTreeSet<&String> = completed.iter().collect();
    assert_eq!(there.len(), completed.len());
    for id in &jobs.acknowledged {
        assert!(there.contains(id), "the job {id} is missing");
    }
    assert!(completed.len() <= jobs.acknowledged.len() + jobs.unknown.len());

    // Each answer has its record, once.
    let asked: BTreeSet<&String> = asked.iter().collect();
    service
        .until("every answer is recorded", async || {
            let recorded: BTreeSet<String> = service.recorded().await?.into_iter().collect();
            Ok(asked.iter().all(|id| recorded.contains(*id)))
        })
        .await?;
    let recorded = service.recorded().await?;
    let different: BTreeSet<&String> = recorded.iter().collect();
    assert_eq!(
        different.len(),
        recorded.len(),
        "a request is recorded twice"
    );
    let dropped = service
        .metric("remuda_request_records_dropped_total")
        .await?;
    assert_eq!(dropped, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_everything_that_stops() -> anyhow::Result<()> {
    let away = std::env::var("REMUDA_CHAOS_SECONDS");
    let away = Duration::from_secs(away.ok().map_or(Ok(2), |text| text.parse())?);
    let mut stack = Stack::start(CONFIG).await?;
    let load = Load::start(&stack.service);
    load.go_on(50, 5).await?;
    for (what, component, signal) in [
        ("PostgreSQL", "database", "INT"),
        ("PgBouncer", "database", "KILL"),
        ("Redis", "redis", "KILL"),
    ] {
        let begun = Instant::now();
        let server = match what {
            "PostgreSQL" => &mut stack.postgres,
            "PgBouncer" => &mut stack.pgbouncer,
            _ => &mut stack.redis,
        };
        server.stop(signal)?;
        stack.service.until_health(component, false).await?;
        while begun.elapsed() < away {
            load.go_on(20, 0).await?;
        }
        let server = match what {
            "PostgreSQL" => &mut stack.postgres,
            "PgBouncer" => &mut stack.pgbouncer,
            _ => &mut stack.redis,
        };
        server.start()?;
        stack.service.until_health(component, true).await?;
        load.go_on(50, 2 * WRITING + 1).await?;
        println!("{what} was away, all is well after {:?}", begun.elapsed());
    }
    let (asked, keys, jobs) = load.end().await?;
    println!(
        "{} answers, {} keys ({} uncertain), {} jobs ({} uncertain)",
        asked.len(),
        keys.acknowledged.len(),
        keys.unknown.len(),
        jobs.acknowledged.len(),
        jobs.unknown.len()
    );
    check(&stack, &asked, &keys, &jobs).await?;
    for outcome in ["shared", "local"] {
        let series = format!("remuda_redis_reservations_total{{outcome=\"{outcome}\"}}");
        assert!(stack.service.metric(&series).await? > 0, "{outcome}");
    }
    Ok(())
}
