//! What holds placement back, what it counts by, and what is told of each model.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use primitives::{Clock as _, SystemClock};
use serde_json::{Value, json};
use testbed::{Flavour, Gate, RunningAgent, ScriptedModel, ScriptedUpstream, System, TestClient};

use crate::harness::{Home, succeed};
use crate::placement::started_with;
use crate::service::until;

const PLAN: &str = "/api/v1/placement/plan";
const ACTIONS: &str = "/api/v1/placement/actions";
const QUICK: &str = "[placement]\ninterval = \"50ms\"\nmax_pulls = 2\n";
const GIB: u64 = 1 << 30;

fn upstream(name: &str, models: &[ScriptedModel]) -> anyhow::Result<ScriptedUpstream> {
    let mut builder = ScriptedUpstream::builder(Flavour::Ollama).name(name);
    for model in models {
        builder = builder.model(model.clone());
    }
    builder.start()
}

/// A system over these nodes, all of which it has met.
async fn started(
    upstreams: &[&ScriptedUpstream],
    config: &str,
) -> anyhow::Result<(System, TestClient)> {
    started_with(System::builder().config(config), upstreams).await
}

async fn want(admin: &TestClient, model: &str, wanted: Value) -> anyhow::Result<()> {
    let path = format!("/api/v1/placement/policies/{model}");
    let reply = admin.send(Method::PUT, &path, wanted.to_string().into());
    let reply = reply.await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    Ok(())
}

fn has(upstream: &ScriptedUpstream, model: &str) -> bool {
    upstream.models().iter().any(|found| found.name == model)
}

fn is_loaded(upstream: &ScriptedUpstream, model: &str) -> bool {
    let models = upstream.models();
    let mut models = models.iter();
    models.any(|found| found.name == model && found.loaded.is_some())
}

async fn actions(admin: &TestClient) -> anyhow::Result<Vec<Value>> {
    let page = admin.get(ACTIONS).await?.json()?;
    page["items"].as_array().cloned().context("no actions")
}

/// Waits until the reconciler has looked at the fleet so many times more.
async fn looks(admin: &TestClient, times: usize) -> anyhow::Result<()> {
    let seen = std::sync::Mutex::new(BTreeSet::new());
    until("the reconciler looks again", async || {
        let plan = admin.get(PLAN).await?.json()?;
        let at = plan["reconciler"]["looked_at"].as_str().map(str::to_owned);
        let mut seen = seen.lock().unwrap();
        seen.extend(at);
        Ok(seen.len() > times)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_fetched_at_once_than_allowed_and_one_model_at_a_time_at_a_node()
-> anyhow::Result<()> {
    let a = upstream(
        "a",
        &[ScriptedModel::chat("m:1b"), ScriptedModel::chat("n:1b")],
    )?;
    let gate = Gate::closed();
    let others: Vec<ScriptedUpstream> = ["b", "c", "d"]
        .iter()
        .map(|name| {
            let other = upstream(name, &[ScriptedModel::chat("other:1b")])?;
            other.edit_script(|script| script.pull_gate = Some(gate.clone()));
            Ok(other)
        })
        .collect::<anyhow::Result<_>>()?;
    let all: Vec<&ScriptedUpstream> = std::iter::once(&a).chain(&others).collect();
    let (system, admin) = started(&all, QUICK).await?;
    for model in ["m:1b", "n:1b"] {
        want(&admin, model, json!({"mode": "auto", "min_on_disk": 4})).await?;
    }
    let asked = || -> Vec<usize> {
        let pulls = others
            .iter()
            .map(|node| node.requests_to("/api/pull").len());
        pulls.collect()
    };
    until("two nodes fetch", async || {
        Ok(asked().iter().sum::<usize>() == 2)
    })
    .await?;
    looks(&admin, 3).await?;
    let (running, queued): (Vec<Value>, Vec<Value>) = actions(&admin)
        .await?
        .into_iter()
        .partition(|action| action["status"] == "running");
    assert_eq!(
        (running.len(), queued.len()),
        (2, 4),
        "{running:#?} {queued:#?}"
    );
    assert_ne!(running[0]["node"], running[1]["node"]);
    assert_eq!(
        asked().iter().max(),
        Some(&1),
        "one at a node: {:?}",
        asked()
    );
    assert_eq!(
        asked().iter().sum::<usize>(),
        2,
        "two in all: {:?}",
        asked()
    );
    gate.open();
    until("all have both", async || {
        let mut both = others.iter();
        Ok(both.all(|node| has(node, "m:1b") && has(node, "n:1b")))
    })
    .await?;
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_loaded_one_after_the_other_at_a_node() -> anyhow::Result<()> {
    let models = ["m:1b", "n:1b", "o:1b"];
    let a = upstream("a", &models.map(ScriptedModel::chat))?;
    a.edit_script(|script| script.load_delay = Duration::from_millis(400));
    let (system, admin) = started(&[&a], QUICK).await?;
    for model in models {
        want(&admin, model, json!({"mode": "auto", "min_loaded": 1})).await?;
    }
    let seen = std::sync::Mutex::new(0);
    until("all are in memory", async || {
        let actions = actions(&admin).await?;
        let running = actions
            .iter()
            .filter(|action| action["status"] == "running");
        let running = running.count();
        assert!(running <= 1, "{actions:#?}");
        *seen.lock().unwrap() += running;
        let done = actions.iter().filter(|action| action["status"] == "done");
        Ok(done.count() == models.len() && models.iter().all(|model| is_loaded(&a, model)))
    })
    .await?;
    assert!(
        *seen.lock().unwrap() > 0,
        "none was seen while it was loaded"
    );
    assert_eq!(a.counters().loads, models.len() as u64);
    system.stop().await;
    Ok(())
}

/// Returns hours of today, in UTC, that begin and end so many minutes from now.
fn hours(from: u64, to: u64) -> anyhow::Result<String> {
    let now = u64::try_from(SystemClock::new().now().as_micros())? / 60_000_000;
    let clock = |minutes: u64| {
        let minute = (now + minutes) % 1_440;
        format!("{:02}:{:02}", minute / 60, minute % 60)
    };
    Ok(format!("{}-{}", clock(from), clock(to)))
}

#[tokio::test(flavor = "multi_thread")]
async fn fetching_and_deleting_wait_for_the_maintenance_window_and_loading_does_not()
-> anyhow::Result<()> {
    let a = upstream(
        "a",
        &[ScriptedModel::chat("m:1b"), ScriptedModel::chat("old:1b")],
    )?;
    let b = upstream("b", &[ScriptedModel::chat("old:1b")])?;
    let during = |window: String| format!("{QUICK}windows = [\"{window}\"]\n");
    let wanted = json!({"mode": "auto", "min_on_disk": 2, "min_loaded": 1});
    let unused = json!({"mode": "auto", "min_on_disk": 1, "retention_days": 1});
    let (system, admin) = started(&[&a, &b], &during(hours(120, 180)?)).await?;
    want(&admin, "m:1b", wanted.clone()).await?;
    want(&admin, "old:1b", unused.clone()).await?;
    until("it is in memory", async || Ok(is_loaded(&a, "m:1b"))).await?;
    looks(&admin, 3).await?;
    for action in actions(&admin).await? {
        let waits = action["kind"] == "pull" || action["kind"] == "delete";
        assert_eq!(waits, action["status"] == "queued", "{action:#}");
    }
    assert!(b.requests_to("/api/pull").is_empty());
    let token = system.admin_token().await?;
    let url = format!("http://{}", system.address());
    let home = Home::new();
    let told = tokio::task::spawn_blocking(move || {
        let mut command = home.remuda(["placement", "plan", "--server", &url]);
        succeed(command.env("REMUDA_API_KEY", token))
    })
    .await?;
    assert!(told.contains("in the next maintenance window"), "{told}");
    system.stop().await;

    // From 23 hours ago, so to speak, to an hour from now.
    let (system, admin) = started(&[&a, &b], &during(hours(60, 30)?)).await?;
    want(&admin, "m:1b", wanted).await?;
    want(&admin, "old:1b", unused).await?;
    until("both was done", async || {
        let kept = usize::from(has(&a, "old:1b")) + usize::from(has(&b, "old:1b"));
        Ok(has(&b, "m:1b") && kept == 1)
    })
    .await?;
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_known_of_a_model_is_told() -> anyhow::Result<()> {
    let a = upstream("a", &[ScriptedModel::chat("m:1b").loaded()])?;
    let b = upstream("b", &[ScriptedModel::chat("other:1b")])?;
    b.edit_script(|script| script.broken_pulls = 1);
    let (system, admin) = started(&[&a, &b], QUICK).await?;
    let question = json!({"model": "m:1b", "messages": [{"role": "user", "content": "Hello"}], "stream": false});
    for _ in 0..3 {
        assert_eq!(admin.post("/api/chat", &question).await?.status, 200);
    }
    want(&admin, "m:1b", json!({"mode": "auto", "min_on_disk": 2})).await?;
    let shown = async || admin.get("/api/v1/models/m:1b").await?.json();
    until("its uses are counted", async || {
        Ok(shown().await?["requests"] == 3)
    })
    .await?;
    until("its fetch has failed", async || {
        let replica = &shown().await?["replicas"][1];
        Ok(replica["failed"].is_string())
    })
    .await?;
    let model = shown().await?;
    let digest = a.models()[0].digest.clone();
    for (field, told) in [
        ("name", json!("m:1b")),
        ("size_bytes", json!(1_321_098_329)),
        ("context_length", json!(32_768)),
        ("license", json!("Apache License, Version 2.0")),
        ("digests_differ", json!(false)),
        ("capabilities", json!(["completion", "tools", "thinking"])),
    ] {
        assert_eq!(model[field], told, "{field}: {model:#}");
    }
    for (field, told) in [
        ("family", "llama"),
        ("parameter_size", "1.2B"),
        ("quantization_level", "Q8_0"),
    ] {
        assert_eq!(model["details"][field], told, "{field}: {model:#}");
    }
    let replica = &model["replicas"][0];
    for (field, told) in [
        ("node", json!("a")),
        ("loaded", json!(true)),
        ("digest", json!(digest)),
        ("requests", json!(3)),
    ] {
        assert_eq!(replica[field], told, "{field}: {model:#}");
    }
    assert!(replica["last_used"].is_string() && model["last_used"].is_string());
    // Where it could not be fetched there is the reason, until it is there.
    let missed = &model["replicas"][1];
    assert_eq!(
        (&missed["node"], &missed["on_disk"]),
        (&json!("b"), &json!(false))
    );
    let why = missed["failed"].as_str().unwrap_or_default();
    assert!(why.contains("ended its answer"), "{model:#}");
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lasting_demand_loads_a_model_at_another_node_and_quiet_takes_it_away() -> anyhow::Result<()>
{
    const CLIENTS: usize = 4;
    let a = upstream("a", &[ScriptedModel::chat("m:1b").loaded()])?;
    // Nobody but placement brings it there.
    let b = upstream("b", &[ScriptedModel::chat("other:1b")])?;
    for node in [&a, &b] {
        node.edit_script(|script| {
            script.tokens = Some(20);
            script.token_delay = Duration::from_millis(10);
        });
    }
    let config = format!(
        "{QUICK}calls_for_each = 1.0\nrise = \"500ms\"\nfall = \"500ms\"\nquiet_for = \"0s\"\n"
    );
    let (system, admin) = started(&[&a, &b], &config).await?;
    let wanted = json!({"mode": "auto", "min_on_disk": 1, "min_loaded": 1, "max_loaded": 2});
    want(&admin, "m:1b", wanted).await?;
    looks(&admin, 3).await?;
    assert_eq!(
        actions(&admin).await?,
        Vec::<Value>::new(),
        "nobody asks for it"
    );
    let enough = Arc::<AtomicBool>::default();
    let clients = (0..CLIENTS).map(|number| {
        let (client, enough) = (system.client(), Arc::clone(&enough));
        tokio::spawn(async move {
            let body =
                json!({"model": "m:1b", "prompt": format!("from {number}"), "stream": false});
            while !enough.load(Ordering::Relaxed) {
                let reply = client.post("/api/generate", &body).await?;
                anyhow::ensure!(reply.status == 200, "{}", reply.text());
            }
            Ok(())
        })
    });
    let clients: Vec<_> = clients.collect();
    let placed = async |status: &str, kind: &str| -> anyhow::Result<usize> {
        let actions = actions(&admin).await?;
        let found = actions
            .iter()
            .filter(|action| action["status"] == status && action["kind"] == kind);
        Ok(found.count())
    };
    until("it is in memory at the other node", async || {
        Ok(placed("done", "pull").await? == 1 && is_loaded(&b, "m:1b"))
    })
    .await?;
    enough.store(true, Ordering::Relaxed);
    for client in clients {
        client.await??;
    }
    until("one is enough again", async || {
        let loaded = [&a, &b].map(|node| is_loaded(node, "m:1b"));
        Ok(placed("done", "unload").await? == 1 && loaded.iter().filter(|is| **is).count() == 1)
    })
    .await?;
    looks(&admin, 3).await?;
    assert_eq!(placed("done", "unload").await?, 1, "the least stays");
    system.stop().await;
    Ok(())
}

/// Lays a machine out with a GPU of so much memory.
fn machine_with(root: &Path, gpu_bytes: u64) -> anyhow::Result<()> {
    for (file, content) in [
        ("vendor", "0x1002".to_owned()),
        ("mem_info_vram_total", gpu_bytes.to_string()),
        ("mem_info_vram_used", "0".to_owned()),
    ] {
        let path = root.join("sys/class/drm/card0/device").join(file);
        std::fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        std::fs::write(path, format!("{content}\n"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn gpu_memory_that_agents_tell_decides_where_a_model_goes() -> anyhow::Result<()> {
    let config = format!("[agents]\nlisten = \"127.0.0.1:0\"\n{QUICK}");
    let system = System::builder().config(&config).start().await?;
    let admin = system.admin().await?;
    let door = system.door()?;
    let large = ScriptedModel {
        size_bytes: 20 * GIB,
        ..ScriptedModel::chat("m:30b")
    };
    let mut kept = Vec::new();
    for (name, gpu_bytes) in [
        ("large", 80 * GIB),
        ("middle", 24 * GIB),
        ("small", 16 * GIB),
    ] {
        let root = tempfile::tempdir()?;
        machine_with(root.path(), gpu_bytes)?;
        let server = upstream(name, std::slice::from_ref(&large))?;
        let url = server.url();
        let agent = RunningAgent::join_as(&system, name, &door, &url, |config| {
            root.path().clone_into(&mut config.root);
        });
        kept.push((agent.await?, server, root));
        let told = |node: &Value| {
            node["state"] == "ready" && node["machine"]["usage"]["gpus"][0].is_object()
        };
        system
            .until_node(name, "it tells of its card", told)
            .await?;
    }
    let plan = async |wanted: Value| -> anyhow::Result<(Vec<String>, String)> {
        want(&admin, "m:30b", wanted).await?;
        let plan = admin.get(PLAN).await?.json()?;
        let actions = plan["actions"].as_array().into_iter().flatten();
        let nodes = actions.map(|action| {
            format!(
                "{}@{}",
                action["kind"].as_str().unwrap_or_default(),
                action["node"].as_str().unwrap_or_default()
            )
        });
        let unmet = plan["unmet"][0]["reason"].as_str().unwrap_or_default();
        Ok((nodes.collect(), unmet.to_owned()))
    };
    // 20 GiB and what goes with them fit into 24 with a small context, and never into 16.
    let (nodes, unmet) =
        plan(json!({"mode": "suggest", "min_loaded": 3, "context": 2_048})).await?;
    assert_eq!(nodes, ["load@large", "load@middle"], "{unmet}");
    assert!(
        unmet.starts_with("2 of 3 nodes have it in memory"),
        "{unmet}"
    );
    // The cache of a long one does not.
    let (nodes, unmet) =
        plan(json!({"mode": "suggest", "min_loaded": 2, "context": 32_768})).await?;
    assert_eq!(nodes, ["load@large"], "{unmet}");
    let least = json!({"mode": "suggest", "min_loaded": 1, "min_gpu_memory_bytes": 100 * GIB});
    let (nodes, unmet) = plan(least).await?;
    assert!(nodes.is_empty() && !unmet.is_empty(), "{nodes:?} {unmet}");
    system.stop().await;
    Ok(())
}
