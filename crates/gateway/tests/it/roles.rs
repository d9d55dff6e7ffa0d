//! What a key may do by its role.

use serde_json::json;
use testbed::Flavour;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_and_has_no_model_answer() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Ollama]).await?;
    let viewer = rig
        .with_new_key(json!({"name": "wall", "role": "viewer"}))
        .await?;
    let before = rig.nodes[0].counters().inference;
    assert_eq!(viewer.get("/api/tags").await?.status, 200);
    let ask = json!({"model": "test-model", "messages": [{"role": "user", "content": "hi"}], "input": "hi"});
    for path in [
        "/api/chat",
        "/v1/chat/completions",
        "/api/embed",
        "/v1/rerank",
    ] {
        let refused = viewer.post(path, &ask).await?;
        assert_eq!(refused.status, 403, "{path} {}", refused.text());
    }
    assert_eq!(rig.nodes[0].counters().inference, before);
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_use_models_and_not_change_them() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Ollama]).await?;
    let user = rig.with_new_key(json!({"name": "app"})).await?;
    let ask = json!({"model": "test-model", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    assert_eq!(user.post("/api/chat", &ask).await?.status, 200);
    let refused = user.post("/api/pull", &json!({"model": "other"})).await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(
        refused.text().contains("administrator"),
        "{}",
        refused.text()
    );
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_the_platforms_and_not_each_organisations() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Ollama]).await?;
    let platform = rig.admin().await?;
    let made = platform
        .post("/api/v1/organisations", &json!({"name": "tenants"}))
        .await?
        .json()?;
    let sign_in = json!({"username": "boss", "password": "boss of the tenants"});
    let mut boss = sign_in.clone();
    boss["role"] = json!("admin");
    boss["org_id"] = made["id"].clone();
    let created = platform.post("/api/v1/users", &boss).await?;
    assert_eq!(created.status, 201, "{}", created.text());
    let session = rig.client.post("/api/v1/login", &sign_in).await?.json()?;
    let boss = rig.client.with_key(session["token"].as_str().unwrap())?;
    for path in ["/api/pull", "/api/create"] {
        let refused = boss.post(path, &json!({"model": "test-model"})).await?;
        assert_eq!(refused.status, 403, "{path} {}", refused.text());
    }
    rig.shutdown().await;
    Ok(())
}
