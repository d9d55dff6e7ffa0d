//! Monthly budgets of keys outlive a restart.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use testbed::{Flavour, ScriptedUpstream, TestClient};

use crate::harness::Home;
use crate::service::Service;

const CHAT: &str = "/v1/chat/completions";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_has_used_of_its_month_is_known_after_a_restart() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Vllm)?;
    let home = Home::new();
    let service = Service::start(home.up_over(&[&upstream], "")).await?;
    let budget = json!({"name": "budget", "limits": {"tokens_per_month": 900}});
    let made = service.admin.post("/api/v1/keys", &budget).await?.json()?;
    let secret = made["secret"].as_str().unwrap_or_default().to_owned();
    // One prompt takes the budget; requests are let in as long as something is left of it.
    let prompt = "w ".repeat(900);
    let question = |text: &str, most: u32| json!({"model": "test-model", "max_tokens": most, "messages": [{"role": "user", "content": text}]});
    let client = service.client.with_key(&secret)?;
    let reply = client.post(CHAT, &question(&prompt, 1)).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let used = reply.json()?["usage"]["total_tokens"]
        .as_u64()
        .unwrap_or_default();
    assert!((900..1_000).contains(&used), "{}", reply.text());
    service
        .until("the record is there", async || {
            Ok(!service.recorded().await?.is_empty())
        })
        .await?;
    assert_eq!(service.server.stop("TERM"), Some(0));

    let service = Service::start(home.up_over(&[&upstream], "")).await?;
    let client = TestClient::new(service.address()).with_key(&secret)?;
    // The database is read beside the first requests; they alone do not use the budget up.
    let used_since = AtomicU64::new(0);
    service
        .until("the budget is known", async || {
            let reply = client.post(CHAT, &question("hello", 20)).await?;
            if reply.status == 200 {
                let used = reply.json()?["usage"]["total_tokens"].as_u64();
                used_since.fetch_add(used.unwrap_or_default(), Ordering::Relaxed);
            }
            Ok(reply.status == 429 && reply.text().contains("900 tokens a month"))
        })
        .await?;
    assert!(used_since.into_inner() < 700);
    Ok(())
}
