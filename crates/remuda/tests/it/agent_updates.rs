//! Agents get later versions from the control plane: signed, one first, and back by themselves where it fails. The agents are processes of
//! the real binary, the later version is the same program with another number in its file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use agent_proto::{Manifest, SigningKey, Version, own_target};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use store::testing::TestStore;
use testbed::{Flavour, RunningAgent, ScriptedUpstream, System, TestClient};

use crate::agents::{KEY, free_address};
use crate::harness::{Home, Server, one_line_refusal, send_signal, succeed};

const AGENTS: &str = "[agents]\nlisten = \"127.0.0.1:0\"\n";
const RELEASES: &str = "/api/v1/agent-releases";
const ROLLOUTS: &str = "/api/v1/agent-rollouts";
/// Updates take some seconds each: a version is linked for a while before it is kept.
const PATIENCE: Duration = Duration::from_mins(2);

store::on_every_engine! {
    agents_get_a_later_version_one_first_and_serve_all_the_while,
    a_control_plane_that_is_killed_leaves_the_roll_out_to_another
}

/// What the version that runs is followed by.
fn later() -> Version {
    let [major, minor, patch] = numbers();
    format!("{major}.{minor}.{}", patch + 1).parse().unwrap()
}

fn numbers() -> [u32; 3] {
    let numbers = env!("CARGO_PKG_VERSION").split('.');
    let numbers: Vec<u32> = numbers.map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

/// Returns the program as a later version: the same one, which says another number, without what only debuggers read.
fn later_program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let stripped = directory.path().join("remuda");
        let strip = Command::new("strip")
            .arg("-o")
            .arg(&stripped)
            .arg(env!("CARGO_BIN_EXE_remuda"))
            .status();
        assert!(strip.unwrap().success());
        let mut program = fs::read(&stripped).unwrap();
        let mark = |version: &str| format!("remuda version {version}\n").into_bytes();
        let (before, after) = (mark(env!("CARGO_PKG_VERSION")), mark(&later().to_string()));
        assert_eq!(before.len(), after.len());
        let at: Vec<usize> = memchr::memmem::find_iter(&program, &before).collect();
        assert_eq!(at.len(), 1, "the version stands once in the program");
        program[at[0]..at[0] + after.len()].copy_from_slice(&after);
        program
    })
}

/// A program that says that it is the later version, and then does something else.
fn impostor(does: &str) -> Vec<u8> {
    let version = later();
    format!("#!/bin/sh\nif [ \"$1\" = --version ]; then echo remuda {version}; exit; fi\n{does}\n")
        .into_bytes()
}

/// An agent that runs in a process of its own.
struct AgentProcess {
    child: Child,
    home: Home,
    arguments: Vec<String>,
}

impl AgentProcess {
    async fn join(system: &System, name: &str, upstream: &ScriptedUpstream, more: &[&str]) -> Self {
        let home = Home::new();
        let (door, token) = (system.door().unwrap(), system.invite(name).await.unwrap());
        let mut arguments = vec!["--listen".to_owned(), "127.0.0.1:0".to_owned()];
        arguments.extend(["--model-server".to_owned(), upstream.url()]);
        arguments.extend(more.iter().map(|&one| one.to_owned()));
        let joining = [
            "--join".to_owned(),
            format!("https://{door}"),
            "--token".to_owned(),
            token,
        ];
        let child = Self::spawn(&home, joining.iter().chain(&arguments));
        let agent = Self {
            child,
            home,
            arguments,
        };
        let ready = |node: &Value| node["state"] == json!("ready");
        system.until_node(name, "it serves", ready).await.unwrap();
        agent
    }

    fn spawn<'a>(home: &Home, arguments: impl Iterator<Item = &'a String>) -> Child {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(home.path("log"))
            .unwrap();
        let mut command = home.remuda(["agent"]);
        command
            .args(arguments)
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap()
    }

    /// Starts it again, after it has ended.
    fn start_again(&mut self) {
        self.child = Self::spawn(&self.home, self.arguments.iter());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path("log")).unwrap_or_default()
    }

    fn kept(&self) -> PathBuf {
        self.home.path(".local/share/remuda/agent/updates")
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

async fn system(store: &TestStore) -> System {
    let url = store.config().url.expose();
    let builder = System::builder().config(AGENTS).database(url);
    builder.start().await.unwrap()
}

/// Uploads a program as a release.
async fn upload(admin: &TestClient, manifest: &Manifest, program: &[u8]) -> Value {
    let text = json!({"manifest": manifest.to_string()});
    let announced = admin.post(RELEASES, &text).await.unwrap();
    assert_eq!(announced.status, 201, "{}", announced.text());
    let id = announced.json().unwrap()["id"].as_str().unwrap().to_owned();
    let path = format!("{RELEASES}/{id}/content");
    let uploaded = admin.send(Method::PUT, &path, Bytes::copy_from_slice(program));
    let uploaded = uploaded.await.unwrap();
    assert_eq!(uploaded.status, 200, "{}", uploaded.text());
    uploaded.json().unwrap()
}

async fn start(admin: &TestClient, version: Version, more: Value) -> Value {
    let mut body = json!({"version": version.to_string(), "hold_seconds": 0});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let started = admin.post(ROLLOUTS, &body).await.unwrap();
    assert_eq!(started.status, 201, "{}", started.text());
    started.json().unwrap()
}

/// Waits until the newest roll-out is as it should be.
async fn until_rollout(admin: &TestClient, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = admin.get(&format!("{ROLLOUTS}/latest")).await.unwrap();
        let rollout = found.json().unwrap();
        if fits(&rollout) {
            return rollout;
        }
        assert!(
            Instant::now() < deadline,
            "waited in vain until {what}: {rollout:#}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn agent<'a>(rollout: &'a Value, node: &str) -> &'a Value {
    let mut agents = rollout["agents"].as_array().unwrap().iter();
    agents
        .find(|agent| agent["node"] == json!(node))
        .unwrap_or(&Value::Null)
}

async fn version_of(system: &System, node: &str) -> String {
    let linked =
        |node: &Value| node["state"] == json!("ready") && node["agent"]["version"].is_string();
    let node = system.until_node(node, "it serves", linked).await.unwrap();
    node["agent"]["version"].as_str().unwrap().to_owned()
}

/// Asks a model again and again until told to end. Returns how often it was answered.
async fn ask_all_the_while(client: TestClient, stop: tokio_util::sync::CancellationToken) -> u32 {
    let mut answered = 0;
    while !stop.is_cancelled() {
        let body = json!({"model": "test-model", "messages": [{"role": "user", "content": "hello"}], "stream": false});
        let reply = client.post("/api/chat", &body).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        answered += 1;
    }
    answered
}

async fn agents_get_a_later_version_one_first_and_serve_all_the_while(store: TestStore) {
    let system = system(&store).await;
    let admin = system.admin().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let key = SigningKey::generate().unwrap();
    let public = key.update_key().to_string();
    let mut agents = Vec::new();
    for name in ["gpu1", "gpu2", "gpu3"] {
        agents.push(AgentProcess::join(&system, name, &upstream, &["--update-key", &public]).await);
    }
    // One that cannot be updated over its link, one that believes nobody, and one that believes somebody else.
    let door = system.door().unwrap();
    let _old = RunningAgent::join(&system, "old", &door, &upstream.url())
        .await
        .unwrap();
    let _alone = AgentProcess::join(&system, "alone", &upstream, &[]).await;
    let other = SigningKey::generate().unwrap().update_key().to_string();
    let _theirs = AgentProcess::join(&system, "theirs", &upstream, &["--update-key", &other]).await;

    let program = later_program();
    let manifest = key.sign(later(), &own_target(), program).unwrap();
    let release = upload(&admin, &manifest, program).await;
    assert_eq!(
        (&release["complete"], &release["update_key"]),
        (&json!(true), &json!(public))
    );
    let stop = tokio_util::sync::CancellationToken::new();
    let asking = tokio::spawn(ask_all_the_while(system.client(), stop.clone()));
    start(&admin, later(), json!({"hold_seconds": 1})).await;
    let first = until_rollout(&admin, "the first agent has the version", |rollout| {
        agent(rollout, "gpu1")["standing"] == json!("updated")
    })
    .await;
    assert_eq!(agent(&first, "gpu1")["stage"], json!(1), "{first:#}");
    for node in ["gpu2", "gpu3"] {
        assert_eq!(
            agent(&first, node)["standing"],
            json!("waiting"),
            "{first:#}"
        );
    }
    for (node, why) in [
        ("old", "cannot be updated from here"),
        ("alone", "--update-key"),
        ("theirs", "believes another key"),
    ] {
        let left_out = agent(&first, node);
        assert_eq!(left_out["standing"], json!("left_out"));
        assert!(
            left_out["reason"].as_str().unwrap().contains(why),
            "{left_out}"
        );
    }
    let done = until_rollout(&admin, "it is done", |rollout| {
        rollout["state"] != json!("running")
    })
    .await;
    assert_eq!(done["state"], json!("done"), "{done:#}");
    assert_eq!(agent(&done, "gpu3")["stage"], json!(3), "{done:#}");
    for (node, running) in [
        ("gpu1", later().to_string()),
        ("gpu3", later().to_string()),
        ("alone", env!("CARGO_PKG_VERSION").to_owned()),
    ] {
        assert_eq!(version_of(&system, node).await, running, "{node}");
    }
    stop.cancel();
    assert!(asking.await.unwrap() > 0);
    // The processes are those that were started: whoever watches over them has seen nothing.
    for agent in &mut agents {
        assert!(agent.child.try_wait().unwrap().is_none());
    }
    // The program that was installed hands over when it is started again.
    let last = agents.last_mut().unwrap();
    drop(last.child.kill());
    last.child.wait().unwrap();
    last.start_again();
    let again =
        |node: &Value| node["state"] == json!("ready") && node["agent"]["linked"] == json!(true);
    system
        .until_node("gpu3", "it is linked again", again)
        .await
        .unwrap();
    assert_eq!(version_of(&system, "gpu3").await, later().to_string());

    let audit = admin.get("/api/v1/audit?limit=500").await.unwrap().text();
    for action in [
        "agent_release.upload",
        "agent_rollout.start",
        "agent_rollout.advance",
        "agent_rollout.done",
    ] {
        assert!(audit.contains(action), "{action}");
    }
    let metrics = admin.get("/metrics").await.unwrap().text();
    assert!(
        metrics.contains("\nremuda_agent_releases_given_total{outcome=\"taken\"} 3\n"),
        "{metrics}"
    );
    // What is older is not even asked for: all have a later one.
    let older = format!("{}.0.0", numbers()[0]).parse().unwrap();
    let manifest = key.sign(older, &own_target(), program).unwrap();
    upload(&admin, &manifest, program).await;
    start(&admin, older, json!({})).await;
    until_rollout(&admin, "nothing is to be done", |rollout| {
        rollout["state"] == json!("done")
    })
    .await;
    assert_eq!(version_of(&system, "gpu1").await, later().to_string());
    drop(agents);
    system.stop().await;
}

async fn a_control_plane_that_is_killed_leaves_the_roll_out_to_another(store: TestStore) {
    let (first, second) = (free_address(), free_address());
    let config = |door: &str| {
        format!(
            "[agents]\nlisten = \"{door}\"\nurl = \"https://{door}\"\n[store]\nencryption_key = \"{KEY}\"\n"
        )
    };
    let url = store.config().url.expose();
    let builder = System::builder().config(&config(&first)).database(url);
    let here = builder.start().await.unwrap();
    let admin = here.admin().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let key = SigningKey::generate().unwrap();
    let public = key.update_key().to_string();
    let mut agents = Vec::new();
    for name in ["gpu1", "gpu2"] {
        agents.push(AgentProcess::join(&here, name, &upstream, &["--update-key", &public]).await);
    }
    let home = Home::new();
    let mut up = home.up_over(&[], &config(&second));
    up.env("REMUDA_STORE__URL", url);
    if let Some(direct) = &store.config().direct_url {
        up.env("REMUDA_STORE__DIRECT_URL", direct.expose());
    }
    // The administrator is there already, with another password.
    up.env_remove("REMUDA_ADMIN_PASSWORD");
    let there = Server::start(up);
    let program = later_program();
    let manifest = key.sign(later(), &own_target(), program).unwrap();
    upload(&admin, &manifest, program).await;
    start(&admin, later(), json!({"stages": ["node", "100"]})).await;
    until_rollout(&admin, "the first agent has the version", |rollout| {
        agent(rollout, "gpu1")["standing"] == json!("updated")
    })
    .await;
    // Whichever of both asks the agents, the roll-out ends well.
    drop(there);
    let done = until_rollout(&admin, "it is done", |rollout| {
        rollout["state"] != json!("running")
    })
    .await;
    assert_eq!(done["state"], json!("done"), "{done:#}");
    assert_eq!(version_of(&here, "gpu2").await, later().to_string());
    drop(agents);
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_crashes_goes_back_by_itself_and_nobody_else_gets_it() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let admin = system.admin().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let key = SigningKey::generate().unwrap();
    let public = key.update_key().to_string();
    let mut agents = Vec::new();
    for name in ["gpu1", "gpu2"] {
        agents.push(AgentProcess::join(&system, name, &upstream, &["--update-key", &public]).await);
    }
    let program = impostor("echo 'no such instruction' >&2; kill -ILL $$");
    let manifest = key.sign(later(), &own_target(), &program).unwrap();
    upload(&admin, &manifest, &program).await;
    start(&admin, later(), json!({})).await;
    let failed = until_rollout(&admin, "it has ended", |rollout| {
        rollout["state"] != json!("running")
    })
    .await;
    let reason = failed["reason"].as_str().unwrap();
    assert_eq!(failed["state"], json!("failed"), "{failed:#}");
    assert!(
        reason.starts_with("gpu1: it went back") && reason.contains("no such instruction"),
        "{reason}"
    );
    assert_eq!(agent(&failed, "gpu1")["standing"], json!("failed"));
    assert_eq!(agent(&failed, "gpu2"), &Value::Null, "{failed:#}");
    let node = system.until_node("gpu1", "it serves as before", |node| {
        node["state"] == json!("ready")
    });
    let node = node.await.unwrap();
    assert_eq!(node["agent"]["version"], json!(env!("CARGO_PKG_VERSION")));
    assert!(
        node["agent"]["updates"]["failed"]
            .as_str()
            .unwrap()
            .contains("no such instruction"),
        "{node:#}"
    );
    // Nothing of it is left, also after the next start.
    let first = agents.first_mut().unwrap();
    assert!(
        first.child.try_wait().unwrap().is_none(),
        "it is the process that was started"
    );
    drop(first.child.kill());
    first.child.wait().unwrap();
    first.start_again();
    assert_eq!(version_of(&system, "gpu1").await, env!("CARGO_PKG_VERSION"));
    let kept = first.kept();
    assert_eq!(
        fs::read_dir(&kept).unwrap().count(),
        1,
        "{}",
        kept.display()
    );
    drop(agents);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_in_the_middle_of_a_try_starts_as_before_and_tells() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let admin = system.admin().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let key = SigningKey::generate().unwrap();
    let public = key.update_key().to_string();
    let mut gpu = AgentProcess::join(&system, "gpu1", &upstream, &["--update-key", &public]).await;
    let marks = tempfile::tempdir().unwrap();
    let (begun, ended) = (marks.path().join("begun"), marks.path().join("ended"));
    // It is never linked, and ends with the version that tries it.
    let program = impostor(&format!(
        "> {}; cat > /dev/null; > {}",
        begun.display(),
        ended.display()
    ));
    let manifest = key.sign(later(), &own_target(), &program).unwrap();
    upload(&admin, &manifest, &program).await;
    start(&admin, later(), json!({})).await;
    until_there(&begun).await;
    gpu.child.kill().unwrap();
    gpu.child.wait().unwrap();
    until_there(&ended).await;
    gpu.start_again();
    let failed = until_rollout(&admin, "it has ended", |rollout| {
        rollout["state"] != json!("running")
    })
    .await;
    assert_eq!(failed["state"], json!("failed"), "{failed:#}");
    assert!(
        failed["reason"]
            .as_str()
            .unwrap()
            .contains("was ended while it tried"),
        "{failed:#}"
    );
    assert_eq!(version_of(&system, "gpu1").await, env!("CARGO_PKG_VERSION"));
    // It can be told to end while it tries, too: nothing is left running.
    start(&admin, later(), json!({})).await;
    fs::remove_file(&begun).unwrap();
    fs::remove_file(&ended).unwrap();
    until_there(&begun).await;
    send_signal(gpu.child.id(), "TERM");
    assert!(gpu.child.wait().unwrap().success());
    assert!(ended.exists());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_told_to_end_as_a_try_passes_ends() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let admin = system.admin().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let key = SigningKey::generate().unwrap();
    let public = key.update_key().to_string();
    let mut gpu = AgentProcess::join(&system, "gpu1", &upstream, &["--update-key", &public]).await;
    let marks = tempfile::tempdir().unwrap();
    let became = marks.path().join("became");
    // On trial it passes, and has its parent told to end; what comes after that would be the agent.
    let program = impostor(&format!(
        "if [ \"$REMUDA_AGENT_START\" = trial ]; then kill -TERM $PPID; exit 0; fi\n> {}; sleep 600",
        became.display()
    ));
    let manifest = key.sign(later(), &own_target(), &program).unwrap();
    upload(&admin, &manifest, &program).await;
    start(&admin, later(), json!({})).await;
    let ended = tokio::task::spawn_blocking(move || gpu.child.wait().map(|status| (status, gpu)));
    let (status, _gpu) = ended.await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert!(!became.exists());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_joins_anew_in_the_middle_of_an_update_serves_and_gets_the_next() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let admin = system.admin().await.unwrap();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let key = SigningKey::generate().unwrap();
    let public = key.update_key().to_string();
    let mut gpu = AgentProcess::join(&system, "old", &upstream, &["--update-key", &public]).await;
    let marks = tempfile::tempdir().unwrap();
    let begun = marks.path().join("begun");
    let program = impostor(&format!("> {}; cat > /dev/null", begun.display()));
    let manifest = key.sign(later(), &own_target(), &program).unwrap();
    let release = upload(&admin, &manifest, &program).await;
    start(&admin, later(), json!({})).await;
    until_there(&begun).await;
    gpu.child.kill().unwrap();
    gpu.child.wait().unwrap();
    let removed = admin
        .send(Method::DELETE, "/api/v1/nodes/old", Bytes::new())
        .await;
    assert_eq!(removed.unwrap().status, 204);
    let membership = gpu.kept().with_file_name("membership.json");
    fs::remove_file(membership).unwrap();
    // The same data directory, another node: what was tried there is no fault of it.
    let (door, token) = (system.door().unwrap(), system.invite("new").await.unwrap());
    let joining = [
        "--join".to_owned(),
        format!("https://{door}"),
        "--token".to_owned(),
        token,
    ];
    gpu.child = AgentProcess::spawn(&gpu.home, joining.iter().chain(&gpu.arguments));
    assert_eq!(version_of(&system, "new").await, env!("CARGO_PKG_VERSION"));
    let rollout = until_rollout(&admin, "it has seen both", |rollout| {
        agent(rollout, "new")["standing"] == json!("failed")
            && agent(rollout, "old")["standing"] == json!("left_out")
    })
    .await;
    assert_eq!(rollout["state"], json!("running"), "{rollout:#}");
    let aborted = admin
        .post(&format!("{ROLLOUTS}/latest/abort"), &json!({}))
        .await;
    assert_eq!(aborted.unwrap().status, 200);
    let path = format!("{RELEASES}/{}", release["id"].as_str().unwrap());
    let removed = admin.send(Method::DELETE, &path, Bytes::new()).await;
    assert_eq!(removed.unwrap().status, 204);

    let program = later_program();
    let manifest = key.sign(later(), &own_target(), program).unwrap();
    upload(&admin, &manifest, program).await;
    start(&admin, later(), json!({})).await;
    let done = until_rollout(&admin, "it has ended", |rollout| {
        rollout["state"] != json!("running")
    })
    .await;
    assert_eq!(done["state"], json!("done"), "{done:#}");
    assert_eq!(version_of(&system, "new").await, later().to_string());
    drop(gpu);
    system.stop().await;
}

async fn until_there(path: &Path) {
    testbed::wait_until("the version is tried", PATIENCE, || path.exists())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_release_is_refused_and_a_roll_out_can_be_stopped() {
    let system = System::builder().config(AGENTS).start().await.unwrap();
    let admin = system.admin().await.unwrap();
    let key = SigningKey::generate().unwrap();
    let program = b"a program".as_slice();
    let manifest = key.sign(later(), &own_target(), program).unwrap();
    let announce = async |text: String| {
        admin
            .post(RELEASES, &json!({"manifest": text}))
            .await
            .unwrap()
    };
    let forged = announce(manifest.to_string().replace("size 9", "size 8")).await;
    assert_eq!(forged.status, 400, "{}", forged.text());
    assert!(forged.text().contains("signature does not fit"));
    assert_eq!(announce(manifest.to_string()).await.status, 201);
    // The same once more is the same; another one under its name is not.
    assert_eq!(announce(manifest.to_string()).await.status, 201);
    let other = key.sign(later(), &own_target(), b"another").unwrap();
    assert_eq!(announce(other.to_string()).await.status, 409);
    let id = format!("{}-{}", later(), own_target());
    let put = async |content: &'static [u8]| {
        let path = format!("{RELEASES}/{id}/content");
        admin
            .send(Method::PUT, &path, Bytes::from_static(content))
            .await
            .unwrap()
    };
    for (content, why) in [
        (b"a prog".as_slice(), "ended after 6 of 9"),
        (b"a programme", "more than 9"),
        (b"a pr0gram", "bytes differ"),
    ] {
        let refused = put(content).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(why), "{}", refused.text());
    }
    let begin = async || {
        admin
            .post(ROLLOUTS, &json!({"version": later().to_string()}))
            .await
            .unwrap()
    };
    let early = begin().await;
    assert_eq!(early.status, 404, "{}", early.text());
    assert_eq!(put(program).await.status, 200);
    assert_eq!(put(program).await.status, 409);

    for (body, why) in [
        (json!({"version": "1.2"}), "three numbers"),
        (
            json!({"version": later().to_string(), "stages": ["10"]}),
            "end with 100",
        ),
        (
            json!({"version": later().to_string(), "patience_seconds": 1}),
            "patience_seconds",
        ),
    ] {
        let refused = admin.post(ROLLOUTS, &body).await.unwrap();
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(why), "{}", refused.text());
    }
    assert_eq!(begin().await.status, 201);
    let second = begin().await;
    assert_eq!(second.status, 409, "{}", second.text());
    let waits = until_rollout(&admin, "it waits", |rollout| {
        rollout["waits_for"].is_string()
    })
    .await;
    assert!(
        waits["waits_for"]
            .as_str()
            .unwrap()
            .contains("no agent can have"),
        "{waits}"
    );
    let used = admin
        .send(Method::DELETE, &format!("{RELEASES}/{id}"), Bytes::new())
        .await
        .unwrap();
    assert_eq!(used.status, 409, "{}", used.text());
    let step = async |verb: &str| {
        let stepped = admin
            .post(&format!("{ROLLOUTS}/latest/{verb}"), &json!({}))
            .await;
        stepped.unwrap().status.as_u16()
    };
    let steps = ["resume", "pause", "pause", "resume", "abort", "abort"];
    let mut answers = Vec::new();
    for verb in steps {
        answers.push(step(verb).await);
    }
    assert_eq!(answers, [409, 200, 409, 200, 200, 409]);
    let removed = admin
        .send(Method::DELETE, &format!("{RELEASES}/{id}"), Bytes::new())
        .await
        .unwrap();
    assert_eq!(removed.status, 204);
    system.stop().await;
}

#[test]
fn the_commands_sign_upload_and_roll_out() {
    let home = Home::new();
    let server = Server::start(home.up_over(&[], AGENTS));
    succeed(
        home.remuda(["login", "--password-stdin", "--server", server.url()])
            .stdin(home.password_file()),
    );
    let key = home.path("agents.key");
    let key = key.to_str().unwrap();
    let public = succeed(&mut home.remuda(["agent-release", "keygen", key]));
    assert!(public.starts_with("rmdk_"), "{public}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // It is not overwritten: agents believe it.
    one_line_refusal(&mut home.remuda(["agent-release", "keygen", key]), 1);
    let program = home.path("remuda");
    fs::write(&program, later_program()).unwrap();
    let program = program.to_str().unwrap();
    let missing = one_line_refusal(
        &mut home.remuda(["agent-release", "upload", program, "--server", server.url()]),
        1,
    );
    assert!(missing.contains("agent-release sign"), "{missing}");
    // Version and machine are read from the file.
    let signed = succeed(&mut home.remuda(["agent-release", "sign", program, "--key", key]));
    assert!(
        signed.contains(&format!("version {} for {}", later(), own_target())),
        "{signed}"
    );
    let uploaded =
        succeed(&mut home.remuda(["agent-release", "upload", program, "--server", server.url()]));
    assert!(
        uploaded.contains(&format!("Uploaded {}-", later())),
        "{uploaded}"
    );
    let listed = succeed(&mut home.remuda(["agent-release", "list", "--server", server.url()]));
    assert!(
        listed.contains("complete") && listed.contains(public.trim()),
        "{listed}"
    );
    let version = later().to_string();
    let started =
        succeed(&mut home.remuda(["agent-rollout", "start", &version, "--server", server.url()]));
    assert!(started.contains("one agent (1 of 3)"), "{started}");
    for verb in ["pause", "resume", "show", "abort", "list"] {
        let told = succeed(&mut home.remuda(["agent-rollout", verb, "--server", server.url()]));
        assert!(told.contains(&version), "{told}");
    }
    let id = format!("{version}-{}", own_target());
    succeed(&mut home.remuda(["agent-release", "remove", &id, "--server", server.url()]));
    let script = home.write("script", "#!/bin/sh\n");
    let script = script.to_str().unwrap();
    let unknown = one_line_refusal(
        &mut home.remuda(["agent-release", "sign", script, "--key", key]),
        2,
    );
    assert!(unknown.contains("--as-version"), "{unknown}");
    let wrong = one_line_refusal(&mut home.remuda(["agent", "--update-key", "abc"]), 2);
    assert!(wrong.contains("rmdk_"), "{wrong}");
}
