//! Two processes and a Redis: what a caller may use is used up once, not twice.

use serde_json::{Value, json};
use store::testing::TestStore;
use testbed::{OwnServer, TestClient};

use crate::harness::Home;
use crate::pair::{Pair, created};
use crate::service::{Service, chat, until};

/// What a key may use. A request comes back every three seconds.
const PER_MINUTE: usize = 20;

/// Both processes with the same key.
struct Callers {
    here: TestClient,
    there: TestClient,
}

impl Callers {
    async fn of(pair: &Pair, name: &str, limits: Value) -> anyhow::Result<Self> {
        let body = json!({"name": name, "limits": limits});
        let made = created(&pair.here.admin, "/api/v1/keys", body).await?;
        let secret = made["secret"].as_str().unwrap_or_default();
        let callers = Self {
            here: pair.here.client.with_key(secret)?,
            there: pair.there.client.with_key(secret)?,
        };
        until("the key is known there", async || {
            Ok(callers.there.get("/api/v1/me").await?.status == 200)
        })
        .await?;
        Ok(callers)
    }

    /// Asks both in turn, and returns how many requests each let in.
    async fn ask(&self, each: usize) -> anyhow::Result<(usize, usize)> {
        let asking = async |client: &TestClient| {
            let mut let_in = 0;
            for _ in 0..each {
                let reply = client.post("/api/chat", &chat("hello", false)).await?;
                match reply.status.as_u16() {
                    200 => let_in += 1,
                    429 => anyhow::ensure!(reply.headers.contains_key("retry-after")),
                    _ => anyhow::bail!("{} {}", reply.status, reply.text()),
                }
            }
            anyhow::Ok(let_in)
        };
        tokio::try_join!(asking(&self.here), asking(&self.there))
    }
}

/// Asserts that no more came in than a minute allows and the time that has passed.
fn assert_within(let_in: usize, begun: std::time::Instant) {
    let come_back = begun.elapsed().as_secs() as usize / 3 + 1;
    assert!(
        (PER_MINUTE..=PER_MINUTE + come_back).contains(&let_in),
        "{let_in} were let in"
    );
}

async fn reservations(service: &Service, outcome: &str) -> anyhow::Result<u64> {
    let series = format!("remuda_redis_reservations_total{{outcome=\"{outcome}\"}}");
    // A series appears when something has been counted.
    Ok(service.metric(&series).await.unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_let_in_no_more_than_one_and_go_on_without_redis() -> anyhow::Result<()> {
    let mut redis = OwnServer::redis()?;
    let pair = Pair::sharing(TestStore::postgres().await, &redis, "").await?;
    let limits = json!({"requests_per_minute": PER_MINUTE});
    let begun = std::time::Instant::now();
    let callers = Callers::of(&pair, "first", limits.clone()).await?;
    let (here, there) = callers.ask(PER_MINUTE).await?;
    assert_within(here + there, begun);
    assert_eq!(reservations(&pair.here, "local").await?, 0);

    redis.stop("KILL")?;
    let away = pair.here.until_health("redis", false).await?;
    assert_eq!(away["status"], "degraded");
    pair.there.until_health("redis", false).await?;
    // Nothing fails; what was used before is not forgotten.
    let begun = std::time::Instant::now();
    let (one, other) = callers.ask(5).await?;
    let come_back = begun.elapsed().as_secs() as usize / 3 + 2;
    assert!(one <= come_back && other <= come_back, "{one} {other}");
    // A new caller has the whole limit at each of the two, which is the price.
    let others = Callers::of(&pair, "second", limits.clone()).await?;
    let begun = std::time::Instant::now();
    let (here, there) = others.ask(PER_MINUTE + 5).await?;
    assert!(here >= PER_MINUTE && there >= PER_MINUTE, "{here} {there}");
    assert!(reservations(&pair.here, "local").await? >= PER_MINUTE as u64);
    assert_eq!(pair.here.metric("remuda_redis_up").await?, 0);

    redis.start()?;
    pair.here.until_health("redis", true).await?;
    pair.there.until_health("redis", true).await?;
    // What each let in alone is owed now.
    let (here, there) = others.ask(10).await?;
    let come_back = begun.elapsed().as_secs() as usize / 3 + 1;
    assert!(here + there <= come_back, "{here} {there}");
    let begun = std::time::Instant::now();
    let third = Callers::of(&pair, "third", limits).await?;
    let (here, there) = third.ask(PER_MINUTE).await?;
    assert_within(here + there, begun);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_months_budget_is_spent_at_both() -> anyhow::Result<()> {
    let redis = OwnServer::redis()?;
    let pair = Pair::sharing(TestStore::postgres().await, &redis, "").await?;
    let callers = Callers::of(&pair, "fourth", json!({"tokens_per_month": 30})).await?;
    until("what was used here is used up there", async || {
        callers.ask(1).await?;
        let reply = callers
            .there
            .post("/api/chat", &chat("hello", false))
            .await?;
        Ok(reply.status == 429 && reply.text().contains("tokens a month"))
    })
    .await?;
    let here = callers
        .here
        .post("/api/chat", &chat("hello", false))
        .await?;
    assert_eq!(here.status, 429, "{}", here.text());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_without_its_redis_and_doctor_says_so() -> anyhow::Result<()> {
    let mut redis = OwnServer::redis()?;
    redis.stop("KILL")?;
    let upstream = testbed::ScriptedUpstream::start(testbed::Flavour::Ollama)?;
    let home = Home::new();
    let config = format!("[redis]\nurl = \"{}\"\ntimeout = \"1s\"\n", redis.url());
    let service = Service::start(home.up_over(&[&upstream], &config)).await?;
    service.until_health("redis", false).await?;
    service.ask("anything").await?;
    let doctor = |home: &Home| {
        let mut doctor = home.remuda(["doctor", "--json", "--config"]);
        let output = doctor.arg(home.path("remuda.toml")).output()?;
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        let of_redis = findings.into_iter().find(|found| found["check"] == "redis");
        anyhow::Ok(of_redis.unwrap_or_default())
    };
    let found = doctor(&home)?;
    assert_eq!(found["verdict"], "broken", "{found}");
    redis.start()?;
    service.until_health("redis", true).await?;
    let found = doctor(&home)?;
    assert_eq!(found["verdict"], "good", "{found}");
    Ok(())
}
