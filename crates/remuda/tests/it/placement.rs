//! Models get to where they are wanted, and nothing that is needed goes.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use store::testing::TestStore;
use testbed::{Flavour, Gate, ScriptedModel, ScriptedUpstream, System, SystemBuilder, TestClient};

use crate::service::until;

const PLAN: &str = "/api/v1/placement/plan";
const ACTIONS: &str = "/api/v1/placement/actions";

/// Looks often, so that tests are quick.
const QUICK: &str = "[placement]\ninterval = \"50ms\"\nmax_pulls = 2\n";

fn upstream(name: &str, models: &[ScriptedModel]) -> ScriptedUpstream {
    let mut builder = ScriptedUpstream::builder(Flavour::Ollama).name(name);
    for model in models {
        builder = builder.model(model.clone());
    }
    builder.start().unwrap()
}

async fn started(upstreams: &[&ScriptedUpstream]) -> anyhow::Result<(System, TestClient)> {
    started_with(System::builder().config(QUICK), upstreams).await
}

async fn started_on(
    store: &TestStore,
    upstreams: &[&ScriptedUpstream],
) -> anyhow::Result<(System, TestClient)> {
    let builder = System::builder()
        .config(QUICK)
        .database(store.config().url.expose());
    started_with(builder, upstreams).await
}

/// Starts a system over these nodes, and waits until it has met them all.
pub(crate) async fn started_with(
    builder: SystemBuilder,
    upstreams: &[&ScriptedUpstream],
) -> anyhow::Result<(System, TestClient)> {
    let builder = upstreams
        .iter()
        .fold(builder, |builder, upstream| builder.node(upstream));
    let system = builder.start().await?;
    let admin = system.admin().await?;
    until("every node is met", async || {
        let nodes = admin.get("/api/v1/nodes").await?.json()?;
        let nodes = nodes["items"].as_array().into_iter().flatten();
        let met = nodes.filter(|node| node["state"] == "ready" && node["kind"] == "ollama");
        Ok(met.count() == upstreams.len())
    })
    .await?;
    Ok((system, admin))
}

/// Runs tests on SQLite and on PostgreSQL.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() -> anyhow::Result<()> {
                    super::$name(store::testing::TestStore::sqlite().await).await
                }
            )*
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() -> anyhow::Result<()> {
                    super::$name(store::testing::TestStore::postgres().await).await
                }
            )*
        }
    };
}

on_both_engines! {
    what_is_wanted_comes_about_by_itself,
    what_is_in_use_and_the_last_copy_stay,
    a_fetch_goes_on_after_a_restart_and_is_not_doubled,
}

fn policy(model: &str) -> String {
    let model: String = url::form_urlencoded::byte_serialize(model.as_bytes()).collect();
    format!("/api/v1/placement/policies/{model}")
}

async fn want(admin: &TestClient, model: &str, wanted: Value) -> anyhow::Result<Value> {
    let reply = admin
        .send(Method::PUT, &policy(model), wanted.to_string().into())
        .await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    reply.json()
}

fn has(upstream: &ScriptedUpstream, model: &str) -> bool {
    upstream.models().iter().any(|found| found.name == model)
}

/// Returns the actions as `kind model@node status`, the oldest first.
async fn actions(admin: &TestClient) -> anyhow::Result<Vec<String>> {
    let page = admin.get(ACTIONS).await?.json()?;
    let items = page["items"].as_array().cloned().unwrap_or_default();
    let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    Ok(items
        .iter()
        .rev()
        .map(|item| {
            format!(
                "{} {}@{} {}",
                text(item, "kind"),
                text(item, "model"),
                text(item, "node"),
                text(item, "status")
            )
        })
        .collect())
}

/// Waits until the newest action is in a state, and returns it.
async fn newest_is(admin: &TestClient, status: &str) -> anyhow::Result<Value> {
    let seen = std::sync::Mutex::new(Value::Null);
    until(&format!("the newest action is {status}"), async || {
        let page = admin.get(ACTIONS).await?.json()?;
        let newest = page["items"][0].clone();
        let fits = newest["status"] == status;
        *seen.lock().unwrap() = newest;
        Ok(fits)
    })
    .await?;
    Ok(seen.into_inner()?)
}

async fn what_is_wanted_comes_about_by_itself(store: TestStore) -> anyhow::Result<()> {
    let a = upstream("a", &[ScriptedModel::chat("m:1b")]);
    let b = upstream("b", &[ScriptedModel::chat("other:1b")]);
    let (system, admin) = started_on(&store, &[&a, &b]).await?;
    let wanted = json!({"mode": "auto", "min_on_disk": 2, "min_loaded": 2});
    want(&admin, "m:1b", wanted).await?;
    until("both have it in memory", async || {
        let loaded = |upstream: &ScriptedUpstream| {
            let models = upstream.models();
            models
                .iter()
                .any(|model| model.name == "m:1b" && model.loaded.is_some())
        };
        Ok(loaded(&a) && loaded(&b))
    })
    .await?;
    until("there is nothing left to do", async || {
        let plan = admin.get(PLAN).await?.json()?;
        Ok(plan["actions"] == json!([]) && plan["open"] == json!([]))
    })
    .await?;
    let mut done = actions(&admin).await?;
    done.sort();
    assert_eq!(
        done,
        ["load m:1b@a done", "load m:1b@b done", "pull m:1b@b done"]
    );
    assert_eq!(b.requests_to("/api/pull").len(), 1);
    assert!(has(&b, "other:1b"), "what nobody names stays");
    let audit = admin.get("/api/v1/audit?limit=50").await?.text();
    for action in ["placement.edit", "model.pull", "model.load"] {
        assert!(audit.contains(action), "{action}: {audit}");
    }
    let metrics = admin.get("/metrics").await?.text();
    assert!(
        metrics.contains("remuda_placement_actions_total{kind=\"pull\",status=\"done\"} 1"),
        "{metrics}"
    );
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suggestion_waits_until_somebody_applies_it() -> anyhow::Result<()> {
    let a = upstream("a", &[ScriptedModel::chat("org/m:1b")]);
    let b = upstream("b", &[ScriptedModel::chat("other:1b")]);
    let (system, admin) = started(&[&a, &b]).await?;
    let set = want(
        &admin,
        "org/m:1b",
        json!({"mode": "suggest", "min_on_disk": 2}),
    )
    .await?;
    assert_eq!(set["model"], "org/m:1b");
    let plan = admin.get(PLAN).await?.json()?;
    assert_eq!(plan["actions"][0]["kind"], "pull", "{plan}");
    assert_eq!(plan["actions"][0]["node"], "b");
    assert_eq!(
        plan["actions"][0]["why"],
        "1 of 2 wanted copies are there, and b does not tell its memory"
    );
    assert!(b.requests_to("/api/pull").is_empty());
    let gone = json!({"actions": ["pull/nothing/like-it"]});
    let refused = admin.post("/api/v1/placement/apply", &gone).await?;
    assert_eq!(refused.status, 409, "{}", refused.text());
    let chosen = json!({"actions": [plan["actions"][0]["id"]]});
    let applied = admin.post("/api/v1/placement/apply", &chosen).await?;
    assert_eq!(applied.status, 202, "{}", applied.text());
    let done = newest_is(&admin, "done").await?;
    assert_eq!(done["origin"], "applied");
    assert_eq!(done["done_bytes"], 4_096);
    assert!(has(&b, "org/m:1b"));
    let removed = admin
        .send(Method::DELETE, &policy("org/m:1b"), "".into())
        .await?;
    assert_eq!(removed.status, 204);
    assert_eq!(admin.get(&policy("org/m:1b")).await?.status, 404);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_breaks_off_keeps_its_reason_and_is_tried_again() -> anyhow::Result<()> {
    let a = upstream("a", &[ScriptedModel::chat("other:1b")]);
    a.edit_script(|script| script.broken_pulls = 1);
    let (system, admin) = started(&[&a]).await?;
    let wanted = json!({"mode": "auto", "min_on_disk": 1});
    want(&admin, "m:1b", wanted.clone()).await?;
    let failed = newest_is(&admin, "failed").await?;
    assert_eq!(
        failed["error"],
        "the node ended its answer before it was done, at 4055 of 4096 bytes: the next try goes on from there"
    );
    let plan = admin.get(PLAN).await?.json()?;
    assert_eq!(plan["actions"], json!([]), "it waits for a while");
    let reason = plan["unmet"][0]["reason"].as_str().unwrap_or_default();
    let expected = "0 of 1 copies on disk: one node is waiting after a failure";
    assert!(reason.starts_with(expected), "{plan}");
    // Who says anew what is wanted wants it now.
    want(&admin, "m:1b", wanted).await?;
    newest_is(&admin, "done").await?;
    assert!(has(&a, "m:1b"));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_under_way_is_seen_and_can_be_called_off() -> anyhow::Result<()> {
    let a = upstream("a", &[ScriptedModel::chat("m:1b")]);
    let b = upstream("b", &[ScriptedModel::chat("other:1b")]);
    let gate = Gate::closed();
    b.edit_script(|script| script.pull_gate = Some(gate.clone()));
    let (system, admin) = started(&[&a, &b]).await?;
    want(&admin, "m:1b", json!({"mode": "auto", "min_on_disk": 2})).await?;
    let running = newest_is(&admin, "running").await?;
    until("the models tell of it", async || {
        let models = admin.get("/api/v1/models?q=m:1b").await?.json()?;
        let replicas = models["items"][0]["replicas"].as_array().cloned();
        let mut replicas = replicas.unwrap_or_default().into_iter();
        Ok(replicas
            .any(|replica| replica["node"] == "b" && replica["syncing"]["done_bytes"] == 4_055))
    })
    .await?;
    let id = running["id"].as_str().unwrap_or_default();
    let cancel = format!("{ACTIONS}/{id}/cancel");
    // Otherwise it would be planned again at once.
    want(&admin, "m:1b", json!({"mode": "suggest", "min_on_disk": 2})).await?;
    let cancelled = admin.post(&cancel, &json!({})).await?;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    assert_eq!(admin.post(&cancel, &json!({})).await?.status, 409);
    until("the node is told no more", async || {
        let plan = admin.get(PLAN).await?.json()?;
        Ok(plan["open"] == json!([]) && plan["actions"][0]["kind"] == "pull")
    })
    .await?;
    assert!(!has(&b, "m:1b"));
    gate.open();
    system.stop().await;
    Ok(())
}

async fn what_is_in_use_and_the_last_copy_stay(store: TestStore) -> anyhow::Result<()> {
    let a = upstream("a", &[ScriptedModel::chat("m:1b")]);
    let b = upstream("b", &[ScriptedModel::chat("m:1b")]);
    let c = upstream("c", &[ScriptedModel::chat("m:1b").loaded()]);
    let gate = Gate::closed();
    c.edit_script(|script| script.gate = Some((1, gate.clone())));
    let (system, admin) = started_on(&store, &[&a, &b, &c]).await?;
    // Where it is in memory answers.
    let question = json!({"model": "m:1b", "messages": [{"role": "user", "content": "Hello"}]});
    let mut answer = admin.stream("/api/chat", &question).await?;
    assert!(answer.line().await?.is_some());
    assert_eq!(c.counters().in_flight, 1, "c answers");
    let wanted = json!({"mode": "auto", "min_on_disk": 1, "retention_days": 1});
    want(&admin, "m:1b", wanted).await?;
    until("the unused copies are gone", async || {
        Ok(!has(&a, "m:1b") && !has(&b, "m:1b"))
    })
    .await?;
    let plan = admin.get(PLAN).await?.json()?;
    assert_eq!(plan["actions"], json!([]));
    assert!(has(&c, "m:1b"), "it is in use");
    gate.open();
    let rest = answer.whole().await?;
    assert!(rest.text().contains("\"done\":true"), "{}", rest.text());
    assert!(has(&c, "m:1b"), "it is the last copy");
    let mut done = actions(&admin).await?;
    done.sort();
    assert_eq!(done, ["delete m:1b@a done", "delete m:1b@b done"]);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_differ_are_flagged_and_fetched_anew() -> anyhow::Result<()> {
    let a = upstream("a", &[ScriptedModel::chat("m:1b")]);
    let b = upstream("b", &[ScriptedModel::chat("m:1b")]);
    let c = upstream("c", &[ScriptedModel::chat("m:1b")]);
    let right = a.models()[0].digest.clone();
    c.edit_models(|models| models[0].digest = "0".repeat(64));
    let (system, admin) = started(&[&a, &b, &c]).await?;
    let plan = admin.get(PLAN).await?.json()?;
    assert_eq!(plan["actions"], json!([]), "nothing is wanted of it");
    let sides = &plan["drift"][0]["files"];
    assert_eq!(sides[0]["digest"], right, "{plan}");
    assert_eq!(sides[1]["nodes"], json!(["c"]));
    want(&admin, "m:1b", json!({"mode": "auto"})).await?;
    until("all have the same files", async || {
        let plan = admin.get(PLAN).await?.json()?;
        Ok(plan["drift"] == json!([]) && c.models()[0].digest == right)
    })
    .await?;
    assert_eq!(c.requests_to("/api/pull").len(), 1);
    assert!(a.requests_to("/api/pull").is_empty());
    system.stop().await;
    Ok(())
}

async fn a_fetch_goes_on_after_a_restart_and_is_not_doubled(
    store: TestStore,
) -> anyhow::Result<()> {
    let a = upstream("a", &[ScriptedModel::chat("other:1b")]);
    let gate = Gate::closed();
    a.edit_script(|script| script.pull_gate = Some(gate.clone()));
    let (system, admin) = started_on(&store, &[&a]).await?;
    want(&admin, "m:1b", json!({"mode": "auto", "min_on_disk": 1})).await?;
    let before = newest_is(&admin, "running").await?;
    let system = system.restart().await?;
    gate.open();
    let admin = system.admin().await?;
    // The duty goes over when the lease of the process that is gone has run out.
    let deadline = Instant::now() + Duration::from_mins(1);
    while !has(&a, "m:1b") {
        anyhow::ensure!(Instant::now() < deadline, "{:?}", actions(&admin).await?);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let done = newest_is(&admin, "done").await?;
    assert_eq!(done["id"], before["id"]);
    assert_eq!(actions(&admin).await?.len(), 1);
    system.stop().await;
    Ok(())
}

/// Two control planes on one database: each sees what is wanted, and one of them does it.
async fn one_of_two_processes_does_what_is_wanted(database: TestStore) -> anyhow::Result<()> {
    let a = upstream("a", &[ScriptedModel::chat("other:1b")]);
    let key = "[store]\nencryption_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\nmax_connections = 3\n";
    let config = format!("{QUICK}{key}");
    let url = database.config().url.expose().clone();
    let start = async || {
        let builder = System::builder().config(&config).database(&url);
        builder.node(&a).start().await
    };
    let (here, there) = (start().await?, start().await?);
    let (admin, other) = (here.admin().await?, there.admin().await?);
    want(&admin, "m:1b", json!({"mode": "auto", "min_on_disk": 1})).await?;
    want(&other, "n:1b", json!({"mode": "auto", "min_on_disk": 1})).await?;
    until("both are there", async || {
        Ok(has(&a, "m:1b") && has(&a, "n:1b"))
    })
    .await?;
    until("both processes know that nothing is left", async || {
        let mut left = 0;
        for client in [&admin, &other] {
            let plan = client.get(PLAN).await?.json()?;
            left += plan["actions"].as_array().map_or(1, Vec::len);
            left += plan["open"].as_array().map_or(1, Vec::len);
        }
        Ok(left == 0)
    })
    .await?;
    assert_eq!(a.requests_to("/api/pull").len(), 2);
    assert_eq!(actions(&other).await?.len(), 2);
    here.stop().await;
    there.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_processes_does_what_is_wanted_on_postgres() -> anyhow::Result<()> {
    one_of_two_processes_does_what_is_wanted(TestStore::postgres().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_wanted_is_refused_with_what_to_do() -> anyhow::Result<()> {
    let a = upstream("a", &[ScriptedModel::chat("m:1b")]);
    let (system, admin) = started(&[&a]).await?;
    let long = "x".repeat(600);
    for (model, wanted, status, says) in [
        ("m:1b", json!({"mode": "always"}), 400, "unknown variant"),
        (
            "m:1b",
            json!({"mode": "auto", "copies": 2}),
            400,
            "unknown field",
        ),
        (
            "m:1b",
            json!({"mode": "auto", "pinned": ["nowhere"]}),
            404,
            "node list",
        ),
        (
            "m:1b",
            json!({"mode": "auto", "pinned": ["a", "a"]}),
            400,
            "each once",
        ),
        (
            "m:1b",
            json!({"mode": "auto", "min_loaded": 2, "max_loaded": 1}),
            400,
            "max_loaded",
        ),
        (
            "m:1b",
            json!({"mode": "auto", "retention_days": 0}),
            400,
            "retention_days",
        ),
        (
            "m:1b",
            json!({"mode": "auto", "min_gpu_memory_bytes": 1_u64 << 63}),
            400,
            "min_gpu_memory_bytes",
        ),
        (
            "m:1b",
            json!({"mode": "auto", "context": 1}),
            400,
            "context",
        ),
        (long.as_str(), json!({"mode": "auto"}), 400, "name"),
    ] {
        let reply = admin
            .send(Method::PUT, &policy(model), wanted.to_string().into())
            .await?;
        assert_eq!(reply.status, status, "{wanted}: {}", reply.text());
        assert!(reply.text().contains(says), "{wanted}: {}", reply.text());
    }
    let unknown = admin
        .post(&format!("{ACTIONS}/not-an-id/cancel"), &json!({}))
        .await?;
    assert_eq!(unknown.status, 404);
    assert_eq!(
        admin.get(&format!("{ACTIONS}?cursor=%25")).await?.status,
        400
    );
    system.stop().await;
    Ok(())
}
