//! Many nodes look like one server.

use serde_json::json;
use testbed::{Flavour, ScriptedModel, ScriptedUpstream};

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn listings_show_the_union_of_the_fleet() -> anyhow::Result<()> {
    let nodes = vec![
        ScriptedUpstream::builder(Flavour::Ollama)
            .name("a")
            .model(ScriptedModel::chat("one").loaded())
            .start()?,
        ScriptedUpstream::builder(Flavour::Vllm)
            .name("b")
            .model(ScriptedModel::chat("two"))
            .start()?,
        ScriptedUpstream::builder(Flavour::Ollama)
            .name("c")
            .model(ScriptedModel::chat("one"))
            .start()?,
    ];
    let rig = Rig::over(nodes, |_| {}).await?;
    let root = rig.client.get("/").await?;
    assert_eq!(root.text(), "Ollama is running");
    let tags = rig.client.get("/api/tags").await?.json()?;
    assert_eq!(tags["models"].as_array().map(Vec::len), Some(2), "{tags}");
    let models = rig.client.get("/v1/models").await?.json()?;
    assert_eq!(models["data"].as_array().map(Vec::len), Some(2), "{models}");
    let one = rig.client.get("/v1/models/two").await?.json()?;
    assert_eq!(one["id"], "two");
    let ps = rig.client.get("/api/ps").await?.json()?;
    assert!(
        ps["models"].as_array().is_some_and(|m| !m.is_empty()),
        "{ps}"
    );
    let shown = rig
        .client
        .post("/api/show", &json!({"model": "one"}))
        .await?;
    assert_eq!(shown.status, 200, "{}", shown.text());
    assert!(shown.json()?["model_info"].is_object());
    let shown = rig
        .client
        .post("/api/show", &json!({"model": "two"}))
        .await?;
    assert!(shown.json()?["model_info"].is_object(), "{}", shown.text());
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn model_commands_reach_the_right_nodes() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Ollama, Flavour::Ollama]).await?;
    let lines = rig
        .client
        .stream("/api/pull?node=all", &json!({"model": "fresh"}))
        .await?
        .json_lines()
        .await?;
    assert_eq!(lines.last().unwrap()["status"], "success", "{lines:?}");
    assert_eq!(
        lines.iter().filter(|l| l["status"] == "success").count(),
        1,
        "{lines:?}"
    );
    for node in &rig.nodes {
        assert!(
            node.models().iter().any(|m| m.name.starts_with("fresh")),
            "{:?}",
            node.models()
        );
    }
    let alone = rig
        .client
        .stream("/api/pull", &json!({"name": "other"}))
        .await?
        .json_lines()
        .await?;
    assert_eq!(alone.last().unwrap()["status"], "success", "{alone:?}");
    let holders = rig
        .nodes
        .iter()
        .filter(|n| n.models().iter().any(|m| m.name.starts_with("other")))
        .count();
    assert_eq!(holders, 1);
    testbed::wait_until("the fleet knows the model", crate::rig::PATIENCE, || {
        rig.registry.snapshot().replicas("fresh").len() == 2
    })
    .await?;
    let deleted = rig
        .client
        .send(
            http::Method::DELETE,
            "/api/delete",
            serde_json::to_vec(&json!({"model": "fresh"}))?.into(),
        )
        .await?;
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    for node in &rig.nodes {
        assert!(!node.models().iter().any(|m| m.name.starts_with("fresh")));
    }
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_shown_as_one_node_has_it() -> anyhow::Result<()> {
    let node = |flavour, name: &str| {
        let node = ScriptedUpstream::builder(flavour).name(name);
        node.model(ScriptedModel::chat("one")).start()
    };
    let nodes = vec![
        node(Flavour::Ollama, "a")?,
        node(Flavour::Ollama, "b")?,
        node(Flavour::Vllm, "c")?,
        ScriptedUpstream::builder(Flavour::Ollama)
            .name("d")
            .start()?,
    ];
    let rig = Rig::over(nodes, |_| {}).await?;
    for name in ["a", "b", "c"] {
        let path = format!("/api/show?node={name}");
        let shown = rig.client.post(&path, &json!({"model": "one"})).await?;
        assert_eq!(shown.status, 200, "{name}: {}", shown.text());
        assert_eq!(shown.headers["x-remuda-node"], name);
        assert!(shown.json()?["model_info"].is_object(), "{name}");
    }
    for name in ["d", "nowhere"] {
        let path = format!("/api/show?node={name}");
        let shown = rig.client.post(&path, &json!({"model": "one"})).await?;
        assert_eq!(shown.status, 404, "{name}: {}", shown.text());
    }
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_gets_nothing_new() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm, Flavour::Vllm]).await?;
    let body = json!({"model": "test-model", "messages": [{"role": "user", "content": "x"}]});
    let ask = async || -> anyhow::Result<String> {
        let reply = rig.client.post("/v1/chat/completions", &body).await?;
        anyhow::ensure!(reply.status == 200, "{}", reply.text());
        Ok(reply.headers["x-remuda-node"].to_str()?.to_owned())
    };
    let used = |n: usize| rig.nodes[n].counters().inference;
    // Nodes of the configuration file are drained like any other.
    rig.registry.drain_node("node0").await?;
    // The routes follow the registry within a moment. Until then, chance does not give one idle node of two 20 answers in a row.
    let deadline = std::time::Instant::now() + crate::rig::PATIENCE;
    let mut in_a_row = 0;
    while in_a_row < 20 {
        anyhow::ensure!(std::time::Instant::now() < deadline, "still goes to node0");
        in_a_row = if ask().await? == "node1" {
            in_a_row + 1
        } else {
            0
        };
    }
    let before = used(0);
    for _ in 0..20 {
        assert_eq!(ask().await?, "node1");
    }
    assert_eq!(used(0), before);
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_manages_models_on_nodes_that_do_not_is_told_why_and_when_to_come_back()
-> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm]).await?;
    let pull = json!({"model": "tiny", "stream": false});
    let reply = rig.client.post("/api/pull", &pull).await?;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.headers["retry-after"], "10");
    let copy = json!({"source": "test-model", "destination": "mine"});
    let reply = rig.client.post("/api/copy", &copy).await?;
    assert_eq!(reply.status, 400, "{}", reply.text());
    let told = reply.json()?["error"].to_string();
    assert!(
        told.contains("node0") && told.contains("not managed from here"),
        "{told}"
    );
    let copy = json!({"source": "nobody", "destination": "mine"});
    let reply = rig.client.post("/api/copy", &copy).await?;
    assert_eq!(reply.status, 404, "{}", reply.text());
    rig.shutdown().await;
    Ok(())
}
