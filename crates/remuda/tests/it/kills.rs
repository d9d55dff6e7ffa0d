//! Servers, an agent and the database are killed (`kill -9`) one after the other in random order, while jobs come in: every job that
//! was accepted ends once, as completed with its whole answer or as failed with a reason.
//!
//! A few kills, in an order of its own each time; `REMUDA_KILLS` says how many instead, and `REMUDA_KILLS_SEED` repeats an order, as
//! `cargo xtask chaos --kills` does.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use testbed::{Answer, Flavour, OwnServer, ScriptedUpstream, TestClient};
use tokio::task::JoinHandle;

use crate::harness::{Home, Server, succeed};
use crate::service::{sign_in, until};

/// Both servers seal with it.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const JOBS: &str = "/api/v1/inference/jobs";
const CLIENTS: usize = 6;
/// Jobs that are accepted before the next kill.
const BETWEEN: usize = 8;
/// How long a client waits for a server that may be gone.
const PATIENCE: Duration = Duration::from_secs(10);
const TOKENS: usize = 12;

/// Two servers on one database, a node that they reach, and one behind an agent.
struct Fleet {
    homes: [Home; 2],
    addresses: [String; 2],
    doors: [String; 2],
    servers: [Option<Server>; 2],
    agent_home: Home,
    agent: Option<Child>,
    postgres: OwnServer,
    nodes: [ScriptedUpstream; 2],
}

impl Fleet {
    fn start() -> anyhow::Result<Self> {
        let node = |name: &str| {
            let node = ScriptedUpstream::builder(Flavour::Ollama)
                .name(name)
                .start()?;
            node.edit_script(|script| {
                script.tokens = Some(TOKENS);
                script.token_delay = Duration::from_millis(20);
            });
            anyhow::Ok(node)
        };
        let mut fleet = Self {
            homes: [Home::new(), Home::new()],
            addresses: [free_address()?, free_address()?],
            doors: [free_address()?, free_address()?],
            servers: [None, None],
            agent_home: Home::new(),
            agent: None,
            postgres: OwnServer::postgres()?,
            nodes: [node("direct")?, node("behind")?],
        };
        fleet.start_server(0);
        fleet.start_server(1);
        let url = format!("http://{}", fleet.addresses[0]);
        let home = &fleet.homes[0];
        succeed(
            home.remuda(["login", "--password-stdin", "--server", &url])
                .stdin(home.password_file()),
        );
        let line = succeed(&mut home.remuda(["node", "invite", "agent", "--server", &url]));
        let words: Vec<&str> = line.split_whitespace().skip(2).collect();
        fleet.start_agent(&words)?;
        Ok(fleet)
    }

    fn start_server(&mut self, at: usize) {
        let door = &self.doors[at];
        let config = format!(
            "[jobs]\nlease = \"3s\"\nconcurrency = 4\n[agents]\nlisten = \"{door}\"\nurl = \"https://{door}\"\n"
        );
        let mut up = self.homes[at].up_over_at(&self.addresses[at], &[&self.nodes[0]], &config);
        up.env("REMUDA_STORE__URL", self.postgres.url())
            .env("REMUDA_STORE__ENCRYPTION_KEY", KEY)
            .env("REMUDA_STORE__MAX_CONNECTIONS", "6");
        self.servers[at] = Some(Server::start(up));
    }

    fn start_agent(&mut self, joining: &[&str]) -> anyhow::Result<()> {
        let mut command: Command =
            self.agent_home
                .remuda(["agent", "--listen", "127.0.0.1:0", "--model-server"]);
        command.arg(self.nodes[1].url()).args(joining);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.agent = Some(child?);
        Ok(())
    }

    /// Kills one of them, waits until the load has gone on without it, and starts it again.
    async fn kill(&mut self, victim: usize, load: &Load) -> anyhow::Result<()> {
        match victim {
            0 | 1 => {
                if let Some(server) = self.servers[victim].take() {
                    server.stop("KILL");
                }
                load.go_on(BETWEEN / 2).await?;
                self.start_server(victim);
            }
            2 => {
                self.kill_agent();
                load.go_on(BETWEEN / 2).await?;
                self.start_agent(&[])?;
            }
            _ => {
                self.postgres.stop("KILL")?;
                // What it had started holds its memory until it has noticed.
                let mut tries = 0;
                while let Err(error) = self.postgres.start() {
                    tries += 1;
                    anyhow::ensure!(tries < 100, error);
                }
            }
        }
        load.go_on(BETWEEN / 2).await
    }

    fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            drop(agent.kill());
            drop(agent.wait());
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.kill_agent();
    }
}

fn free_address() -> anyhow::Result<String> {
    Ok(testbed::free_address()?.to_string())
}

/// Clients that have jobs accepted, one after the other.
struct Load {
    enough: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Wanted>>,
}

/// What clients wanted done.
#[derive(Default)]
struct Wanted {
    /// Job and question of what was accepted.
    accepted: Vec<(String, String)>,
    /// How many may have been accepted or not.
    unknown: usize,
}

impl Load {
    fn start(doors: &[TestClient; 2]) -> Self {
        let enough = Arc::<AtomicBool>::default();
        let accepted = Arc::<AtomicUsize>::default();
        let clients = (0..CLIENTS).map(|number| {
            let (doors, enough, count) = (doors.clone(), enough.clone(), accepted.clone());
            tokio::spawn(async move {
                let mut wanted = Wanted::default();
                let mut round = 0;
                while !enough.load(Ordering::Relaxed) {
                    round += 1;
                    let question = format!("question {round} of client {number}");
                    let door = &doors[(number + round) % 2];
                    if let Some(job) = accepted_by(door, &question).await {
                        wanted.accepted.push((job, question));
                        count.fetch_add(1, Ordering::Relaxed);
                    } else {
                        wanted.unknown += 1;
                    }
                }
                wanted
            })
        });
        Self {
            clients: clients.collect(),
            enough,
            accepted,
        }
    }

    /// Waits until so many more jobs were accepted.
    async fn go_on(&self, jobs: usize) -> anyhow::Result<()> {
        let goal = self.accepted.load(Ordering::Relaxed) + jobs;
        until("more jobs are accepted", async || {
            Ok(self.accepted.load(Ordering::Relaxed) >= goal)
        })
        .await
    }

    async fn end(self) -> anyhow::Result<Wanted> {
        self.enough.store(true, Ordering::Relaxed);
        let mut all = Wanted::default();
        for client in self.clients {
            let one = client.await?;
            all.accepted.extend(one.accepted);
            all.unknown += one.unknown;
        }
        Ok(all)
    }
}

/// Has a question answered as a job. `None`: nobody knows whether it was accepted.
async fn accepted_by(door: &TestClient, question: &str) -> Option<String> {
    let body = json!({"model": "test-model", "messages": [{"role": "user", "content": question}]});
    let sent = door.post("/api/v1/inference/chat", &body);
    let reply = tokio::time::timeout(PATIENCE, sent).await.ok()?.ok()?;
    let job = (reply.status == 202).then(|| reply.json().ok())??;
    Some(job["id"].as_str()?.to_owned())
}

/// Waits until no job is open any more; as long as some end, others may take their time.
async fn until_ended(door: &TestClient) -> anyhow::Result<()> {
    let open = async || {
        let (mut open, mut first) = (0, Value::Null);
        for state in ["queued", "running"] {
            let list = door.get(&format!("{JOBS}?limit=1&state={state}")).await?;
            let list = list.json()?;
            open += list["total"].as_u64().context("no total")?;
            first = list["items"][0].clone();
        }
        anyhow::Ok((open, first))
    };
    let (mut left, mut first) = open().await?;
    while left > 0 {
        until("another job has ended", async || Ok(open().await?.0 < left))
            .await
            .with_context(|| format!("{left} are open, such as {first:#}"))?;
        (left, first) = open().await?;
    }
    Ok(())
}

/// Asserts that a job has ended once, and rightly; tells whether it is completed.
async fn has_ended_once(door: &TestClient, job: &str, question: &str) -> anyhow::Result<bool> {
    let reply = door.get(&format!("{JOBS}/{job}")).await?;
    anyhow::ensure!(reply.status == 200, "{job} is lost: {}", reply.text());
    let shown = reply.json()?;
    let mut events = door.follow(&format!("{JOBS}/{job}/events")).await?;
    let mut ends = Vec::new();
    while let Some(event) = events.event().await? {
        let name = event.lines().find_map(|line| line.strip_prefix("event: "));
        let ended = |name: &&str| matches!(*name, "completed" | "failed" | "cancelled");
        ends.extend(name.filter(ended).map(str::to_owned));
    }
    let state = shown["state"].as_str().context("no state")?.to_owned();
    anyhow::ensure!(ends == [state.as_str()], "{ends:?}: {shown}");
    if state == "failed" {
        let reason = shown["error"]["message"].as_str().unwrap_or_default();
        anyhow::ensure!(!reason.is_empty(), "failed without a reason: {shown}");
        return Ok(false);
    }
    let answer = Answer::to(question, Some(TOKENS)).text();
    let right = shown["result"]["message"]["content"] == answer.as_str();
    anyhow::ensure!(state == "completed" && right, "{answer}: {shown}");
    Ok(true)
}

fn setting(name: &str) -> anyhow::Result<Option<u64>> {
    let value = std::env::var(name).ok();
    Ok(value.map(|text| text.parse()).transpose()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_job_ends_once_whoever_is_killed() -> anyhow::Result<()> {
    let kills = setting("REMUDA_KILLS")?.unwrap_or(4);
    let seed = setting("REMUDA_KILLS_SEED")?.unwrap_or_else(|| rand::rng().random());
    println!("REMUDA_KILLS_SEED={seed}");
    let mut order = StdRng::seed_from_u64(seed);
    let mut fleet = Fleet::start()?;
    let client = |address: &String| anyhow::Ok(TestClient::new(address.parse()?));
    let admin = sign_in(&client(&fleet.addresses[0])?).await?;
    until("the agent serves", async || {
        let nodes = admin.get("/api/v1/nodes").await?.json()?;
        let ready = |node: &&Value| node["state"] == "ready";
        Ok(nodes["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(ready)
            .count()
            == 2)
    })
    .await?;
    // A key outlives more than a session that nobody renews.
    let key = admin.post("/api/v1/keys", &json!({"name": "load"})).await?;
    let secret = key.json()?["secret"].as_str().context("no key")?.to_owned();
    let doors = [
        client(&fleet.addresses[0])?.with_key(&secret)?,
        client(&fleet.addresses[1])?.with_key(&secret)?,
    ];
    let load = Load::start(&doors);
    load.go_on(BETWEEN).await?;
    for kill in 1..=kills {
        let victim = order.random_range(0..4);
        fleet
            .kill(victim, &load)
            .await
            .with_context(|| format!("kill {kill}, of {victim}, seed {seed}"))?;
    }
    let wanted = load.end().await?;
    until_ended(&doors[0]).await?;
    let mut completed = 0;
    for (job, question) in &wanted.accepted {
        completed += usize::from(has_ended_once(&doors[0], job, question).await?);
    }
    let list = doors[0].get(JOBS).await?.json()?;
    let total = list["total"].as_u64().context("no total")? as usize;
    let most = wanted.accepted.len() + wanted.unknown;
    assert!((wanted.accepted.len()..=most).contains(&total), "{list}");
    println!(
        "{kills} kills, {} jobs accepted, {completed} completed, {} not known to be accepted, {total} in all",
        wanted.accepted.len(),
        wanted.unknown
    );
    Ok(())
}
