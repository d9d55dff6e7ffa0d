//! What callers may use: refused with a time to wait, told in headers, counted by what was really used.

use serde_json::{Value, json};
use testbed::{Flavour, Gate, wait_until};

use crate::rig::{PATIENCE, Rig};

const CHAT: &str = "/v1/chat/completions";

fn ask(max_tokens: u32) -> Value {
    json!({"model": "test-model", "max_tokens": max_tokens, "messages": [{"role": "user", "content": "hello"}]})
}

fn header(reply: &testbed::Reply, name: &str) -> Option<u64> {
    reply.headers.get(name)?.to_str().ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_so_many_requests_a_minute() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm]).await?;
    let limited = rig
        .with_new_key(json!({"name": "two", "limits": {"requests_per_minute": 2}}))
        .await?;
    let first = limited.post(CHAT, &ask(5)).await?;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(header(&first, "x-ratelimit-limit-requests"), Some(2));
    assert_eq!(header(&first, "x-ratelimit-remaining-requests"), Some(1));
    let mut stream = ask(5);
    stream["stream"] = json!(true);
    let second = limited.post(CHAT, &stream).await?;
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(header(&second, "x-ratelimit-remaining-requests"), Some(0));

    let refused = limited.post(CHAT, &ask(5)).await?;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(header(&refused, "retry-after").is_some_and(|wait| (1..=30).contains(&wait)));
    assert_eq!(header(&refused, "x-ratelimit-remaining-requests"), Some(0));
    assert_eq!(refused.json()?["error"]["code"], "rate_limit_exceeded");
    assert!(
        refused.text().contains("2 requests a minute"),
        "{}",
        refused.text()
    );
    let native = json!({"model": "test-model", "stream": false, "messages": [{"role": "user", "content": "hello"}]});
    let refused = limited.post("/api/chat", &native).await?;
    assert_eq!(refused.status, 429);
    assert!(refused.json()?["error"].is_string(), "{}", refused.text());
    // An unknown route costs a request, too.
    let forwarded = limited
        .post("/v1/rerank", &json!({"model": "test-model"}))
        .await?;
    assert_eq!(forwarded.status, 429, "{}", forwarded.text());

    let free = rig.with_new_key(json!({"name": "free"})).await?;
    let reply = free.post(CHAT, &ask(5)).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(header(&reply, "x-ratelimit-limit-requests"), None);
    let refusals = rig.metric("remuda_limited_total{subject=\"key\",limit=\"requests\"}");
    assert_eq!(refusals, Some(3.0));
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_reserved_and_then_counted_as_used() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm]).await?;
    let limited = rig
        .with_new_key(json!({"name": "tokens", "limits": {"tokens_per_minute": 100_000}}))
        .await?;
    let mut used = 0;
    for _ in 0..3 {
        // Each reserves most of the minute; were it not settled the second one would be refused.
        let reply = limited.post(CHAT, &ask(90_000)).await?;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let left = header(&reply, "x-ratelimit-remaining-tokens").unwrap_or_default();
        assert!(left <= 10_000, "reserved before it was answered: {left}");
        used += reply.json()?["usage"]["total_tokens"]
            .as_u64()
            .unwrap_or_default();
    }
    let last = limited.post(CHAT, &ask(1)).await?;
    let left = header(&last, "x-ratelimit-remaining-tokens").unwrap_or_default();
    // What has come back since is what a minute allows in that time.
    assert!(left > 100_000 - used - 100, "{left} left after {used}");
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_counts_behind_proxies_of_ones_own() -> anyhow::Result<()> {
    let rig = Rig::start_with(&[Flavour::Ollama], |config| {
        config.limits.address.requests_per_minute = Some(1);
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await?;
    let one = rig.client.with_header("x-forwarded-for", "198.51.100.1")?;
    let forger = rig
        .client
        .with_header("x-forwarded-for", "203.0.113.9, 198.51.100.1")?;
    let other = rig.client.with_header("x-forwarded-for", "198.51.100.2")?;
    let first = one.post(CHAT, &ask(5)).await?;
    assert_eq!(first.status, 200, "{}", first.text());
    for client in [&one, &forger] {
        let refused = client.post(CHAT, &ask(5)).await?;
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert!(
            refused.text().contains("this address"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(other.post(CHAT, &ask(5)).await?.status, 200);
    rig.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_began_a_shared_answer_pays_for_it_even_after_leaving() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm]).await?;
    let limits =
        json!({"name": "shares", "share_identical": true, "limits": {"tokens_per_minute": 60_000}});
    let client = rig.with_new_key(limits).await?;
    let gate = Gate::closed();
    rig.nodes[0].edit_script(|script| script.gate = Some((10, gate.clone())));
    let text = format!("[[testbed tokens=30]] {}", "w ".repeat(50_000));
    let body = json!({"model": "test-model", "stream": true, "temperature": 0, "messages": [{"role": "user", "content": text}]});
    let post = || {
        let (client, body) = (client.clone(), body.clone());
        tokio::spawn(async move { client.stream(CHAT, &body).await?.whole().await })
    };
    let first = post();
    rig.nodes[0].wait_for(|c| c.in_flight == 1).await?;
    let second = post();
    wait_until("the second has joined", PATIENCE, || {
        rig.metric("remuda_shared_executions_total") == Some(1.0)
    })
    .await?;
    first.abort();
    assert!(first.await.is_err(), "it has left");
    gate.open();
    let second = second.await??;
    assert_eq!(second.status, 200, "{}", second.text());
    rig.wait_until_idle().await?;
    let next = client.post(CHAT, &ask(1)).await?;
    let left = header(&next, "x-ratelimit-remaining-tokens").unwrap_or_default();
    // In the seconds that this takes not all of it comes back.
    assert!(left < 60_000 - 10_000, "{left} left");
    rig.shutdown().await;
    Ok(())
}
