//! A name whose callers are divided over several models: A/B tests and canaries.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::json;
use testbed::{Flavour, ScriptedModel, ScriptedUpstream, TestClient};

use crate::harness::{Home, one_line_refusal};
use crate::service::Service;

const CALLERS: usize = 24;

/// Asks a model, and returns the one that answered.
async fn answering(client: &TestClient, model: &str) -> anyhow::Result<String> {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
    let reply = client.post("/v1/chat/completions", &body).await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    anyhow::ensure!(reply.json()?["model"] == model, "{}", reply.text());
    let told = reply.headers.get("x-remuda-model");
    Ok(told.map_or(Ok(model), |name| name.to_str())?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_a_split_are_divided_and_each_stays_with_one_model() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::builder(Flavour::Vllm)
        .model(ScriptedModel::chat("test-model"))
        .model(ScriptedModel::chat("next-model"))
        .start()?;
    let home = Home::new();
    let config = "[models.assistant]\nsplit = { \"test-model\" = 50, \"next-model\" = 50 }\n\
        [models.\"test-model\"]\nsplit = { \"next-model\" = 0, \"test-model\" = 1 }\n\
        [models.gone]\nsplit = { \"absent-model\" = 1 }\nfallbacks = [\"next-model\"]\n";
    let service = Service::start(home.up_over(&[&upstream], config)).await?;
    let mut seen = BTreeSet::new();
    for caller in 0..CALLERS {
        let key = json!({"name": format!("caller-{caller}")});
        let made = service.admin.post("/api/v1/keys", &key).await?.json()?;
        let secret = made["secret"].as_str().context("no secret")?;
        let client = service.client.with_key(secret)?;
        let first = answering(&client, "assistant").await?;
        assert_eq!(answering(&client, "assistant").await?, first);
        seen.insert(first);
    }
    assert_eq!(Vec::from_iter(&seen), ["next-model", "test-model"]);
    // A weight of 0 gets nobody, and a variant that cannot be had is no variant.
    assert_eq!(
        answering(&service.client, "test-model").await?,
        "test-model"
    );
    assert_eq!(answering(&service.client, "gone").await?, "next-model");
    let listed = service.client.get("/v1/models").await?.text();
    assert!(listed.contains("\"assistant\""), "{listed}");
    assert!(!listed.contains("\"gone\""), "{listed}");
    assert_eq!(service.server.stop("TERM"), Some(0));
    Ok(())
}

#[test]
fn a_split_that_nobody_could_follow_is_refused_at_the_start() {
    let home = Home::new();
    for (split, reason) in [
        ("{ \"a\" = 0 }", "weight above 0"),
        ("{ \"a\" = -1 }", "[models.x]"),
        ("{ \" \" = 1 }", "write it as"),
        ("{ \"other\" = 1 }", "itself an alias"),
        ("{}\ncost = 0", "must be 0.01 to 1000"),
        ("{}\ncost = nan", "must be 0.01 to 1000"),
    ] {
        let config = format!("[models.x]\nsplit = {split}\n[aliases]\nother = \"a\"\n");
        let line = one_line_refusal(&mut home.up_over(&[], &config), 2);
        assert!(line.contains(reason), "{line}");
    }
}
