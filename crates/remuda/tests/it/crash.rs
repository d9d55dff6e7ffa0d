//! Killed without a warning, started again on the same data directory.

use serde_json::{Value, json};
use testbed::{Flavour, ScriptedUpstream};

use crate::harness::Home;
use crate::service::{Service, sign_in};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_keys_users_and_accepted_records_survive_kill_9() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let first = Service::start(home.up_over(&[&upstream], "")).await?;
    let mut asked = Vec::new();
    for number in 0..20 {
        asked.push(first.ask(&format!("question {number}")).await?);
    }
    first
        .until("the records are accepted", async || {
            Ok(first.recorded().await?.len() == asked.len())
        })
        .await?;
    let node =
        json!({"name": "gpu1", "url": "http://127.0.0.1:9", "kind": "ollama", "tags": ["fast"]});
    let added = first.admin.post("/api/v1/nodes", &node).await?;
    assert!(added.status.is_success(), "{}", added.text());
    let key = first
        .admin
        .post("/api/v1/keys", &json!({"name": "laptop"}))
        .await?;
    let secret = key.json()?["secret"].as_str().unwrap().to_owned();
    // The key has just been promised: nothing may need a moment more.
    assert_eq!(first.server.stop("KILL"), None);

    let second = Service::start(home.up_over(&[&upstream], "")).await?;
    // The password, the session and the key of before.
    let admin = second.client.with_key(&secret)?;
    assert_eq!(admin.get("/api/v1/me").await?.json()?["name"], "laptop");
    sign_in(&second.client).await?;
    let nodes = second.admin.get("/api/v1/nodes").await?.json()?;
    let gpu1 = named(&nodes, "gpu1");
    assert_eq!(gpu1["tags"], json!(["fast"]));
    let mut recorded = second.recorded().await?;
    recorded.sort();
    asked.sort();
    assert_eq!(recorded, asked);
    let shown = format!("/api/v1/inference/requests/{}", asked[0]);
    let shown = second.admin.get(&shown).await?.json()?;
    assert_eq!(shown["outcome"], "ok");
    second.ask("and it works").await?;
    Ok(())
}

fn named<'a>(page: &'a Value, name: &str) -> &'a Value {
    let mut items = page["items"].as_array().into_iter().flatten();
    items.find(|item| item["name"] == name).unwrap()
}
