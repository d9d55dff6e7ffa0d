//! New versions of models reach all callers in stages, or nobody.

use anyhow::Context as _;
use http::Method;
use serde_json::{Value, json};
use store::testing::TestStore;
use testbed::{Fault, Flavour, LinkBreaker, ScriptedModel, ScriptedUpstream, System, TestClient};

use crate::harness::{Home, one_line_refusal, succeed};
use crate::service::{Service, until};

const ROLLOUTS: &str = "/api/v1/rollouts";
const OLD: &str = "m:1b";
const NEW: &str = "m:2b";
/// More callers than it takes until one of them falls into a share of a tenth.
const MOST_CALLERS: usize = 400;

fn upstream(name: &str, models: &[&str]) -> ScriptedUpstream {
    let mut builder = ScriptedUpstream::builder(Flavour::Ollama).name(name);
    for model in models {
        builder = builder.model(ScriptedModel::chat(model));
    }
    builder.start().unwrap()
}

async fn started(
    upstreams: &[&ScriptedUpstream],
    config: &str,
) -> anyhow::Result<(System, TestClient)> {
    let builder = System::builder().config(config);
    let builder = upstreams
        .iter()
        .fold(builder, |builder, upstream| builder.node(upstream));
    let system = builder.start().await?;
    let admin = system.admin().await?;
    until_met(&admin, upstreams.len()).await?;
    Ok((system, admin))
}

async fn until_met(admin: &TestClient, nodes: usize) -> anyhow::Result<()> {
    until("every node is met", async || {
        let listed = admin.get("/api/v1/nodes").await?.json()?;
        let listed = listed["items"].as_array().into_iter().flatten();
        let met = listed.filter(|node| node["state"] == "ready" && node["kind"] == "ollama");
        Ok(met.count() == nodes)
    })
    .await
}

/// Starts a roll-out that goes on as soon as three requests were answered in a stage.
async fn start(admin: &TestClient, stages: Value) -> anyhow::Result<Value> {
    start_with(admin, stages, 3).await
}

async fn start_with(admin: &TestClient, stages: Value, min_requests: u32) -> anyhow::Result<Value> {
    let wanted = json!({"model": OLD, "to": NEW, "stages": stages, "hold_seconds": 0, "min_requests": min_requests});
    let reply = admin.post(ROLLOUTS, &wanted).await?;
    anyhow::ensure!(reply.status == 201, "{}", reply.text());
    reply.json()
}

async fn show(admin: &TestClient) -> anyhow::Result<Value> {
    admin.get(&format!("{ROLLOUTS}/{OLD}")).await?.json()
}

async fn until_shown(
    admin: &TestClient,
    what: &str,
    condition: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let seen = std::sync::Mutex::new(Value::Null);
    let waited = until(what, async || {
        let shown = show(admin).await?;
        let fits = condition(&shown);
        *seen.lock().unwrap() = shown;
        Ok(fits)
    })
    .await;
    let seen = seen.into_inner()?;
    waited.with_context(|| seen.to_string())?;
    Ok(seen)
}

async fn step(admin: &TestClient, verb: &str, status: u16) -> anyhow::Result<Value> {
    let reply = admin
        .post(&format!("{ROLLOUTS}/{OLD}/{verb}"), &json!({}))
        .await?;
    anyhow::ensure!(reply.status == status, "{verb}: {}", reply.text());
    reply.json()
}

/// Asks for the name that all ask for: the status, the model that answered, and the request's id.
async fn ask(client: &TestClient) -> anyhow::Result<(u16, String, String)> {
    let body = json!({"model": OLD, "messages": [{"role": "user", "content": "hello"}]});
    let reply = client.post("/v1/chat/completions", &body).await?;
    let text = |name: &str| {
        let value = reply.headers.get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let model = text("x-remuda-model").unwrap_or_else(|| OLD.to_owned());
    let id = text("x-request-id").context("no id")?;
    Ok((reply.status.as_u16(), model, id))
}

/// Waits until a caller gets a model: gateways follow a moment after a change is answered.
async fn until_gets(client: &TestClient, wanted: &str) -> anyhow::Result<()> {
    until(&format!("{wanted} answers"), async || {
        let (status, model, id) = ask(client).await?;
        anyhow::ensure!(status == 200, "{status} {id}");
        Ok(model == wanted)
    })
    .await
}

async fn caller(
    system: &TestClient,
    admin: &TestClient,
    number: usize,
) -> anyhow::Result<TestClient> {
    let key = json!({"name": format!("caller-{number}")});
    let made = admin.post("/api/v1/keys", &key).await?.json()?;
    system.with_key(made["secret"].as_str().context("no secret")?)
}

/// Returns one caller who gets the new version, and one who gets the old one.
async fn one_of_each(
    system: &TestClient,
    admin: &TestClient,
) -> anyhow::Result<(TestClient, TestClient)> {
    let (mut new, mut old) = (None, None);
    for number in 0..MOST_CALLERS {
        let client = caller(system, admin, number).await?;
        let (_, model, _) = ask(&client).await?;
        let place = if model == NEW { &mut new } else { &mut old };
        place.get_or_insert(client);
        if let (Some(new), Some(old)) = (&new, &old) {
            return Ok((new.clone(), old.clone()));
        }
    }
    anyhow::bail!("of {MOST_CALLERS} callers none gets one of the versions")
}

/// Asks until the roll-out is as it should be.
async fn ask_until(
    client: &TestClient,
    admin: &TestClient,
    what: &str,
    condition: impl Fn(&Value) -> bool,
) -> anyhow::Result<()> {
    until(what, async || {
        let (status, model, id) = ask(client).await?;
        anyhow::ensure!(status == 200 && model == NEW, "{status} {model} {id}");
        Ok(condition(&show(admin).await?))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_version_goes_through_all_stages_and_stays() -> anyhow::Result<()> {
    let (a, b) = (upstream("a", &[OLD, NEW]), upstream("b", &[OLD, NEW]));
    let (system, admin) = started(&[&a, &b], "").await?;
    let before = start(&admin, json!(["node", "50", "100"])).await?;
    assert_eq!(before["state"], "running", "{before}");
    let first = until_shown(&admin, "the first stage", |shown| shown["stage"] == "node").await?;
    assert_eq!(
        (&first["node"], &first["share_percent"]),
        (&json!("a"), &json!(10.0))
    );
    let (new, old) = one_of_each(&system.client(), &admin).await?;
    let (_, _, id) = ask(&new).await?;
    ask_until(&new, &admin, "the second stage", |shown| {
        shown["stage"] == "50"
    })
    .await?;
    let asked_of_b = b.requests_to("/api/chat").len() + b.requests_to("/v1/chat/completions").len();
    let record = format!("/api/v1/inference/requests/{id}");
    until("the request is recorded", async || {
        Ok(admin.get(&record).await?.status == 200)
    })
    .await?;
    let record = admin.get(&record).await?.json()?;
    let split = &record["split"];
    assert_eq!(
        (&split["name"], &split["chosen"]),
        (&json!(OLD), &json!(NEW))
    );
    assert_eq!(split["rollout"]["version"], "new", "{record}");
    assert_eq!(
        (&split["rollout"]["id"], &split["rollout"]["stage"]),
        (&first["id"], &json!(0))
    );
    assert_eq!(
        record["node"], "a",
        "b was asked {asked_of_b} times, for the old version"
    );
    ask_until(&new, &admin, "the last stage", |shown| {
        shown["stage"] == "100"
    })
    .await?;
    ask_until(&new, &admin, "the end", |shown| shown["state"] == "done").await?;
    until_gets(&old, NEW).await?;
    let audit = admin.get("/api/v1/audit?limit=500").await?.text();
    for action in ["rollout.start", "rollout.advance", "rollout.done"] {
        assert!(audit.contains(action), "{action}: {audit}");
    }
    let metrics = admin.get("/metrics").await?.text();
    for line in [
        "remuda_rollouts{state=\"done\"} 1",
        "remuda_rollout_stage{model=\"m:1b\"} 3",
        "remuda_rollout_share_ratio{model=\"m:1b\"} 1",
        "remuda_rollout_decisions_total{decision=\"advance\"} 3",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let system = system.restart().await?;
    let admin = system.admin().await?;
    until_met(&admin, 2).await?;
    assert_eq!(
        ask(&system.client()).await?.1,
        NEW,
        "it holds from the start"
    );
    assert_eq!(step(&admin, "close", 200).await?["in_effect"], false);
    until_gets(&system.client(), OLD).await?;
    system.stop().await;
    Ok(())
}

/// A version that fails is taken back in its first stage; here and there stand for gateways on one database, which may be one.
async fn taken_back(
    here: (&TestClient, &TestClient),
    there: (&TestClient, &TestClient),
) -> anyhow::Result<Value> {
    let (admin, other) = (here.1, there.1);
    start(admin, json!(["node", "100"])).await?;
    until_shown(other, "the first stage", |shown| shown["stage"] == "node").await?;
    let mut failed = Vec::new();
    let mut fine = Vec::new();
    // Callers of both gateways; those of the old version notice nothing.
    for number in 0..MOST_CALLERS {
        let (system, admin) = if number % 2 == 0 { here } else { there };
        let client = caller(system, admin, number).await?;
        let (status, model, id) = ask(&client).await?;
        if status == 200 {
            assert_eq!(model, OLD);
            fine.push(client);
        } else {
            failed.push((client, id));
        }
        if failed.len() >= 2 && fine.len() >= 10 {
            break;
        }
    }
    let (canary, _) = failed.first().context("nobody got the new version")?;
    until("it is taken back", async || {
        for client in fine.iter().take(2) {
            let (status, model, id) = ask(client).await?;
            anyhow::ensure!(status == 200 && model == OLD, "{status} {model} {id}");
        }
        let (status, ..) = ask(canary).await?;
        Ok(status == 200)
    })
    .await?;
    let shown = until_shown(other, "it says so", |shown| shown["state"] == "rolled_back").await?;
    assert_eq!(shown["changed_by"], "remuda");
    assert_eq!(shown["in_effect"], false);
    let reason = shown["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("requests of the new version failed, surely more than 5 %"),
        "{shown}"
    );
    let ids = shown["requests"].as_array().context("no requests")?;
    assert!(ids.len() >= 3, "{shown}");
    for (client, _) in &failed {
        until("everybody has the old version again", async || {
            Ok(ask(client).await?.0 == 200)
        })
        .await?;
    }
    for id in ids {
        let path = format!(
            "/api/v1/inference/requests/{}",
            id.as_str().unwrap_or_default()
        );
        until("the request is recorded", async || {
            Ok(other.get(&path).await?.status == 200)
        })
        .await?;
        let record = other.get(&path).await?.json()?;
        assert_eq!(
            (&record["model"], &record["outcome"]),
            (&json!(NEW), &json!("failed"))
        );
    }
    Ok(shown)
}

fn failing(name: &str) -> ScriptedUpstream {
    let failing = upstream(name, &[NEW]);
    failing.edit_script(|script| script.fault = Some(Fault::status(500)));
    failing
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_version_is_taken_back_and_callers_of_the_old_one_notice_nothing()
-> anyhow::Result<()> {
    let (a, b) = (upstream("a", &[OLD]), failing("b"));
    let (system, admin) = started(&[&a, &b], "").await?;
    let client = system.client();
    taken_back((&client, &admin), (&client, &admin)).await?;
    // Another one can begin at once.
    b.edit_script(|script| script.fault = None);
    let again = start(&admin, json!(["100"])).await?;
    assert_eq!(again["state"], "running");
    assert_eq!(step(&admin, "abort", 200).await?["in_effect"], false);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_postgres_count_together_and_follow_within_a_moment() -> anyhow::Result<()>
{
    let database = TestStore::postgres().await;
    let (a, b) = (upstream("a", &[OLD]), failing("b"));
    let config = "[store]\nencryption_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\nmax_connections = 3\n";
    let url = database.config().url.expose().clone();
    let start = async || {
        let builder = System::builder().config(config).database(&url);
        let system = builder.node(&a).node(&b).start().await?;
        let admin = system.admin().await?;
        until_met(&admin, 2).await?;
        anyhow::Ok((system, admin))
    };
    let ((here, admin), (there, other)) = (start().await?, start().await?);
    let (one, two) = (here.client(), there.client());
    taken_back((&one, &admin), (&two, &other)).await?;
    here.stop().await;
    there.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_push_it_on_stop_it_and_take_it_back() -> anyhow::Result<()> {
    let a = upstream("a", &[OLD]);
    let (system, admin) = started(&[&a], "").await?;
    let waiting = start(&admin, json!(["10", "50", "100"])).await?;
    let waits_for = waiting["waits_for"].as_str().unwrap_or_default();
    assert!(
        waits_for.contains("`remuda placement set m:2b --mode auto --on-disk 1`"),
        "{waiting}"
    );
    let nowhere = step(&admin, "promote", 409).await?;
    assert!(
        nowhere
            .to_string()
            .contains("no node that takes requests has m:2b"),
        "{nowhere}"
    );
    a.edit_models(|models| models.push(ScriptedModel::chat(NEW)));
    let shown = until_shown(&admin, "it begins", |shown| shown["stage"] == "10").await?;
    assert!(shown["waits_for"].to_string().contains("0 of 3"), "{shown}");
    let paused = step(&admin, "pause", 200).await?;
    assert_eq!(
        (&paused["state"], &paused["reason"]),
        (&json!("paused"), &json!("paused by admin"))
    );
    step(&admin, "pause", 409).await?;
    assert_eq!(step(&admin, "promote", 200).await?["stage"], "50");
    let version = admin.get(&format!("{ROLLOUTS}/{OLD}")).await?;
    let etag = version
        .headers
        .get("etag")
        .context("no version")?
        .to_str()?
        .to_owned();
    let conditional = admin.with_header("if-match", &etag)?;
    step(&conditional, "resume", 200).await?;
    step(&conditional, "promote", 412).await?;
    step(&admin, "resume", 409).await?;
    let all = json!({"all": true});
    let promoted = admin
        .post(&format!("{ROLLOUTS}/{OLD}/promote"), &all)
        .await?;
    assert_eq!(promoted.json()?["share_percent"], 100.0);
    until_gets(&system.client(), NEW).await?;
    let aborted = step(&admin, "abort", 200).await?;
    assert_eq!(
        (&aborted["state"], &aborted["reason"]),
        (&json!("aborted"), &json!("aborted by admin"))
    );
    until_gets(&system.client(), OLD).await?;
    step(&admin, "abort", 409).await?;
    step(&admin, "close", 409).await?;
    let listed = admin.get(ROLLOUTS).await?.json()?;
    assert_eq!(
        (&listed["total"], &listed["items"][0]["id"]),
        (&json!(1), &aborted["id"])
    );
    let models = admin.get("/v1/models").await?.text();
    assert!(models.contains(NEW), "nothing is deleted: {models}");
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rolled_out_on_top_of_another_goes_back_to_that_one() -> anyhow::Result<()> {
    let a = upstream("a", &[OLD, NEW, "m:3b"]);
    let (system, admin) = started(&[&a], "").await?;
    start(&admin, json!(["100"])).await?;
    until_shown(&admin, "it begins", |shown| shown["stage"] == "100").await?;
    assert_eq!(step(&admin, "promote", 200).await?["state"], "done");
    let wanted = json!({"model": OLD, "to": "m:3b", "stages": ["100"]});
    let third = admin.post(ROLLOUTS, &wanted).await?.json()?;
    assert_eq!(third["from"]["model"], NEW, "{third}");
    until_shown(&admin, "it begins", |shown| shown["stage"] == "100").await?;
    until_gets(&system.client(), "m:3b").await?;
    let aborted = step(&admin, "abort", 200).await?;
    assert_eq!(aborted["in_effect"], true);
    until_gets(&system.client(), NEW).await?;
    step(&admin, "close", 200).await?;
    until_gets(&system.client(), OLD).await?;
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rolled_out_is_refused_with_what_to_do() -> anyhow::Result<()> {
    let a = upstream("a", &[OLD, NEW, "m:3b", "m:4b"]);
    let config = "[models.\"m:4b\"]\nsplit = { \"m:4b\" = 1, \"m:3b\" = 1 }\n[aliases]\nassistant = \"m:1b\"\n";
    let (system, admin) = started(&[&a], config).await?;
    start(&admin, json!(["100"])).await?;
    let long = "x".repeat(600);
    for (wanted, status, says) in [
        (
            json!({"model": OLD, "to": "m:3b"}),
            409,
            "rollout abort m:1b",
        ),
        (
            json!({"model": "m:3b", "to": OLD}),
            409,
            "takes part in the roll-out of m:1b",
        ),
        (
            json!({"model": NEW, "to": "m:3b"}),
            409,
            "m:2b takes part in the roll-out of m:1b",
        ),
        (
            json!({"model": "m:9b", "to": "m:3b"}),
            404,
            "no node has m:9b",
        ),
        (
            json!({"model": "m:4b", "to": "m:3b"}),
            409,
            "take `split` out of",
        ),
        (
            json!({"model": "assistant", "to": "m:3b"}),
            409,
            "assistant is an alias of m:1b",
        ),
        (
            json!({"model": "m:3b", "to": "M:3B"}),
            400,
            "the model itself",
        ),
        (
            json!({"model": "m:3b", "to": ""}),
            400,
            "to: a model's name",
        ),
        (
            json!({"model": "m:3b", "to": long}),
            400,
            "to: a model's name",
        ),
        (
            json!({"model": "m:3b", "to": "n", "stages": ["50", "10", "100"]}),
            400,
            "10 comes after 50",
        ),
        (
            json!({"model": "m:3b", "to": "n", "stages": ["10"]}),
            400,
            "end with 100",
        ),
        (
            json!({"model": "m:3b", "to": "n", "stages": ["10", "node", "100"]}),
            400,
            "only be the first",
        ),
        (
            json!({"model": "m:3b", "to": "n", "stages": ["most"]}),
            400,
            "is no stage",
        ),
        (
            json!({"model": "m:3b", "to": "n", "stages": []}),
            400,
            "1 to 20 stages",
        ),
        (
            json!({"model": "m:3b", "to": "n", "min_requests": 0}),
            400,
            "min_requests",
        ),
        (
            json!({"model": "m:3b", "to": "n", "max_error_rate": 1}),
            400,
            "max_error_rate",
        ),
        (
            json!({"model": "m:3b", "to": "n", "max_slower": 0.5}),
            400,
            "max_slower",
        ),
        (
            json!({"model": "m:3b", "to": "n", "hold_seconds": 9_999_999}),
            400,
            "hold_seconds",
        ),
        (
            json!({"model": "m:3b", "to": "n", "pace": 1}),
            400,
            "unknown field",
        ),
    ] {
        let reply = admin.post(ROLLOUTS, &wanted).await?;
        assert_eq!(reply.status, status, "{wanted}: {}", reply.text());
        assert!(reply.text().contains(says), "{wanted}: {}", reply.text());
    }
    let unknown = admin.get(&format!("{ROLLOUTS}/nothing")).await?;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    let cursor = admin.get(&format!("{ROLLOUTS}?cursor=%25")).await?;
    assert_eq!(cursor.status, 400, "{}", cursor.text());
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives_kill_9_and_is_steered_from_the_command_line() -> anyhow::Result<()> {
    let a = upstream("a", &["test-model", OLD, NEW]);
    let home = Home::new();
    let first = Service::start(home.up_over(&[&a], "")).await?;
    let login = |server: &str| {
        succeed(
            home.remuda(["login", "--password-stdin", "--server", server])
                .stdin(home.password_file()),
        )
    };
    let url = first.server.url().to_owned();
    login(&url);
    let started = succeed(&mut home.remuda([
        "rollout",
        "start",
        OLD,
        "--to",
        NEW,
        "--stages",
        "node,50%,100",
        "--hold",
        "30m",
        "--max-error-rate",
        "2%",
        "--server",
        &url,
    ]));
    assert!(started.contains("m:1b from m:1b to m:2b"), "{started}");
    until_shown(&first.admin, "it begins", |shown| shown["stage"] == "node").await?;
    let promoted = succeed(&mut home.remuda(["rollout", "promote", OLD, "--server", &url]));
    assert!(
        promoted.contains("stage: 50 % (2 of 3); 50 % of the callers get m:2b"),
        "{promoted}"
    );
    let (new, old) = one_of_each(&first.client, &first.admin).await?;
    let keys = [new, old].map(|client| client.clone());
    let (_, model, id) = ask(&keys[0]).await?;
    assert_eq!(model, NEW);
    let record = format!("/api/v1/inference/requests/{id}");
    until("the request is recorded", async || {
        Ok(first.admin.get(&record).await?.status == 200)
    })
    .await?;
    let why = succeed(&mut home.remuda(["why", &id, "--server", &url]));
    let told = why.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("The roll-out of m:1b (stage 2, 50 % of the callers get the new version;")
            && told.contains("chose m:2b, the new version."),
        "{why}"
    );
    assert_eq!(first.server.stop("KILL"), None);

    let second = Service::start(home.up_over(&[&a], "")).await?;
    let url = second.server.url().to_owned();
    login(&url);
    let shown = succeed(&mut home.remuda(["rollout", "show", OLD, "--server", &url]));
    assert!(shown.contains("stage: 50 % (2 of 3)"), "{shown}");
    let listed = succeed(&mut home.remuda(["rollout", "list", "--server", &url]));
    assert!(
        listed.contains("running") && listed.contains("50 % (2 of 3)"),
        "{listed}"
    );
    for verb in ["pause", "resume", "abort"] {
        succeed(&mut home.remuda(["rollout", verb, OLD, "--server", &url]));
    }
    let refused = one_line_refusal(
        &mut home.remuda(["rollout", "close", OLD, "--server", &url]),
        1,
    );
    assert!(refused.contains("can be closed"), "{refused}");
    let wrong = home
        .remuda([
            "rollout", "start", OLD, "--to", NEW, "--stages", "10", "--server", &url,
        ])
        .output()?;
    assert!(!wrong.status.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_the_last_split_holds_and_nothing_goes_on() -> anyhow::Result<()>
{
    let database = TestStore::postgres().await;
    let link = LinkBreaker::before(database.config().url.expose()).await?;
    let a = upstream("a", &["test-model", OLD, NEW]);
    let home = Home::new();
    let mut up = home.up_over(&[&a], "");
    let url = link.through(database.config().url.expose())?;
    up.env("REMUDA_STORE__URL", url)
        .env("REMUDA_STORE__MAX_CONNECTIONS", "4");
    let service = Service::start(up).await?;
    let admin = &service.admin;
    start_with(admin, json!(["50", "100"]), 20).await?;
    until_shown(admin, "it begins", |shown| shown["stage"] == "50").await?;
    let (new, old) = one_of_each(&service.client, admin).await?;
    link.cut();
    service.until_health("database", false).await?;
    for _ in 0..25 {
        assert_eq!(ask(&new).await?.1, NEW);
        assert_eq!(ask(&old).await?.1, OLD);
    }
    link.restore();
    service.until_health("database", true).await?;
    // What was counted meanwhile counts.
    until("it goes on", async || {
        let reply = admin.get(&format!("{ROLLOUTS}/{OLD}")).await?;
        Ok(reply.status == 200 && reply.json()?["stage"] == "100")
    })
    .await?;
    until_gets(&old, NEW).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_administrators_of_the_platform_steers_roll_outs() -> anyhow::Result<()> {
    let a = upstream("a", &[OLD, NEW]);
    let (system, admin) = started(&[&a], "").await?;
    let wanted = json!({"model": OLD, "to": NEW});
    let anonymous = system.client().post(ROLLOUTS, &wanted).await?;
    assert!(
        [401, 403].contains(&anonymous.status.as_u16()),
        "{}",
        anonymous.text()
    );
    let user = json!({"username": "ana", "password": "a password of hers", "role": "user"});
    let made = admin.post("/api/v1/users", &user).await?;
    assert!(made.status.is_success(), "{}", made.text());
    let sign_in = json!({"username": "ana", "password": "a password of hers"});
    let session = system
        .client()
        .post("/api/v1/login", &sign_in)
        .await?
        .json()?;
    let ana = system
        .client()
        .with_key(session["token"].as_str().context("no token")?)?;
    let refused = ana
        .send(Method::POST, ROLLOUTS, wanted.to_string().into())
        .await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_by_the_same_name_is_one_roll_out() -> anyhow::Result<()> {
    let a = upstream("a", &[OLD, NEW]);
    let (system, admin) = started(&[&a], "").await?;
    let twice = admin.with_header("idempotency-key", "the-same")?;
    let wanted = json!({"model": OLD, "to": NEW});
    let one = twice.post(ROLLOUTS, &wanted).await?;
    let two = twice.post(ROLLOUTS, &wanted).await?;
    assert_eq!(
        (one.status.as_u16(), &one.json()?["id"]),
        (201, &two.json()?["id"])
    );
    system.stop().await;
    Ok(())
}
