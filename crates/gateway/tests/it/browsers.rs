//! Pages in browsers: who may call, and what a browser is told.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use testbed::{Flavour, TestClient};

use crate::rig::Rig;

const APP: &str = "https://chat.example.org";

fn page(rig: &Rig, origin: &str) -> anyhow::Result<TestClient> {
    rig.client.with_header("origin", origin)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_allowed_origins_may_call_and_read() -> anyhow::Result<()> {
    let rig = Rig::start_with(&[Flavour::Ollama], |config| {
        config.allowed_origins = vec!["https://*.example.org".to_owned()];
    })
    .await?;
    for origin in [APP, "http://localhost:3000"] {
        let asks = page(&rig, origin)?
            .with_header("access-control-request-method", "POST")?
            .with_header(
                "access-control-request-headers",
                "authorization,x-stainless-os",
            )?;
        let permission = asks
            .send(Method::OPTIONS, "/v1/chat/completions", Bytes::new())
            .await?;
        assert_eq!(permission.status, 204, "{}", permission.text());
        assert_eq!(permission.headers["access-control-allow-origin"], origin);
        assert_eq!(
            permission.headers["access-control-allow-headers"],
            "authorization,x-stainless-os"
        );
        let answer = page(&rig, origin)?
            .post(
                "/v1/chat/completions",
                &json!({"model": "test-model", "messages": [{"role": "user", "content": "hi"}]}),
            )
            .await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.headers["access-control-allow-origin"], origin);
        assert_eq!(answer.headers["vary"], "origin");
    }
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_get_neither_permission_nor_answers() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Ollama]).await?;
    let before = rig.nodes[0].counters().inference;
    let asks = page(&rig, APP)?.with_header("access-control-request-method", "POST")?;
    let refused = asks
        .send(Method::OPTIONS, "/api/chat", Bytes::new())
        .await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(!refused.headers.contains_key("access-control-allow-origin"));
    let answer = page(&rig, APP)?
        .post(
            "/api/chat",
            &json!({"model": "test-model", "messages": [{"role": "user", "content": "hi"}]}),
        )
        .await?;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    assert_eq!(rig.nodes[0].counters().inference, before);
    rig.shutdown().await;
    Ok(())
}
