//! What goes through the link of an agent: every endpoint, commands about models, bytes both ways at the pace of whoever reads them; and
//! what the agent tells of its machine.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::Method;
use serde_json::{Value, json};
use testbed::{
    Answer, Flavour, Gate, RunningAgent, ScriptedModel, ScriptedUpstream, System, TestClient,
};

use crate::service::until;

const AGENTS: &str = "[agents]\nlisten = \"127.0.0.1:0\"\n";

/// A system whose only node is one agent's.
struct Fleet {
    system: System,
    upstream: ScriptedUpstream,
    _agent: RunningAgent,
}

impl Fleet {
    async fn start(upstream: ScriptedUpstream, models: &[&str]) -> anyhow::Result<Self> {
        let system = System::builder().config(AGENTS).start().await?;
        let door = system.door()?;
        let agent = RunningAgent::join(&system, "gpu1", &door, &upstream.url()).await?;
        system.until_models(models).await?;
        Ok(Self {
            system,
            upstream,
            _agent: agent,
        })
    }

    /// Beside an Ollama with a model for chat and one for embeddings.
    async fn beside_ollama() -> anyhow::Result<Self> {
        let upstream = ScriptedUpstream::builder(Flavour::Ollama)
            .model(ScriptedModel::chat("test-model:latest").loaded())
            .model(ScriptedModel::embedding("vectors:latest"))
            .start()?;
        Self::start(upstream, &["test-model", "vectors"]).await
    }
}

/// Tells whether a text stands somewhere in an answer.
fn says(answer: &Value, text: &str) -> bool {
    match answer {
        Value::String(found) => found == text,
        Value::Array(parts) => parts.iter().any(|part| says(part, text)),
        Value::Object(parts) => parts.values().any(|part| says(part, text)),
        _ => false,
    }
}

/// Joins the text of a stream: of Ollama's lines, or of the events of either other dialect.
fn joined(stream: &str) -> String {
    let mut text = String::new();
    for line in stream.lines() {
        let line = line.strip_prefix("data: ").unwrap_or(line);
        let Ok(part) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let choice = &part["choices"][0];
        let is_whole = part["type"].as_str().is_some_and(|kind| {
            kind.starts_with("response.") && kind != "response.output_text.delta"
        });
        let said = [
            &part["message"]["content"],
            &part["response"],
            &choice["delta"]["content"],
            &choice["text"],
            &part["delta"]["text"],
            &part["delta"],
        ];
        if let Some(said) = said
            .iter()
            .find_map(|said| said.as_str())
            .filter(|_| !is_whole)
        {
            text.push_str(said);
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_of_both_dialects_goes_through_the_link() -> anyhow::Result<()> {
    for flavour in [Flavour::Ollama, Flavour::Vllm] {
        let (chat, vectors) = match flavour {
            Flavour::Ollama => ("test-model:latest", "vectors:latest"),
            _ => ("test-model", "vectors"),
        };
        let upstream = ScriptedUpstream::builder(flavour)
            .model(ScriptedModel::chat(chat).loaded())
            .model(ScriptedModel::embedding(vectors).loaded())
            .start()?;
        let fleet = Fleet::start(upstream, &["test-model", "vectors"]).await?;
        let client = fleet.system.client();
        let messages = json!([{"role": "user", "content": "hello"}]);
        for (path, body) in [
            ("/api/chat", json!({"messages": messages})),
            ("/api/generate", json!({"prompt": "hello"})),
            ("/v1/chat/completions", json!({"messages": messages})),
            ("/v1/completions", json!({"prompt": "hello"})),
            ("/v1/responses", json!({"input": "hello"})),
            (
                "/v1/messages",
                json!({"messages": messages, "max_tokens": 1_000}),
            ),
        ] {
            let mut body = body;
            body["model"] = json!("test-model");
            body["stream"] = json!(false);
            let whole = client.post(path, &body).await?;
            let right = Answer::to("hello", None).text();
            assert!(
                says(&whole.json()?, &right),
                "{flavour:?} {path}: {}",
                whole.text()
            );
            body["stream"] = json!(true);
            let stream = client.stream(path, &body).await?.whole().await?;
            assert_eq!(
                joined(&stream.text()),
                right,
                "{flavour:?} {path}: {}",
                stream.text()
            );
        }
        for (path, input) in [
            ("/api/embed", "input"),
            ("/api/embeddings", "prompt"),
            ("/v1/embeddings", "input"),
        ] {
            let mut body = json!({"model": "vectors"});
            body[input] = json!("hello");
            let got = client.post(path, &body).await?;
            assert_eq!(got.status, 200, "{flavour:?} {path}: {}", got.text());
            let vector = ["/embeddings/0", "/embedding", "/data/0/embedding"]
                .iter()
                .find_map(|place| got.json().ok()?.pointer(place)?.as_array().map(Vec::len));
            assert_eq!(vector, Some(16), "{flavour:?} {path}: {}", got.text());
        }
        for path in [
            "/api/tags",
            "/v1/models",
            "/v1/models/test-model",
            "/api/ps",
        ] {
            let listed = client.get(path).await?;
            assert_eq!(listed.status, 200, "{flavour:?} {path}: {}", listed.text());
            assert!(
                listed.text().contains("test-model"),
                "{path}: {}",
                listed.text()
            );
        }
        let shown = client
            .post("/api/show", &json!({"model": "test-model"}))
            .await?;
        assert_eq!(shown.status, 200, "{flavour:?}: {}", shown.text());
        // Whatever reached the node came by the name that stands for the link, or from the agent beside it.
        for request in fleet.upstream.requests() {
            let host = request.headers["host"].to_str()?.to_owned();
            let beside = fleet.upstream.address().to_string();
            assert!(host.ends_with(".internal") || host == beside, "{host}");
        }
        fleet.system.stop().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_up_its_own_stream_alone() -> anyhow::Result<()> {
    /// Some 60 MB of lines: far more than all buffers on the way hold.
    const TOKENS: usize = 500_000;
    let fleet = Fleet::beside_ollama().await?;
    let upstream = &fleet.upstream;
    let ask = |question: &str| json!({"model": "test-model", "messages": [{"role": "user", "content": question}]});
    let client = fleet.system.client();
    let slow = ask(&format!("[[testbed tokens={TOKENS} together=100]] hello"));
    let mut stream = client.stream("/api/chat", &slow).await?;
    assert!(stream.line().await?.is_some());
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut before = 0;
    loop {
        // Others are answered meanwhile.
        for question in ["one", "two", "three"] {
            let mut body = ask(question);
            body["stream"] = json!(false);
            let reply = client.post("/api/chat", &body).await?;
            let right = Answer::to(question, None).text();
            assert_eq!(reply.json()?["message"]["content"], right.as_str());
        }
        let others = upstream.counters().ended;
        let sent = upstream.counters().tokens;
        // Their answers are no progress of the slow one.
        let own = sent.saturating_sub(others * 48);
        if own == before {
            break;
        }
        before = own;
        anyhow::ensure!(
            Instant::now() < deadline,
            "it never stands still: {sent} tokens"
        );
    }
    let counters = upstream.counters();
    assert_eq!(
        (counters.in_flight, counters.cancelled),
        (1, 0),
        "{counters:?}"
    );
    assert!((counters.tokens as usize) < TOKENS, "{counters:?}");
    // It goes on where it stood, and ends with whoever reads it.
    for _ in 0..100 {
        assert!(stream.line().await?.is_some());
    }
    drop(stream);
    upstream
        .wait_for(|seen| seen.cancelled == 1 && seen.in_flight == 0)
        .await?;
    fleet.system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_about_models_reach_the_machine_with_progress_and_can_be_called_off()
-> anyhow::Result<()> {
    let fleet = Fleet::beside_ollama().await?;
    let (upstream, admin) = (&fleet.upstream, fleet.system.admin().await?);
    let has = |name: &str| upstream.models().iter().any(|model| model.name == name);
    let lines = async |path: &str, body: Value| -> anyhow::Result<Vec<Value>> {
        let stream = admin.stream(&format!("{path}?node=gpu1"), &body).await?;
        anyhow::ensure!(stream.status == 200, "{}", stream.whole().await?.text());
        stream.json_lines().await
    };
    let succeeded = |lines: &[Value]| lines.last().is_some_and(|line| line["status"] == "success");

    let gate = Gate::closed();
    upstream.edit_script(|script| script.pull_gate = Some(gate.clone()));
    let body = json!({"model": "fresh:1b"});
    let mut pull = admin.stream("/api/pull?node=gpu1", &body).await?;
    loop {
        let line = pull.line().await?.context("it ended early")?;
        let line: Value = serde_json::from_str(&line)?;
        // Progress comes while the pull runs.
        if line["completed"].as_u64() > Some(4_000) {
            break;
        }
    }
    until("the server is in the middle of it", async || {
        Ok(gate.waiting() == 1)
    })
    .await?;
    drop(pull);
    until("it is cut off there", async || Ok(gate.waiting() == 0)).await?;
    gate.open();
    let told = lines("/api/pull", json!({"model": "other:1b"})).await?;
    assert!(succeeded(&told) && told.len() > 3, "{told:?}");
    assert!(
        has("other:1b") && !has("fresh:1b"),
        "{:?}",
        upstream.models()
    );

    let made = json!({"model": "made:1b", "from": "other:1b", "system": "Be kind."});
    assert!(succeeded(&lines("/api/create", made).await?) && has("made:1b"));
    let copied = json!({"source": "made:1b", "destination": "copied:1b"});
    let reply = admin.post("/api/copy?node=gpu1", &copied).await?;
    assert!(reply.status == 200 && has("copied:1b"), "{}", reply.text());
    assert!(succeeded(
        &lines("/api/push", json!({"model": "copied:1b"})).await?
    ));
    let show = json!({"model": "copied:1b"});
    until("the copy is known", async || {
        Ok(admin.post("/api/show?node=gpu1", &show).await?.status == 200)
    })
    .await?;
    let blob = format!("/api/blobs/sha256:{}?node=gpu1", "0".repeat(64));
    let uploaded = admin.send(Method::POST, &blob, vec![b'x'; 3 << 20].into());
    let uploaded = uploaded.await?;
    assert!(uploaded.status.is_success(), "{}", uploaded.text());

    let is_loaded = |name: &str| {
        let models = upstream.models();
        let found = models.into_iter().find(|model| model.name == name);
        found.is_some_and(|model| model.loaded.is_some())
    };
    let body = json!({"model": "copied:1b", "node": "gpu1"});
    let reply = admin.post("/api/v1/models/load", &body).await?;
    assert!(
        reply.status.is_success() && is_loaded("copied:1b"),
        "{}",
        reply.text()
    );
    let reply = admin.post("/api/v1/models/unload", &body).await?;
    assert!(
        reply.status.is_success() && !is_loaded("copied:1b"),
        "{}",
        reply.text()
    );
    let body = json!({"model": "copied:1b"}).to_string();
    let gone = admin.send(Method::DELETE, "/api/delete?node=gpu1", body.into());
    let gone = gone.await?;
    assert!(gone.status == 200 && !has("copied:1b"), "{}", gone.text());
    fleet.system.stop().await;
    Ok(())
}

/// Lays out a machine with a card of AMD's and a sensor of its processor.
fn machine(root: &Path) -> anyhow::Result<()> {
    for (path, content) in [
        ("drm/card1/device/vendor", "0x1002"),
        ("drm/card1/device/product_name", "AMD Instinct MI300X OAM"),
        ("drm/card1/device/mem_info_vram_total", "205822885888"),
        ("drm/card1/device/mem_info_vram_used", "297684992"),
        ("drm/card1/device/gpu_busy_percent", "37"),
        ("drm/card1/device/hwmon/hwmon7/temp1_input", "43000"),
        ("drm/card1/device/hwmon/hwmon7/power1_input", "135000000"),
        ("drm/card1/device/hwmon/hwmon7/power1_cap", "750000000"),
        ("hwmon/hwmon0/name", "k10temp"),
        ("hwmon/hwmon0/temp1_input", "54125"),
    ] {
        let path = root.join("sys/class").join(path);
        std::fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        std::fs::write(path, format!("{content}\n"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_tells_everything_of_its_machine_and_its_server() -> anyhow::Result<()> {
    let root = tempfile::tempdir()?;
    machine(root.path())?;
    let system = System::builder().config(AGENTS).start().await?;
    let upstream = ScriptedUpstream::start(Flavour::Vllm)?;
    upstream.edit_script(|script| script.pressure = (2, 0.5));
    let door = system.door()?;
    let agent = RunningAgent::join_as(&system, "gpu1", &door, &upstream.url(), |config| {
        root.path().clone_into(&mut config.root);
    })
    .await?;
    let node = system
        .until_node("gpu1", "it tells of the card", |node| {
            node["machine"]["usage"]["gpus"][0].is_object() && node["state"] == "ready"
        })
        .await?;
    let usage = &node["machine"]["usage"];
    let gpu = &usage["gpus"][0];
    let told = json!({
        "index": 0, "name": "AMD Instinct MI300X OAM", "vendor": "amd", "memory_total_bytes": 205_822_885_888_u64,
        "memory_used_bytes": 297_684_992, "used_percent": 37.0, "temperature_celsius": 43.0, "power_watts": 135.0,
        "power_limit_watts": 750.0,
    });
    assert_eq!(*gpu, told, "{usage:#}");
    assert_eq!(usage["cpu_temperature_celsius"], 54.125);
    for field in [
        "memory_total_bytes",
        "memory_available_bytes",
        "uptime_seconds",
    ] {
        assert!(usage[field].as_u64() > Some(0), "{field}: {usage:#}");
    }
    assert!(usage["swap_total_bytes"].is_u64() && usage["swap_used_bytes"].is_u64());
    assert!(
        usage["cpu_used_percent"].is_f64() && usage["load"].as_array().map(Vec::len) == Some(3)
    );
    let disk = &usage["disks"][0];
    assert!(
        disk["total_bytes"].as_u64() >= disk["available_bytes"].as_u64(),
        "{usage:#}"
    );
    assert!(
        disk["mount"]
            .as_str()
            .is_some_and(|mount| mount.starts_with('/')),
        "{usage:#}"
    );
    assert!(usage["networks"][0]["received_bytes"].is_u64(), "{usage:#}");
    // The server's own words, by its agent.
    let page = TestClient::new(agent.page()?);
    let reading = page.get("/api/v1/metrics/current").await?.json()?;
    let server = &reading["model_server"];
    assert_eq!(
        (&server["api"], &server["reachable"]),
        (&json!("openai"), &json!(true))
    );
    assert_eq!(server["models"][0]["name"], "test-model");
    assert_eq!(server["models"][0]["loaded"], true);
    assert!(
        server["version"].is_string() && server["in_flight"].is_u64(),
        "{reading:#}"
    );
    // A change is told at once, not with the next beat.
    upstream.kill();
    system
        .until_node("gpu1", "the server is gone", |node| {
            node["machine"]["usage"]["server_problem"]
                .as_str()
                .is_some_and(|problem| problem.contains("start it"))
        })
        .await?;
    system.stop().await;
    Ok(())
}
