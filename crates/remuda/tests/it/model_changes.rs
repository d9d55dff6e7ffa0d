//! Who changed which models where stands in the journal of changes.

use anyhow::Context as _;
use serde_json::{Value, json};
use testbed::{Flavour, ScriptedUpstream};

use crate::harness::{Home, succeed};
use crate::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn commands_about_models_are_recorded_with_who_gave_them() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let service = Service::start(home.up_over(&[&upstream], "")).await?;
    let key = json!({"name": "deploy", "role": "admin"});
    let made = service.admin.post("/api/v1/keys", &key).await?.json()?;
    let secret = made["secret"].as_str().context("no secret")?;
    let deploy = service.client.with_key(secret)?;
    let pull = json!({"model": "new-model", "stream": false});
    let reply = deploy.post("/api/pull", &pull).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let copy = json!({"source": "test-model", "destination": "copied"});
    let reply = service.client.post("/api/copy", &copy).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // What is only looked at, and what was refused, is no change.
    let show = json!({"model": "test-model"});
    assert_eq!(service.client.post("/api/show", &show).await?.status, 200);
    let nowhere = json!({"source": "absent", "destination": "x"});
    assert_eq!(
        service.client.post("/api/copy", &nowhere).await?.status,
        404
    );

    let audit = service.admin.get("/api/v1/audit").await?.json()?;
    let records = audit["items"].as_array().context("no records")?;
    let of_models = |record: &&Value| record["subject_kind"] == "model";
    let seen: Vec<Value> = records
        .iter()
        .filter(of_models)
        .map(|record| {
            json!([
                record["action"],
                record["subject_id"],
                record["actor_kind"],
                record["actor_name"],
                record["new"],
            ])
        })
        .collect();
    let node = upstream.name();
    let expected = [
        json!(["model.copy", "test-model", "anonymous", "anonymous", {"nodes": [node], "to": "copied"}]),
        json!(["model.pull", "new-model", "key", "deploy", {"nodes": [node]}]),
    ];
    assert_eq!(seen, expected, "{audit}");
    let verified = service.admin.get("/api/v1/audit/verify").await?.json()?;
    assert_eq!(verified["whole"], true, "{verified}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_made_sent_and_shown_at_one_node_from_the_command_line() -> anyhow::Result<()> {
    let here = ScriptedUpstream::builder(Flavour::Ollama)
        .name("here")
        .start()?;
    let there = ScriptedUpstream::builder(Flavour::Ollama)
        .name("there")
        .start()?;
    let home = Home::new();
    let service = Service::start(home.up_over(&[&here, &there], "")).await?;
    let url = service.server.url();
    let file = home.write(
        "Modelfile",
        "FROM test-model\nPARAMETER stop User:\nPARAMETER temperature 1\nSYSTEM \"\"\"Be kind.\nBe brief.\"\"\"\n",
    );
    let file = file.display().to_string();
    let made = home
        .remuda(["create", "assistant", "-f", &file, "--node", "there"])
        .args(["--parameter", "temperature=0.2", "--server", url])
        .output()?;
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    assert_eq!(here.requests_to("/api/create").len(), 0);
    let asked = there.requests_to("/api/create").pop().context("nothing")?;
    assert_eq!(
        asked.json(),
        json!({"model": "assistant", "from": "test-model", "stream": true, "system": "Be kind.\nBe brief.",
            "parameters": {"stop": ["User:"], "temperature": 0.2}})
    );
    succeed(&mut home.remuda(["push", "test-model", "--node", "there", "--server", url]));
    assert_eq!(
        (
            here.requests_to("/api/push").len(),
            there.requests_to("/api/push").len()
        ),
        (0, 1)
    );
    let before = here.requests_to("/api/show").len();
    let shown =
        succeed(&mut home.remuda(["show", "test-model", "--node", "here", "--server", url]));
    assert!(shown.contains("context length"), "{shown}");
    assert!(here.requests_to("/api/show").len() > before);
    let refused = home
        .remuda(["show", "test-model", "--node", "nowhere", "--server", url])
        .output()?;
    assert_eq!(refused.status.code(), Some(1));
    Ok(())
}
