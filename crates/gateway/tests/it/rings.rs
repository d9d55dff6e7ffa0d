//! Gateways in a ring, each a node of the next: a request ends where it comes round.

use serde_json::json;
use testbed::Flavour;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_round_is_refused_with_what_to_do() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Ollama]).await?;
    let version = rig.client.get("/api/version").await?;
    let here = version.headers["x-remuda-instance"].to_str()?.to_owned();
    let chat = json!({"model": "test-model", "messages": [{"role": "user", "content": "hi"}], "stream": false});

    let first = rig.client.post("/api/chat", &chat).await?;
    assert_eq!(first.status, 200, "{}", first.text());
    let seen = rig.nodes[0].requests_to("/api/chat");
    let told = seen
        .last()
        .and_then(|request| request.headers.get("x-remuda-hops"))
        .cloned();
    assert_eq!(told.as_ref().map(|v| v.to_str().unwrap()), Some(&*here));

    let before = rig.nodes[0].counters().inference;
    let round = rig.client.with_header("x-remuda-hops", &here)?;
    for path in ["/api/chat", "/v1/chat/completions", "/api/pull"] {
        let refused = round.post(path, &chat).await?;
        assert_eq!(refused.status, 400, "{path} {}", refused.text());
        assert!(
            refused.text().contains("remuda node list"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(rig.nodes[0].counters().inference, before);
    rig.shutdown().await;
    Ok(())
}
