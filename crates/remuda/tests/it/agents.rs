//! Nodes that dial us: joining once, serving through the link alone, losing it and coming back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::AgentError;
use primitives::{Clock, MonotonicTime, SystemClock, Timestamp};
use serde_json::{Value, json};
use store::params;
use store::testing::TestStore;
use testbed::upstream::Gate;
use testbed::{Answer, Flavour, LinkBreaker, RunningAgent, ScriptedUpstream, System, TestClient};
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Home, Server, succeed};

/// Agents are expected; nothing else differs from what other tests have.
const AGENTS: &str = "[agents]\nlisten = \"127.0.0.1:0\"\n";

store::on_every_engine! {
    a_machine_behind_nat_joins_and_serves,
    an_invitation_works_once_whoever_is_first,
    what_is_no_invitation_lets_nobody_in,
    an_agent_serves_all_control_planes_and_one_that_is_killed_takes_nothing_along
}

async fn system(store: &TestStore) -> System {
    let builder = System::builder().config(AGENTS);
    let url = store.config().url.expose();
    builder.database(url).start().await.unwrap()
}

fn chat(question: &str, stream: bool) -> Value {
    json!({"model": "test-model", "messages": [{"role": "user", "content": question}], "stream": stream})
}

fn answer(question: &str) -> String {
    Answer::to(question, None).text()
}

/// Joins a system whose only node is one agent's, and waits until its models are known.
async fn joined(system: &System, upstream: &ScriptedUpstream) -> RunningAgent {
    let door = system.door().unwrap();
    let agent = RunningAgent::join(system, "gpu1", &door, &upstream.url())
        .await
        .unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    agent
}

async fn a_machine_behind_nat_joins_and_serves(store: TestStore) {
    let system = system(&store).await;
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let agent = joined(&system, &upstream).await;
    let node = system
        .until_node("gpu1", "its agent tells of the machine", |node| {
            node["machine"]["usage"]["memory_total_bytes"].as_u64() > Some(0)
        })
        .await
        .unwrap();
    assert_eq!(
        (&node["kind"], &node["server"]),
        (&json!("agent"), &json!("ollama"))
    );
    assert_eq!(
        (&node["state"], &node["agent"]["linked"]),
        (&json!("ready"), &json!(true))
    );
    assert!(node["machine"]["cpu_cores"].as_u64() >= Some(1), "{node}");

    let client = system.client();
    let reply = client.post("/api/chat", &chat("one", false)).await.unwrap();
    assert_eq!(
        reply.json().unwrap()["message"]["content"],
        answer("one").as_str()
    );
    let lines = client
        .stream("/api/chat", &chat("two", true))
        .await
        .unwrap();
    let told: String = lines
        .json_lines()
        .await
        .unwrap()
        .iter()
        .map(content)
        .collect();
    assert_eq!(told, answer("two"));
    let seen = upstream.requests_to("/api/chat");
    assert!(
        seen[0].headers["host"]
            .to_str()
            .unwrap()
            .ends_with(".internal"),
        "servers on loopback refuse other hosts"
    );

    let metrics = system
        .admin()
        .await
        .unwrap()
        .get("/metrics")
        .await
        .unwrap()
        .text();
    assert!(metrics.contains("\nremuda_agents_linked 1\n"), "{metrics}");

    let page = TestClient::new(agent.page().unwrap());
    assert_eq!(
        page.get("/health").await.unwrap().json().unwrap()["status"],
        "healthy"
    );
    let metrics = page.get("/api/v1/metrics/current").await.unwrap();
    assert_eq!(
        metrics.json().unwrap()["model_server"]["models"][0]["name"],
        "test-model:latest"
    );

    let admin = system.admin().await.unwrap();
    let removed = admin.send(
        http::Method::DELETE,
        "/api/v1/nodes/gpu1",
        bytes::Bytes::new(),
    );
    assert_eq!(removed.await.unwrap().status, 204);
    until_unlinked(&page).await;
    system.stop().await;
}

/// Waits until an agent says that no control plane holds a link to it.
async fn until_unlinked(page: &TestClient) {
    loop {
        let health = page.get("/health").await.unwrap();
        if health.json().unwrap()["linked"] == json!(false) {
            assert_eq!(health.status, 503);
            return;
        }
    }
}

fn content(line: &Value) -> String {
    line["message"]["content"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

async fn an_invitation_works_once_whoever_is_first(store: TestStore) {
    let system = system(&store).await;
    let (door, token) = (system.door().unwrap(), system.invite("gpu1").await.unwrap());
    let (one, two) = tokio::join!(
        RunningAgent::try_join(&door, &token),
        RunningAgent::try_join(&door, &token)
    );
    assert_eq!(
        [&one, &two].iter().filter(|joined| joined.is_ok()).count(),
        1,
        "{one:?} {two:?}"
    );
    let refused = one.err().or(two.err()).unwrap().to_string();
    assert!(refused.contains("used already"), "{refused}");
    let again = RunningAgent::try_join(&door, &token)
        .await
        .unwrap_err()
        .to_string();
    assert!(again.contains("remuda node invite NAME"), "{again}");
    // The name belongs to a node now.
    assert!(
        system
            .invite("gpu1")
            .await
            .unwrap_err()
            .to_string()
            .contains("exists already")
    );
    system.stop().await;
}

async fn what_is_no_invitation_lets_nobody_in(store: TestStore) {
    let system = system(&store).await;
    let (door, token) = (system.door().unwrap(), system.invite("gpu1").await.unwrap());
    let with_another = |at: usize| {
        let letter = if token.as_bytes()[at] == b'A' {
            "B"
        } else {
            "A"
        };
        format!("{}{letter}{}", &token[..at], &token[at + 1..])
    };
    // The same control plane, another secret.
    let forged = with_another(6);
    let refused = RunningAgent::try_join(&door, &forged)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("did not make it"), "{refused}");
    // The right secret, and another control plane behind the address.
    let other = with_another(60);
    let refused = RunningAgent::try_join(&door, &other).await.unwrap_err();
    assert!(
        matches!(refused, AgentError::NotTheInviter { .. }),
        "{refused}"
    );

    let db = store.open().await;
    let mut tx = db.write().await.unwrap();
    tx.execute(
        "UPDATE agent_invitations SET expires_at = $1",
        params![1_i64],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let refused = RunningAgent::try_join(&door, &token)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("has expired"), "{refused}");
    system.stop().await;
}

async fn an_agent_serves_all_control_planes_and_one_that_is_killed_takes_nothing_along(
    store: TestStore,
) {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let (first, second) = (free_address(), free_address());
    let config = |door: &str| {
        format!(
            "[agents]\nlisten = \"{door}\"\nurl = \"https://{door}\"\n[store]\nencryption_key = \"{KEY}\"\n"
        )
    };
    let url = store.config().url.expose();
    let builder = System::builder().config(&config(&first)).database(url);
    let here = builder.start().await.unwrap();
    let agent = RunningAgent::join(&here, "gpu1", &first, &upstream.url())
        .await
        .unwrap();
    let home = Home::new();
    let up = || {
        let mut up = home.up_over(&[], &config(&second));
        up.env("REMUDA_STORE__URL", url);
        if let Some(direct) = &store.config().direct_url {
            up.env("REMUDA_STORE__DIRECT_URL", direct.expose());
        }
        up
    };
    // A process of its own, which can be killed.
    let there = Server::start(up());
    until_linked_to(&agent, &[&first, &second]).await;
    until_serves(&here.client(), "one").await;
    until_serves(&TestClient::new(there.address()), "two").await;

    drop(there);
    until_serves(&here.client(), "three").await;
    until_linked_to(&agent, &[&first]).await;
    // Where else to dial outlives the agent and who told it.
    here.stop().await;
    let there = Server::start(up());
    let agent = agent.restart(|_| {}).await.unwrap();
    until_linked_to(&agent, &[&second]).await;
    until_serves(&TestClient::new(there.address()), "four").await;
}

/// Asks until the agent's model answers.
async fn until_serves(client: &TestClient, question: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let body = chat(question, false);
        let reply = client.post("/api/chat", &body).await.unwrap();
        if reply.status == 200 {
            let told = reply.json().unwrap()["message"]["content"].clone();
            assert_eq!(told, answer(question).as_str());
            return;
        }
        assert!(Instant::now() < deadline, "{}", reply.text());
    }
}

/// What both control planes seal with.
pub(crate) const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Returns an address that nobody listens on.
pub(crate) fn free_address() -> String {
    testbed::free_address().unwrap().to_string()
}

/// Waits until an agent says that it is linked to exactly these control planes.
async fn until_linked_to(agent: &RunningAgent, doors: &[&str]) {
    let page = TestClient::new(agent.page().unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let health = page.get("/health").await.unwrap().json().unwrap();
        let mut linked: Vec<&str> = health["control_planes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        linked.sort_unstable();
        let mut wanted = doors.to_vec();
        wanted.sort_unstable();
        if linked == wanted {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "not linked to {doors:?}: {health}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_stops_the_server_beside_the_agent() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let gate = Gate::closed();
    upstream.edit_script(|script| {
        script.tokens = Some(20);
        script.gate = Some((3, gate.clone()));
    });
    let _agent = joined(&system, &upstream).await;
    let mut stream = system
        .client()
        .stream("/api/chat", &chat("hello", true))
        .await
        .unwrap();
    assert!(stream.line().await.unwrap().is_some());
    assert_eq!(upstream.counters().in_flight, 1);
    drop(stream);
    upstream
        .wait_for(|seen| seen.cancelled == 1 && seen.in_flight == 0)
        .await
        .unwrap();
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_comes_back_and_a_stream_goes_on() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let gate = Gate::closed();
    upstream.edit_script(|script| {
        script.tokens = Some(12);
        script.gate = Some((3, gate.clone()));
    });
    let link = LinkBreaker::start(&system.door().unwrap()).await.unwrap();
    let _agent = RunningAgent::join(
        &system,
        "gpu1",
        &link.address().to_string(),
        &upstream.url(),
    )
    .await
    .unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    let mut stream = system
        .client()
        .stream("/api/chat", &chat("hello", true))
        .await
        .unwrap();
    let mut told = content(&serde_json::from_str(&stream.line().await.unwrap().unwrap()).unwrap());
    link.cut();
    system
        .until_node("gpu1", "the loss is seen", |node| {
            node["agent"]["linked"] == json!(false)
        })
        .await
        .unwrap();
    gate.open();
    link.restore();
    for line in stream.json_lines().await.unwrap() {
        told.push_str(&content(&line));
    }
    assert_eq!(told, Answer::to("hello", Some(12)).text());
    let node = system
        .until_node("gpu1", "it is linked again", |node| {
            node["state"] == json!("ready")
        })
        .await
        .unwrap();
    assert_eq!(node["agent"]["linked"], json!(true));
    system.stop().await;
}

/// Starts a system, an agent at the other end of a link that can be cut, and a stream that stops after some tokens until the gate opens.
async fn cut_off(config: &str) -> (System, ScriptedUpstream, Gate, LinkBreaker, RunningAgent) {
    let system = System::builder().config(config).start().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let gate = Gate::closed();
    upstream.edit_script(|script| {
        script.tokens = Some(12);
        script.gate = Some((3, gate.clone()));
    });
    let link = LinkBreaker::start(&system.door().unwrap()).await.unwrap();
    let door = link.address().to_string();
    let agent = RunningAgent::join(&system, "gpu1", &door, &upstream.url())
        .await
        .unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    (system, upstream, gate, link, agent)
}

/// Waits until so many requests wait for an agent.
async fn until_waiting(system: &System, requests: u32) {
    let admin = system.admin().await.unwrap();
    let wanted = format!("\nremuda_waiting_for_agents {requests}\n");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !admin
        .get("/metrics")
        .await
        .unwrap()
        .text()
        .contains(&wanted)
    {
        assert!(Instant::now() < deadline, "{requests} requests do not wait");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_and_a_new_request_wait_for_the_only_node_until_its_agent_is_back() {
    let (system, _upstream, gate, link, _agent) = cut_off(AGENTS).await;
    let client = system.client();
    let mut stream = client
        .stream("/api/chat", &chat("hello", true))
        .await
        .unwrap();
    let mut told = content(&serde_json::from_str(&stream.line().await.unwrap().unwrap()).unwrap());
    link.cut();
    gate.open();
    let rest = tokio::spawn(async move { stream.json_lines().await.unwrap() });
    until_waiting(&system, 1).await;
    let later = client.clone();
    let fresh = tokio::spawn(async move { later.post("/api/chat", &chat("new", false)).await });
    until_waiting(&system, 2).await;
    link.restore();
    for line in rest.await.unwrap() {
        told.push_str(&content(&line));
    }
    assert_eq!(told, Answer::to("hello", Some(12)).text());
    let reply = fresh.await.unwrap().unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    until_waiting(&system, 0).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_waits_no_longer_and_an_agent_that_stays_away_is_given_up() {
    let config = "[agents]\nlisten = \"127.0.0.1:0\"\npatience = \"3s\"\n";
    let (system, _upstream, gate, link, _agent) = cut_off(config).await;
    let client = system.client();
    let mut stream = client
        .stream("/api/chat", &chat("hello", true))
        .await
        .unwrap();
    assert!(stream.line().await.unwrap().is_some());
    link.cut();
    gate.open();
    let body = chat("new", false);
    let leaving = client.post("/api/chat", &body);
    tokio::select! {
        reply = leaving => panic!("{:?}", reply.map(|reply| reply.text())),
        () = until_waiting(&system, 2) => {}
    }
    until_waiting(&system, 1).await;
    let lines = stream.json_lines().await.unwrap();
    assert!(
        lines.last().unwrap()["error"].is_string(),
        "{:?}",
        lines.last()
    );
    let reply = client
        .post("/api/chat", &chat("late", false))
        .await
        .unwrap();
    assert!(reply.status.is_server_error(), "{}", reply.text());
    until_waiting(&system, 0).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_a_lost_agent_go_on_at_another_node_while_it_is_away() {
    let (system, first, gate, link, _agent) = cut_off(AGENTS).await;
    let second = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let held = Gate::closed();
    second.edit_script(|script| {
        script.tokens = Some(12);
        script.gate = Some((3, held.clone()));
    });
    let admin = system.admin().await.unwrap();
    let body = json!({"name": "other", "url": second.url()});
    admin.post("/api/v1/nodes", &body).await.unwrap();
    let ready = |node: &Value| node["state"] == json!("ready");
    system
        .until_node("other", "it is ready", ready)
        .await
        .unwrap();
    let client = system.client();
    let mut streams = Vec::new();
    while first.counters().in_flight == 0 || second.counters().in_flight == 0 {
        let body = chat("hello", true);
        let mut stream = client.stream("/api/chat", &body).await.unwrap();
        let shown = stream.line().await.unwrap().unwrap();
        streams.push((content(&serde_json::from_str(&shown).unwrap()), stream));
        assert!(streams.len() < 50, "one node gets everything");
    }
    link.cut();
    gate.open();
    held.open();
    for (mut told, stream) in streams {
        for line in stream.json_lines().await.unwrap() {
            told.push_str(&content(&line));
        }
        assert_eq!(told, Answer::to("hello", Some(12)).text());
    }
    system.stop().await;
}

/// The system's clock, wrong by some seconds.
#[derive(Debug)]
struct Wrong(SystemClock, i64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.now().as_micros() + self.1 * 1_000_000)
    }

    fn monotonic(&self) -> MonotonicTime {
        self.0.monotonic()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_apart_by_minutes_stop_nobody_and_by_days_are_named() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let door = system.door().unwrap();
    let join = async |name: &str, seconds: i64| {
        let clock = Arc::new(Wrong(SystemClock::new(), seconds));
        let change = |config: &mut agent::AgentConfig| config.clock = clock;
        RunningAgent::join_as(&system, name, &door, &upstream.url(), change).await
    };
    let _behind = join("behind", -600).await.unwrap();
    let _ahead = join("ahead", 600).await.unwrap();
    let ready = |node: &Value| node["state"] == json!("ready");
    for node in ["behind", "ahead"] {
        system.until_node(node, "it is ready", ready).await.unwrap();
    }
    let body = chat("one", false);
    let reply = system.client().post("/api/chat", &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let refused = join("days", -3 * 86_400).await.err().unwrap().to_string();
    assert!(refused.contains("set the clock"), "{refused}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_another_age_is_told_apart_and_what_to_update() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let mut agent = joined(&system, &upstream).await;
    for (protocols, advice) in [(7..=9, "update Remuda"), (0..=0, "update the agent")] {
        agent = agent
            .restart(|config| config.protocols = protocols)
            .await
            .unwrap();
        let node = system
            .until_node("gpu1", advice, |node| {
                node["agent"]["problem"]
                    .as_str()
                    .is_some_and(|problem| problem.contains(advice))
            })
            .await
            .unwrap();
        assert_eq!(node["agent"]["linked"], json!(false));
        let reply = system
            .client()
            .post("/api/chat", &chat("one", false))
            .await
            .unwrap();
        assert!(reply.status.is_server_error(), "{}", reply.text());
    }
    let _agent = agent
        .restart(|config| config.protocols = 0..=9)
        .await
        .unwrap();
    system
        .until_node("gpu1", "it is linked again", |node| {
            node["state"] == json!("ready")
        })
        .await
        .unwrap();
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_before_it_ends() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let agent = joined(&system, &upstream).await;
    let mut file = PathBuf::new();
    let read =
        |file: &Path| -> Value { serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap() };
    let mut before = Value::Null;
    let agent = agent
        .restart(|config| {
            file = config.data_dir.join("membership.json");
            let mut membership = read(&file);
            before = membership["certificate"].clone();
            // As the agent believes, it has ended long ago.
            membership["not_after"] = json!(1);
            std::fs::write(&file, membership.to_string()).unwrap();
        })
        .await
        .unwrap();
    let limit = Duration::from_secs(20);
    testbed::wait_until("another certificate is kept", limit, || {
        read(&file)["certificate"] != before
    })
    .await
    .unwrap();
    let _agent = agent.restart(|_| {}).await.unwrap();
    system
        .until_node("gpu1", "the new one links", |node| {
            node["agent"]["linked"] == json!(true) && node["state"] == json!("ready")
        })
        .await
        .unwrap();
    let client = system.client();
    let reply = client.post("/api/chat", &chat("one", false)).await.unwrap();
    assert_eq!(reply.status, 200);
    system.stop().await;
}

#[test]
fn the_line_that_is_printed_joins_and_a_second_start_links_again() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let home = Home::new();
    let server = Server::start(home.up_over(&[], AGENTS));
    succeed(
        home.remuda(["login", "--password-stdin", "--server", server.url()])
            .stdin(home.password_file()),
    );
    let line = succeed(&mut home.remuda(["node", "invite", "gpu1", "--server", server.url()]));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..3], ["remuda", "agent", "--join"], "{line}");
    let agent = |joining: &[&str]| {
        let mut command = home.remuda(["agent", "--listen", "127.0.0.1:0"]);
        command
            .args(["--model-server", &upstream.url()])
            .args(joining)
            .stderr(std::process::Stdio::null());
        Killed(command.spawn().unwrap())
    };
    let linked = |before: &str| -> String {
        for _ in 0..2_000 {
            // Before it has joined there is no such node.
            let shown = home
                .remuda(["node", "show", "gpu1", "--json", "--server", server.url()])
                .output()
                .unwrap();
            let shown: Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
            let peer = shown["agent"]["peer"].as_str().unwrap_or_default();
            if !peer.is_empty() && peer != before && shown["state"] == json!("ready") {
                return peer.to_owned();
            }
        }
        panic!("no link but {before:?}");
    };
    let first = agent(&words[2..]);
    let peer = linked("");
    drop(first);
    let second = agent(&[]);
    linked(&peer);
    // Two agents do not share a data directory.
    let beside = home
        .remuda(["agent", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&beside.stderr).into_owned();
    assert!(said.contains("an agent runs with"), "{said}");
    let shown = succeed(&mut home.remuda(["node", "list", "--server", server.url()]));
    assert!(shown.contains("agent at 127.0.0.1:"), "{shown}");
    drop(second);
    // A machine that is a node already does not join again.
    let again = home
        .remuda(["agent", "--listen", "127.0.0.1:0"])
        .args(&words[2..])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("is the node \"gpu1\" already"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_request_to_the_page_of_an_agent_does_not_keep_it_from_ending() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let agent = joined(&system, &upstream).await;
    let mut half = tokio::net::TcpStream::connect(agent.page().unwrap())
        .await
        .unwrap();
    half.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
    let _agent = agent.restart(|_| {}).await.unwrap();
    system.stop().await;
}

/// A process that is killed when dropped.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_control_plane_finds_its_agents_again() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Vllm).unwrap();
    let door = system.door().unwrap();
    let fixed = format!("[agents]\nlisten = \"{door}\"\n");
    system.stop().await;
    let system = System::builder().config(&fixed).start().await.unwrap();
    let _agent = joined(&system, &upstream).await;
    let system = system.restart().await.unwrap();
    system
        .until_node("gpu1", "it is linked again", |node| {
            node["state"] == json!("ready")
        })
        .await
        .unwrap();
    let body = chat("one", false);
    let reply = system
        .client()
        .post("/v1/chat/completions", &body)
        .await
        .unwrap();
    assert_eq!(
        reply.json().unwrap()["choices"][0]["message"]["content"],
        answer("one").as_str()
    );
    system.stop().await;
}

#[test]
fn an_agent_serves_models_with_its_own_engine_and_a_client_that_leaves_frees_it() {
    let home = Home::new();
    let server = Server::start(home.up_over(&[], AGENTS));
    succeed(
        home.remuda(["login", "--password-stdin", "--server", server.url()])
            .stdin(home.password_file()),
    );
    let line = succeed(&mut home.remuda(["node", "invite", "own", "--server", server.url()]));
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = home.remuda(["agent", "--listen", "127.0.0.1:0", "--demo"]);
    command
        .args(&words[2..])
        .stderr(std::process::Stdio::null());
    let _agent = Killed(command.spawn().unwrap());
    let listed = || {
        let models = home
            .remuda(["models", "--json", "--server", server.url()])
            .output();
        String::from_utf8_lossy(&models.unwrap().stdout).contains("remuda-demo")
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while !listed() {
        assert!(Instant::now() < deadline, "the agent's model is not listed");
    }
    let told = succeed(&mut home.remuda([
        "run",
        "remuda-demo",
        "What is Remuda?",
        "--server",
        server.url(),
    ]));
    assert!(!told.trim().is_empty());
    let shown =
        succeed(&mut home.remuda(["node", "show", "own", "--json", "--server", server.url()]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["kind"], &shown["state"]),
        (&json!("agent"), &json!("ready"))
    );
}
